"""What a model of sessions must beat: sequential rules, session neighbours (V-SkNN), and both together; none is trained.

They see the session of a case up to it, and the training sessions. Sources: Ludewig and Jannach 2018 (arXiv 1803.09587), sections
3.2 and 3.3. T cases, V items.
"""

from __future__ import annotations

from typing import Any, Final

import numpy as np

from models.baselines import Pairs
from models.prepare import catalogue_rows
from models.protocols import Cases, Split

Array = np.ndarray[Any, Any]

WINDOW: Final = 10
NEIGHBOURS: Final = 100  # sessions whose items are recommended,
CANDIDATES: Final = 500  # the most alike of the newest that share an item
_FILL: Final = 1e-6  # popularity decides only where the rest says nothing


class Sessions:
    """Known items of training sessions, in order of time, and of the session of a case before it; catalogue positions."""

    def __init__(self, split: Split) -> None:
        assert split.train_begun is not None
        assert split.begun is not None
        self.items = len(split.whole.item_ids)
        rows = catalogue_rows(split.train.events["key"], split.train.item_ids)
        times = split.train.events["time_ms"][split.train_begun]
        known = np.flatnonzero(rows > 0)
        order = known[np.lexsort((known, split.train_begun[known], times[known]))]
        self.rows = rows[order] - 1
        new = np.append(True, np.diff(split.train_begun[order]) != 0)
        self.owner = np.cumsum(new) - 1  # session of each of the rows, oldest first
        self.start = np.append(np.flatnonzero(new), len(order))
        self.fill = _FILL * np.bincount(self.rows, minlength=self.items) / max(len(self.rows), 1)
        self._whole, self._begun = catalogue_rows(split.whole.events["key"], split.whole.item_ids), split.begun

    def before(self, cases: Cases, place: int) -> Array:
        """int32, oldest first: known items of the session of case number `place` that came before it."""
        position = int(cases.position[place])
        rows = self._whole[int(self._begun[position]) : position]
        known: Array = rows[rows > 0] - 1
        return known


class SequentialRules:
    """How often each item followed the last one in a session, an event further counting 1 / distance, ten at most."""

    name = "sequential rules"

    def __init__(self, sessions: Sessions) -> None:
        self._sessions = sessions
        rows, owner = sessions.rows, sessions.owner
        parts = []
        for distance in range(1, WINDOW + 1):
            together = owner[distance:] == owner[:-distance]
            first, second = rows[:-distance][together], rows[distance:][together]
            parts.append((first, second, np.full(len(first), 1.0 / distance)))
        first, second, weight = (np.concatenate(column) for column in zip(*parts, strict=True))
        self._rules = Pairs(first, second, weight, sessions.items)

    def scores(self, cases: Cases) -> Array:
        """float32 [T, V]."""
        found = np.tile(self._sessions.fill.astype(np.float32), (len(cases), 1))
        for place in range(len(cases)):
            for item in self._sessions.before(cases, place)[-1:].tolist():
                others, weight = self._rules.row(item)
                found[place, others] += weight
        return found


class SessionNeighbours:
    """Items of the sessions most like this one: newer items of it count more, linearly, both for likeness and for what is taken over."""

    name = "session neighbours (V-SkNN)"

    def __init__(self, sessions: Sessions) -> None:
        self._sessions = sessions
        pairs = np.unique(np.stack((sessions.rows, sessions.owner), 1), axis=0)
        self._owner = pairs[:, 1]
        self._start = np.searchsorted(pairs[:, 0], np.arange(sessions.items + 1))

    def scores(self, cases: Cases) -> Array:
        """float32 [T, V]."""
        found = np.tile(self._sessions.fill.astype(np.float32), (len(cases), 1))
        for place in range(len(cases)):
            found[place] += self._of(self._sessions.before(cases, place))
        return found

    def _of(self, items: Array) -> Array:
        weight = dict(zip(items.tolist(), (np.arange(1, len(items) + 1) / max(len(items), 1)).tolist(), strict=True))
        parts = [self._owner[self._start[item] : self._start[item + 1]] for item in weight]
        if not sum(map(len, parts)):
            return np.zeros(self._sessions.items, np.float32)
        near, which = np.unique(np.concatenate(parts), return_inverse=True)
        each = np.repeat(list(weight.values()), list(map(len, parts)))
        alike, newest = np.bincount(which, each), np.zeros(len(near))
        np.maximum.at(newest, which, each)
        chosen = np.arange(max(len(near) - CANDIDATES, 0), len(near))
        chosen = chosen[np.argsort(-alike[chosen], kind="stable")[:NEIGHBOURS]]
        low, high = self._sessions.start[near[chosen]], self._sessions.start[near[chosen] + 1]
        rows = np.concatenate([self._sessions.rows[a:b] for a, b in zip(low.tolist(), high.tolist(), strict=True)])
        given = np.repeat(alike[chosen] * newest[chosen], high - low)
        return np.bincount(rows, given, minlength=self._sessions.items).astype(np.float32)


class Both:
    """The two above, each by its best item."""

    name = "rules and neighbours"

    def __init__(self, rules: SequentialRules, neighbours: SessionNeighbours) -> None:
        self._parts = rules, neighbours

    def scores(self, cases: Cases) -> Array:
        """float32 [T, V]."""
        found = [part.scores(cases) for part in self._parts]
        summed: Array = sum(each / np.maximum(each.max(1, keepdims=True), 1e-9) for each in found)
        return summed


def session_baselines(split: Split) -> list[SequentialRules | SessionNeighbours | Both]:
    """All of them."""
    sessions = Sessions(split)
    rules, neighbours = SequentialRules(sessions), SessionNeighbours(sessions)
    return [rules, neighbours, Both(rules, neighbours)]

"""Scores items by rules about sessions that a model must beat; none of them is trained.

They are sequential rules, session neighbours (V-SkNN), and both together. They see the session of a
case up to it, and the training sessions. Source: Ludewig and Jannach 2018 (arXiv 1803.09587),
sections 3.2 and 3.3.

Glossary: T cases, V items.
"""

from __future__ import annotations

from typing import Any, Final

import numpy as np

from models.data.prepare import catalogue_rows
from models.data.splits import Cases, Split
from models.evaluation.baselines import Pairs

Array = np.ndarray[Any, Any]

WINDOW: Final = 10
"""A sequential rule reaches so many events ahead."""
NEIGHBOURS: Final = 100
"""Sessions whose items are recommended, the most alike of the candidates."""
CANDIDATES: Final = 500
"""Sessions that are compared: the newest ones that share an item."""
_FILL: Final = 1e-6
"""Weight of popularity, which decides only between items of which the rest says the same.

Scores are float64: in float32 it would vanish beside them, and ties count against a scorer.
"""


class Sessions:
    """Holds the items of training sessions in order of time, and finds those of a case's session.

    Items are catalogue positions; only known ones are held.
    """

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
        self._whole, self._begun = (
            catalogue_rows(split.whole.events["key"], split.whole.item_ids),
            split.begun,
        )

    def before(self, cases: Cases, place: int) -> Array:
        """Returns the known items of the session of case `place` before it, int32, oldest first."""
        position = int(cases.position[place])
        rows = self._whole[int(self._begun[position]) : position]
        known: Array = rows[rows > 0] - 1
        return known


class SequentialRules:
    """Scores an item by how often it came after the last one in a session.

    Items further apart count 1 / distance, up to ten events.
    """

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
        """Returns a score for each item, float64 [T, V]."""
        found = np.tile(self._sessions.fill, (len(cases), 1))
        for place in range(len(cases)):
            for item in self._sessions.before(cases, place)[-1:].tolist():
                others, weight = self._rules.row(item)
                found[place, others] += weight
        return found


class SessionNeighbours:
    """Scores an item by the sessions most like this one that hold it.

    Newer items of this session count more, linearly, both for how alike two sessions are and for
    what is taken over from the other one. An item counts once a session, as a session is a set
    there.
    """

    name = "session neighbours (V-SkNN)"

    def __init__(self, sessions: Sessions) -> None:
        self._sessions = sessions
        pairs = np.unique(np.stack((sessions.rows, sessions.owner), 1), axis=0)
        self._owner = pairs[:, 1]
        self._start = np.searchsorted(pairs[:, 0], np.arange(sessions.items + 1))
        # the items of each session, each once however often it occurs in it
        pairs = pairs[np.argsort(pairs[:, 1], kind="stable")]
        self._items = pairs[:, 0]
        self._begin = np.searchsorted(pairs[:, 1], np.arange(len(sessions.start)))

    def scores(self, cases: Cases) -> Array:
        """Returns a score for each item, float64 [T, V]."""
        found = np.tile(self._sessions.fill, (len(cases), 1))
        for place in range(len(cases)):
            found[place] += self.of_session(self._sessions.before(cases, place))
        return found

    def of_session(self, items: Array) -> Array:
        """Returns the scores float64 [V] after some items of a session, oldest first."""
        # The weight of each item, and the sessions that hold it.
        weight = dict(
            zip(
                items.tolist(),
                (np.arange(1, len(items) + 1) / max(len(items), 1)).tolist(),
                strict=True,
            )
        )
        parts = [self._owner[self._start[item] : self._start[item + 1]] for item in weight]
        if not sum(map(len, parts)):
            return np.zeros(self._sessions.items)

        # How alike those sessions are, and the newest item that they share with this one.
        near, which = np.unique(np.concatenate(parts), return_inverse=True)
        each = np.repeat(list(weight.values()), list(map(len, parts)))
        alike, newest = np.bincount(which, each), np.zeros(len(near))
        np.maximum.at(newest, which, each)

        # The most alike of the newest; their items count as much as they are alike.
        chosen = np.arange(max(len(near) - CANDIDATES, 0), len(near))
        chosen = chosen[np.argsort(-alike[chosen], kind="stable")[:NEIGHBOURS]]
        low, high = self._begin[near[chosen]], self._begin[near[chosen] + 1]
        rows = np.concatenate(
            [self._items[a:b] for a, b in zip(low.tolist(), high.tolist(), strict=True)]
        )
        given = np.repeat(alike[chosen] * newest[chosen], high - low)
        found: Array = np.bincount(rows, given, minlength=self._sessions.items)
        return found


class Both:
    """Scores an item by the sum of the two above, each scaled to its best item."""

    name = "rules and neighbours"

    def __init__(self, rules: SequentialRules, neighbours: SessionNeighbours) -> None:
        self._parts = rules, neighbours

    def scores(self, cases: Cases) -> Array:
        """Returns a score for each item, float64 [T, V]."""
        found = [part.scores(cases) for part in self._parts]
        summed: Array = sum(each / np.maximum(each.max(1, keepdims=True), 1e-9) for each in found)
        return summed


def session_baselines(split: Split) -> list[SequentialRules | SessionNeighbours | Both]:
    """Returns all baselines of this file; the split is one by sessions."""
    sessions = Sessions(split)
    rules, neighbours = SequentialRules(sessions), SessionNeighbours(sessions)
    return [rules, neighbours, Both(rules, neighbours)]

"""Counts over all users, by slots of time: how much goes to each interest, who comes and who goes.

The probabilities of all updates of a slot, summed up by interest, show which interests rise and
fade. Besides, a slot counts for each interest the users who got it among their first ones, and
those who lost it: from what a segment has now, this leads back to what it had.

Slots are 10 s wide for an hour, 10 min for a day, an hour for a week; older ones are deleted. They
hold sums over users and name nobody. They are written in the transaction of the records that they
count, so nothing is counted twice or left out, whenever the process is killed.
"""

from __future__ import annotations

import sqlite3
from collections import defaultdict
from collections.abc import Callable, Iterable, Set
from dataclasses import dataclass
from typing import Any, Final

from stream.serving.updates import Update

_ADD: Final = """
INSERT INTO pulse VALUES (?, ?, ?, ?, ?, ?) ON CONFLICT (width, slot, interest) DO UPDATE SET
weight = weight + excluded.weight, joined = joined + excluded.joined, gone = gone + excluded.gone
"""


@dataclass(frozen=True, slots=True)
class Span:
    """Says how wide slots are, and how many of them are kept."""

    width_ms: int
    slots: int


SPANS: Final = {
    "hour": Span(10_000, 360),
    "day": Span(600_000, 144),
    "week": Span(3_600_000, 168),
}
FINEST_MS: Final = 10_000
"""Every width is a multiple of it."""

ALL: Final = 0
"""Stands for all interests together: its weight counts the updates."""

SHOWN: Final = 12
"""Interests that are told apart; the others are summed up."""

GROWTH_POINTS: Final = 24
"""Places of a line that shows how a segment has grown."""

TABLE: Final = """
CREATE TABLE pulse (
    width INTEGER, slot INTEGER, interest INTEGER, weight REAL NOT NULL, joined INTEGER NOT NULL,
    gone INTEGER NOT NULL, PRIMARY KEY (width, slot, interest)
) WITHOUT ROWID;
"""


class Beat:
    """Collects what one batch of records adds to the slots; interests are their numbers."""

    def __init__(self) -> None:
        self.newest_ms = 0
        # weight, users who joined, users who are gone, by finest slot and interest
        self.sums: defaultdict[tuple[int, int], list[float]] = defaultdict(lambda: [0.0, 0, 0])

    def heard(self, update: Update, number_of: Callable[[str], int]) -> None:
        """Adds an update, at the time of its event."""
        self.newest_ms = max(self.newest_ms, update.published_at)
        # a clock of a producer that is ahead must not make slots of the future
        slot = min(update.time, update.published_at) // FINEST_MS
        self.sums[slot, ALL][0] += 1
        for each in update.interests:
            self.sums[slot, number_of(each.interest)][0] += each.probability

    def moved(self, had: Set[int], has: Set[int], at_ms: int) -> None:
        """Adds a user who had these interests and has those now."""
        self.newest_ms = max(self.newest_ms, at_ms)
        slot = at_ms // FINEST_MS
        for interest in has - had:
            self.sums[slot, interest][1] += 1
        for interest in had - has:
            self.sums[slot, interest][2] += 1


class Pulse:
    """Writes slots, inside a transaction of the store."""

    def __init__(self, db: sqlite3.Connection) -> None:
        self._db = db
        self._oldest: dict[int, int] = {}  # slot up to which old ones were deleted, by width

    def write(self, beat: Beat) -> None:
        """Adds a batch to its slots, and deletes those that are too old now."""
        for span in SPANS.values():
            width, oldest = span.width_ms, beat.newest_ms // span.width_ms - span.slots
            rows: defaultdict[tuple[int, int], list[float]] = defaultdict(lambda: [0.0, 0, 0])
            for (at, interest), sums in beat.sums.items():
                slot = at * FINEST_MS // width
                if slot > oldest:
                    row = rows[slot, interest]
                    for place, each in enumerate(sums):
                        row[place] += each
            self._db.executemany(_ADD, [(width, *key, *sums) for key, sums in sorted(rows.items())])
            if oldest > self._oldest.get(width, 0):
                self._oldest[width] = oldest
                self._db.execute("DELETE FROM pulse WHERE width = ? AND slot <= ?", [width, oldest])


def pulse(db: sqlite3.Connection, span: Span, now_ms: int, most: int = SHOWN) -> dict[str, Any]:
    """Returns what went to each interest in each slot up to now, the largest interests first.

    `others` has the sum of those that are not told apart. The first slot is the first that anything
    is known of.
    """
    last = now_ms // span.width_ms
    first = max(last - span.slots + 1, _first(db, span, last))
    count = last - first + 1
    weights: dict[str, list[float]] = {}
    rows = db.execute(
        "SELECT coalesce(name, ''), slot, weight FROM pulse LEFT JOIN name USING (interest) "
        "WHERE width = ? AND slot BETWEEN ? AND ? AND weight > 0",
        [span.width_ms, first, last],
    )
    for name, slot, weight in rows:
        weights.setdefault(name, [0.0] * count)[slot - first] += weight
    updates = weights.pop("", [0.0] * count)
    order = sorted(weights, key=lambda name: (-sum(weights[name]), name))
    return {
        "width_ms": span.width_ms,
        "from": first * span.width_ms,
        "updates": [int(each) for each in updates],
        "interests": [
            {"interest": name, "weight": _rounded(weights[name])} for name in order[:most]
        ],
        "others": _rounded(_sum([weights[name] for name in order[most:]], count)),
    }


def growth(db: sqlite3.Connection, span: Span, now_ms: int) -> list[dict[str, Any]]:
    """Returns for each interest who came and went in a span, and the change by pieces of it.

    `net` has the users who came less those who went, in pieces of equal length, oldest first.
    """
    last = now_ms // span.width_ms
    first = last - span.slots + 1
    slots_each = span.slots // GROWTH_POINTS
    found: dict[str, dict[str, Any]] = {}
    rows = db.execute(
        "SELECT name, slot, joined, gone FROM pulse JOIN name USING (interest) "
        "WHERE width = ? AND slot BETWEEN ? AND ? AND joined + gone > 0",
        [span.width_ms, first, last],
    )
    for name, slot, joined, gone in rows:
        each = found.setdefault(
            name, {"interest": name, "joined": 0, "gone": 0, "net": [0] * GROWTH_POINTS}
        )
        each["joined"] += joined
        each["gone"] += gone
        each["net"][(slot - first) // slots_each] += joined - gone
    return sorted(
        found.values(), key=lambda each: (each["gone"] - each["joined"], each["interest"])
    )


def _first(db: sqlite3.Connection, span: Span, last: int) -> int:
    row = db.execute(
        "SELECT min(slot) FROM pulse WHERE width = ? AND weight > 0", [span.width_ms]
    ).fetchone()
    return last if row[0] is None else min(int(row[0]), last)


def _sum(rows: Iterable[list[float]], count: int) -> list[float]:
    total = [0.0] * count
    for row in rows:
        total = [one + other for one, other in zip(total, row, strict=True)]
    return total


def _rounded(weights: list[float]) -> list[float]:
    return [round(each, 2) for each in weights]

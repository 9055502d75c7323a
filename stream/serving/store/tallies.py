"""Counts the users of each interest along with every change, so that nobody has to count them.

A tally is of one interest and of the users whose last event lies in one stretch of time: a whole
hour of the last days, a whole day before. So the users who were active since the beginning of any
stretch are a sum over some hundred rows, however many users there are. Probabilities are added as
whole millionths, which leaves no error behind when they are taken away again.

Tallies are written in the transaction of the profiles that they count.
"""

from __future__ import annotations

import sqlite3
from collections import defaultdict
from collections.abc import Mapping
from typing import Final

from stream.serving.store.tables import DAY_MS, TREND_COLUMNS

HOUR_MS: Final = 3_600_000
HOURS_MS: Final = 2 * DAY_MS
"""How far back single hours are kept apart."""

MILLION: Final = 1_000_000

Row = tuple[float, int, int]
"""What a profile says of one interest: probability, rank from 1, number of the trend."""

_COLUMNS: Final = ("users", "first", "millionths", *TREND_COLUMNS)
_ADD: Final = (
    f"INSERT INTO tally (interest, begin, {', '.join(_COLUMNS)}) "
    f"VALUES (?, ?{', ?' * len(_COLUMNS)}) ON CONFLICT (interest, begin) DO UPDATE SET "
    + ", ".join(f"{name} = {name} + excluded.{name}" for name in _COLUMNS)
)


def begin_of(time_ms: int, hours_from_ms: int) -> int:
    """Returns when the stretch begins in which a moment lies.

    hours_from_ms: the first day that is kept by the hour.
    """
    return time_ms - time_ms % (HOUR_MS if time_ms >= hours_from_ms else DAY_MS)


class Tallies:
    """Adds up what a transaction changes, and writes it at its end."""

    def __init__(self, hours_from_ms: int) -> None:
        self._hours_from_ms = hours_from_ms
        # by interest and begin
        self._changes: defaultdict[tuple[int, int], list[int]] = defaultdict(_no_counts)

    def count(self, rows: Mapping[int, Row], time_ms: int, sign: int) -> None:
        """Adds (sign 1) or takes away (-1) a user with these interests and this last event."""
        begin, changes = begin_of(time_ms, self._hours_from_ms), self._changes
        for interest, (probability, rank, trend) in rows.items():
            change = changes[interest, begin]
            change[0] += sign
            if rank == 1:
                change[1] += sign
            change[2] += sign * int(probability * MILLION + 0.5)
            change[3 + trend] += sign

    def write(self, db: sqlite3.Connection) -> None:
        """Adds the changes to the tallies; those that count nobody any more go."""
        changes = sorted((key, change) for key, change in self._changes.items() if any(change))
        db.executemany(_ADD, [(*key, *change) for key, change in changes])
        db.execute("DELETE FROM tally INDEXED BY tally_of_nobody WHERE users = 0")
        self._changes.clear()


def join_hours(db: sqlite3.Connection, from_ms: int, to_ms: int) -> None:
    """Makes days of the hours between two days, in the caller's transaction."""
    days: defaultdict[tuple[int, int], list[int]] = defaultdict(_no_counts)
    for interest, begin, *counts in db.execute(
        f"SELECT interest, begin, {', '.join(_COLUMNS)} FROM tally WHERE begin >= ? AND begin < ?",
        [from_ms, to_ms],
    ):
        day = days[interest, begin - begin % DAY_MS]
        day[:] = [sum(pair) for pair in zip(day, counts, strict=True)]
    db.execute("DELETE FROM tally WHERE begin >= ? AND begin < ?", [from_ms, to_ms])
    db.executemany(_ADD, [(*key, *counts) for key, counts in sorted(days.items())])


def _no_counts() -> list[int]:
    return [0] * len(_COLUMNS)

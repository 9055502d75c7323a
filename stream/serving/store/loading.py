"""Makes what follows from the profiles at the end of a first reading, all at once.

While everything is read anew nobody asks, so profiles alone are written. What else there is follows
from them in one pass: the array of interests, which is written once and not user by user, the
tallies, which are sums over it, and the index by id, which is sorted. What is left is what profiles
written one by one leave.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Callable, Iterator
from typing import Any, Final

from stream.serving.store.marks_file import OF_RANKS, Rows
from stream.serving.store.profiles import rest_of, rows_of
from stream.serving.store.tables import INDEX_BY_USER
from stream.serving.store.tallies import Row, Tallies
from stream.serving.updates import read_held

AT_ONCE: Final = 2_000
"""Profiles that are in memory at once."""

Marked = tuple[int, int, dict[int, Row]]
"""Number of a user, time of the last event, and interests by their numbers."""


def begin(db: sqlite3.Connection) -> None:
    """Drops what `finish` makes, in the caller's transaction; the tables are empty."""
    db.execute("DROP INDEX profile_by_user")


def finish(db: sqlite3.Connection, name_of: Callable[[str], int], hours_from_ms: int) -> Rows:
    """Writes tallies, the index by id and what the array has no room for; returns its rows.

    It does so in the caller's transaction. `name_of` gives the number of an interest.
    """
    tallies = Tallies(hours_from_ms)
    db.execute("CREATE TEMP TABLE rest (interest, number, probability, rank, trend, time)")

    def counted() -> Iterator[list[Marked]]:
        for some in _all_profiles(db, name_of):
            for _, time_ms, rows in some:
                tallies.count(rows, time_ms, 1)
            db.executemany("INSERT INTO temp.rest VALUES (?, ?, ?, ?, ?, ?)", _rest_of(some))
            yield some

    rows = _rows_of(db, counted())
    # in the order of users each row would write a page of its own
    db.execute("INSERT INTO interest SELECT * FROM temp.rest ORDER BY interest, number")
    db.execute("DROP TABLE temp.rest")
    tallies.write(db)
    db.execute(INDEX_BY_USER)
    return rows


def all_marks(db: sqlite3.Connection, name_of: Callable[[str], int]) -> Rows:
    """Returns the rows of the array as they follow from the profiles."""
    return _rows_of(db, _all_profiles(db, name_of))


def _all_profiles(db: sqlite3.Connection, name_of: Callable[[str], int]) -> Iterator[list[Marked]]:
    """Yields what the profiles say, some at a time."""
    place = -1
    while found := db.execute(
        "SELECT place, number, value FROM profile WHERE place > ? ORDER BY place LIMIT ?",
        [place, AT_ONCE],
    ).fetchall():
        place = found[-1][0]
        some = []
        for _, number, value in found:
            held = read_held(value)
            some.append((number, held.time, rows_of(held.interests, name_of)))
        yield some


def _rows_of(db: sqlite3.Connection, profiles: Iterator[list[Marked]]) -> Rows:
    """Returns the rows of profiles that come some at a time; all that there are."""
    (users,) = db.execute("SELECT count(*) FROM profile").fetchone()
    rows, end = Rows.blank(users), 0
    for some in profiles:
        part, begin, end = Rows.of(some), end, end + len(some)
        for name in ("number", "time", *OF_RANKS):
            getattr(rows, name)[begin:end] = getattr(part, name)
    return rows


def _rest_of(some: list[Marked]) -> list[tuple[Any, ...]]:
    """Returns rows of the table `interest`."""
    return [
        (interest, number, *row, time_ms)
        for number, time_ms, rows in some
        for interest, row in rest_of(rows).items()
    ]

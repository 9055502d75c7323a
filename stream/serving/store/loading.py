"""Makes what follows from the profiles at the end of a first reading, all at once.

While everything is read anew nobody asks, so profiles alone are written. Rows of interests would
come in the order of users, and each would write a page of its own; here they are sorted and written
from the first to the last page. The tallies are then a sum over them, and the index by id is sorted
likewise. What is left is what profiles written one by one leave.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Callable
from typing import Final

from stream.serving.store.profiles import rows_of
from stream.serving.store.tables import DAY_MS, INDEX_BY_USER, TREND_COLUMNS
from stream.serving.store.tallies import HOUR_MS, MILLION
from stream.serving.updates import read_held

AT_ONCE: Final = 2_000
"""Profiles that are in memory at once."""

_BEGIN: Final = "time - (time % {0} + {0}) % {0}"  # of a stretch; a time may be below 0
_TALLY: Final = f"""
INSERT INTO tally SELECT interest,
CASE WHEN time >= :hours_from THEN {_BEGIN.format(HOUR_MS)} ELSE {_BEGIN.format(DAY_MS)} END
AS begin,
count(*), sum(rank = 1), sum(CAST(probability * {MILLION} + 0.5 AS INTEGER)),
{", ".join(f"sum(trend = {code})" for code in range(len(TREND_COLUMNS)))}
FROM interest GROUP BY interest, begin
"""


def begin(db: sqlite3.Connection) -> None:
    """Drops what `finish` makes, in the caller's transaction; the tables are empty."""
    db.execute("DROP INDEX profile_by_user")


def finish(db: sqlite3.Connection, name_of: Callable[[str], int], hours_from_ms: int) -> None:
    """Writes interests, tallies and the index by id, in the caller's transaction.

    `name_of` gives the number of an interest.
    """
    db.execute("CREATE TEMP TABLE row (interest, number, probability, rank, trend, time)")
    place = -1
    while found := db.execute(
        "SELECT place, number, value FROM profile WHERE place > ? ORDER BY place LIMIT ?",
        [place, AT_ONCE],
    ).fetchall():
        place = found[-1][0]
        rows = []
        for _, number, value in found:
            held = read_held(value)
            for interest, row in rows_of(held.interests, name_of).items():
                rows.append((interest, number, *row, held.time))
        db.executemany("INSERT INTO temp.row VALUES (?, ?, ?, ?, ?, ?)", rows)
    db.execute("INSERT INTO interest SELECT * FROM temp.row ORDER BY interest, number")
    db.execute("DROP TABLE temp.row")
    db.execute(_TALLY, {"hours_from": hours_from_ms})
    db.execute(INDEX_BY_USER)

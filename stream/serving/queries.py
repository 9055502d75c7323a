"""Asks the file for users, their histories and whole segments, over a connection that only reads.

A page of a segment goes on behind a number (see `updates`), not behind a place in a list, so while
profiles change under a reader nobody comes twice; who joins or leaves meanwhile is there or not.
Segments are found in the array beside the file, which may be a batch ahead of it.
"""

from __future__ import annotations

import heapq
import sqlite3
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from itertools import islice
from operator import itemgetter
from typing import Any, Final

import orjson

from models.contract import TRENDS
from stream.serving.store import begin_of
from stream.serving.store.finding import Wanted
from stream.serving.store.tables import TREND_COLUMNS, Reader
from stream.serving.store.tallies import MILLION
from stream.serving.updates import NUMBERS, number_of

ANY_RANK: Final = 1_000
"""No profile names more interests."""

EXPORT_ROWS: Final = 5_000
"""Members that an export reads at once: between two such reads the file may be written."""

_REST: Final = """
FROM interest WHERE interest = (SELECT interest FROM name WHERE name = :interest)
AND probability >= :min_probability AND rank <= :max_rank AND time >= :active_since
AND (:trend IS NULL OR trend = :trend)
"""

_IDS: Final = """
SELECT number, user FROM json_each(?) AS wanted CROSS JOIN profile
ON profile.number = wanted.value
"""

_Row = tuple[int, float, int, int, int]
"""Number of a user, probability, rank, number of the trend, time of the last event."""


@dataclass(frozen=True, slots=True)
class Segment:
    """Says whom a segment has: users with an interest, and how much of it."""

    interest: str
    min_probability: float
    max_rank: int
    trend: str | None
    active_since_ms: int  # of a user's last event

    @property
    def counted_as(self) -> str | None:
        """Returns the column of the tallies that counts this segment, None if none does."""
        if self.min_probability > 0:
            return None
        if self.trend is not None:
            return TREND_COLUMNS[TRENDS.index(self.trend)] if self.max_rank >= ANY_RANK else None
        return {1: "first", ANY_RANK: "users"}.get(min(self.max_rank, ANY_RANK))

    def bound(self) -> dict[str, Any]:
        """Returns the values of the parameters in a query."""
        return {
            "interest": self.interest,
            "min_probability": self.min_probability,
            "max_rank": self.max_rank,
            "active_since": self.active_since_ms,
            "trend": None if self.trend is None else TRENDS.index(self.trend),
        }


@dataclass(frozen=True, slots=True)
class Member:
    """Holds one user of a segment."""

    number: int
    user_id: str
    probability: float
    rank: int
    trend: str
    time: int

    def as_json(self) -> dict[str, Any]:
        """Returns what the answer says of the user."""
        return {
            "user_id": self.user_id,
            "probability": self.probability,
            "rank": self.rank,
            "trend": self.trend,
            "time": self.time,
        }


@contextmanager
def snapshot(db: sqlite3.Connection) -> Iterator[None]:
    """Lets all queries of a block see the file as of one moment; short, as the log grows on."""
    db.execute("BEGIN")
    try:
        yield
    finally:
        db.execute("COMMIT")


def whole_since(db: sqlite3.Connection, since_ms: int) -> int:
    """Returns the beginning of the hour, or day, in which a moment lies: users are counted so.

    It holds within a snapshot.
    """
    (hours_from_ms,) = db.execute("SELECT value FROM meta WHERE name = 'hours_from_ms'").fetchone()
    return begin_of(since_ms, hours_from_ms)


def profile_of(db: sqlite3.Connection, user: bytes) -> bytes | None:
    """Returns the newest profile of a user as it was published, None if there is none."""
    row = db.execute(
        "SELECT value FROM profile WHERE number = ? AND user = ?", [number_of(user), user.decode()]
    ).fetchone()
    return None if row is None else bytes(row[0])


def users_like(db: sqlite3.Connection, prefix: str, most: int) -> list[str]:
    """Returns the first users whose id begins like that, in the order of their ids."""
    rows = db.execute(
        "SELECT user FROM profile WHERE user >= ? AND user < ? ORDER BY user LIMIT ?",
        [prefix, prefix + "\U0010ffff", most],
    )
    return [user for (user,) in rows]


def history_of(db: sqlite3.Connection, user: bytes, since_ms: int) -> list[tuple[int, bytes]]:
    """Returns the changes of a user's first interests, oldest first: time and interests as JSON."""
    rows = db.execute(
        "SELECT time, top FROM history WHERE number = ? AND published >= ? ORDER BY offset",
        [number_of(user), since_ms],
    )
    return [(time, bytes(top)) for time, top in rows]


def is_known(db: sqlite3.Connection, interest: str) -> bool:
    """Returns whether any profile has named an interest."""
    return db.execute("SELECT 1 FROM name WHERE name = ?", [interest]).fetchone() is not None


def interest_names(db: sqlite3.Connection) -> list[str]:
    """Returns every interest that a profile has named."""
    return [name for (name,) in db.execute("SELECT name FROM name ORDER BY name")]


def users_of(db: Reader, segment: Segment, count: Callable[[Wanted], int]) -> int:
    """Returns how many users a segment has now, of whoever writes the array and can `count` it.

    Its `active_since_ms` has to be a whole one.
    """
    wanted = _wanted(db, segment)
    if wanted is None:
        return 0
    (rest,) = db.execute(f"SELECT count(*) {_REST}", segment.bound()).fetchone()
    return count(wanted) + int(rest)


def tallied(db: Reader, segment: Segment) -> int | None:
    """Returns how many users a segment has now, None where no tally counts them.

    Its `active_since_ms` has to be a whole one.
    """
    counted = segment.counted_as
    if counted is None:
        return None
    (found,) = db.execute(
        f"SELECT total({counted}) FROM tally WHERE begin >= :active_since "
        "AND interest = (SELECT interest FROM name WHERE name = :interest)",
        segment.bound(),
    ).fetchone()
    return int(found)


def members(db: Reader, segment: Segment, after: int, most: int) -> list[Member]:
    """Returns users of a segment behind a number (-1: from the first), in the order of numbers."""
    rows, found = _rows(db, segment, after), list[Member]()
    # the array may have users of a batch whose profiles are not in the file yet
    while some := list(islice(rows, most - len(found))):
        numbers = orjson.dumps([row[0] for row in some]).decode()
        users = dict(db.execute(_IDS, [numbers]).fetchall())
        found += [
            Member(number, users[number], probability, rank, TRENDS[trend], time)
            for number, probability, rank, trend, time in some
            if number in users
        ]
    return found


def _rows(db: Reader, segment: Segment, after: int) -> Iterator[_Row]:
    """Yields rows of a segment in the order of numbers, each user once."""
    wanted = _wanted(db, segment)
    if wanted is None:
        return
    bound = {**segment.bound(), "after": min(after, NUMBERS - 1)}
    rest = db.execute(
        f"SELECT number, probability, rank, trend, time {_REST} AND number > :after "
        "ORDER BY number",
        bound,
    )
    last = -1
    for row in heapq.merge(_marked(db, wanted, after), rest, key=itemgetter(0)):
        if row[0] != last:  # else the user's interests are being written: it was in both
            yield row
        last = row[0]


def _marked(db: Reader, wanted: Wanted, after: int) -> Iterator[_Row]:
    for found in db.finder.stretches(wanted, after):
        yield from zip(
            found.number.tolist(),
            # as the profile has it: a number of up to six digits is found again
            (float(str(each)) for each in found.probability),
            found.rank.tolist(),
            found.trend.tolist(),
            found.time.tolist(),
            strict=True,
        )


def _wanted(db: Reader, segment: Segment) -> Wanted | None:
    """Returns what is looked for in the array, None if no profile has named the interest."""
    row = db.execute("SELECT interest FROM name WHERE name = ?", [segment.interest]).fetchone()
    if row is None:
        return None
    return Wanted(
        interest=row[0],
        min_probability=segment.min_probability,
        max_rank=segment.max_rank,
        trend=None if segment.trend is None else TRENDS.index(segment.trend),
        active_since_ms=segment.active_since_ms,
    )


def all_members(db: Reader, segment: Segment) -> Iterator[list[Member]]:
    """Yields all users of a segment, some thousands at a time."""
    after = -1
    while found := members(db, segment, after, EXPORT_ROWS):
        yield found
        after = found[-1].number


def interests(db: sqlite3.Connection, since_ms: int) -> list[dict[str, Any]]:
    """Returns each interest with its users by trend, the largest first; users active since then.

    since_ms: a whole one.
    """
    sums = ", ".join(f"sum({column})" for column in ("millionths", "first", *TREND_COLUMNS))
    rows = db.execute(
        f"SELECT name, sum(users), {sums} FROM tally JOIN name USING (interest) "
        "WHERE begin >= ? GROUP BY interest ORDER BY sum(users) DESC, name",
        [since_ms],
    )
    return [
        {
            "interest": name,
            "users": users,
            "mean_probability": round(millionths / MILLION / users, 5),
            "first_of": first,
            "trends": dict(zip(TRENDS, trends, strict=True)),
        }
        for name, users, millionths, first, *trends in rows
    ]


def counted_since(db: sqlite3.Connection) -> int | None:
    """Returns since when it is counted who comes to an interest and who goes; None: not yet."""
    row = db.execute("SELECT value FROM meta WHERE name = 'counted_since'").fetchone()
    return None if row is None else int(row[0])


def profiles(db: sqlite3.Connection) -> int:
    """Returns how many users have a profile."""
    return int(db.execute("SELECT value FROM meta WHERE name = 'users'").fetchone()[0])

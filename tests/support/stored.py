"""Looks into the file of a service, and says what it should hold."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator
from contextlib import closing, contextmanager
from typing import Any

import numpy as np
import orjson

from models.contract import TRENDS
from stream.serving import queries
from stream.serving.store import HISTORY_MS, Reader, Store, begin_of
from stream.serving.store.marks_file import RANKS, Mapped, file_beside, rows_in
from stream.serving.store.tallies import MILLION
from tests.support.serving import NOW_MS, PROFILES

PLACE = (PROFILES, 0)

Marked = tuple[int, dict[int, tuple[str, float, int]]]
"""Time of a user's last event; name, probability and trend of each interest, by rank."""


@contextmanager
def reading(store: Store) -> Iterator[Reader]:
    """Yields a connection that reads."""
    with closing(store.reader()) as db:
        yield db


def profile(store: Store, user: str) -> Any:
    """The profile of a user."""
    with reading(store) as db:
        value = queries.profile_of(db, user.encode())
    return None if value is None else orjson.loads(value)


def offset(store: Store, user: str) -> int | None:
    """The source offset of a user's profile."""
    found = profile(store, user)
    return None if found is None else int(found["source"]["offset"])


def tops(store: Store, user: str) -> list[list[str]]:
    """The names in the entries of a user's history."""
    with reading(store) as db:
        found = queries.history_of(db, user.encode(), NOW_MS - HISTORY_MS)
    return [[each["interest"] for each in orjson.loads(top)] for _, top in found]


def in_segment(store: Store, interest: str) -> list[str]:
    """The users with an interest."""
    segment = queries.Segment(interest, 0.0, 1_000, None, 0)
    with reading(store) as db:
        return [each.user_id for each in queries.members(db, segment, -1, 100)]


def everything(db: Reader) -> dict[str, list[Any]]:
    """What the file says, whatever numbers interests and places have."""
    questions = {
        "profiles": "SELECT number, user, value FROM profile ORDER BY number",
        "rest": "SELECT name, number, probability, rank, trend, time "
        "FROM interest JOIN name USING (interest) ORDER BY name, number",
        "histories": "SELECT * FROM history ORDER BY number, offset",
        "erased": "SELECT topic, partition, offset, published, at FROM erased ORDER BY 3, 5, 4",
        "users": "SELECT value FROM meta WHERE name = 'users'",
        "tallies": "SELECT name, begin, users, first, millionths, trend_0, trend_1, trend_2, "
        "trend_3 FROM tally JOIN name USING (interest) ORDER BY name, begin",
    }
    found = {what: db.execute(question).fetchall() for what, question in questions.items()}
    return found | {"marks": sorted(marked(db).items())}


def marked(db: Reader) -> dict[int, Marked]:
    """What the array has of each user: the time, and interests by rank."""
    names = dict(db.execute("SELECT interest, name FROM name"))
    rows = rows_in(Mapped(file_beside(db.path), writes=False).buckets)
    found = {}
    for user, (number, time) in enumerate(zip(rows.number.tolist(), rows.time, strict=True)):
        found[number] = (
            int(time),
            {
                rank: (names[interest], float(chance), int(trend))
                for rank, (interest, chance, trend) in enumerate(
                    zip(
                        rows.interest[user].tolist(),
                        rows.probability[user],
                        rows.trend[user],
                        strict=True,
                    ),
                    start=1,
                )
                if interest
            },
        )
    return found


def check_counts(db: Reader) -> None:
    """Fails unless array, tallies and users are what the profiles give."""
    (hours_from_ms,) = db.execute("SELECT value FROM meta WHERE name = 'hours_from_ms'").fetchone()
    counted: dict[tuple[int, int], list[int]] = defaultdict(lambda: [0] * 7)
    numbers = dict(db.execute("SELECT name, interest FROM name"))
    expected: dict[int, Marked] = {}
    rest = []
    for number, value in db.execute("SELECT number, value FROM profile"):
        said, ranks = orjson.loads(value), dict[int, tuple[str, float, int]]()
        for rank, each in enumerate(said["interests"], start=1):
            name, chance = each["interest"], each["probability"]
            if any(name == other for other, _, _ in ranks.values()):
                continue
            trend = TRENDS.index(each["trend"])
            ranks[rank] = (name, float(np.float32(chance)), trend)
            tally = counted[numbers[name], begin_of(said["time"], hours_from_ms)]
            tally[0] += 1
            tally[1] += rank == 1
            tally[2] += int(chance * MILLION + 0.5)
            tally[3 + trend] += 1
            if rank > RANKS:
                rest.append((numbers[name], number, chance, rank, trend, said["time"]))
        if ranks:
            first = {rank: each for rank, each in ranks.items() if rank <= RANKS}
            expected[number] = (said["time"], first)
    assert marked(db) == expected
    assert db.execute("SELECT * FROM interest ORDER BY 1, 2").fetchall() == sorted(rest)
    held = {
        (interest, begin): counts for interest, begin, *counts in db.execute("SELECT * FROM tally")
    }
    assert held == dict(counted)
    (users,) = db.execute("SELECT count(*) FROM profile").fetchone()
    assert queries.profiles(db) == users

"""Looks into the file of a service, and says what it should hold."""

from __future__ import annotations

import sqlite3
from collections import defaultdict
from collections.abc import Iterator
from contextlib import closing, contextmanager
from typing import Any

import orjson

from stream.serving import queries
from stream.serving.store import HISTORY_MS, Store, begin_of
from stream.serving.store.tallies import MILLION
from tests.support.serving import NOW_MS, PROFILES

PLACE = (PROFILES, 0)


@contextmanager
def reading(store: Store) -> Iterator[sqlite3.Connection]:
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


def everything(db: sqlite3.Connection) -> dict[str, list[Any]]:
    """What the file says, whatever numbers interests and places have."""
    questions = {
        "profiles": "SELECT number, user, value FROM profile ORDER BY number",
        "interests": "SELECT name, number, probability, rank, trend, time "
        "FROM interest JOIN name USING (interest) ORDER BY name, number",
        "histories": "SELECT * FROM history ORDER BY number, offset",
        "erased": "SELECT topic, partition, offset, published, at FROM erased ORDER BY 3, 5, 4",
        "users": "SELECT value FROM meta WHERE name = 'users'",
        "tallies": "SELECT name, begin, users, first, millionths, trend_0, trend_1, trend_2, "
        "trend_3 FROM tally JOIN name USING (interest) ORDER BY name, begin",
    }
    return {what: db.execute(question).fetchall() for what, question in questions.items()}


def check_counts(db: sqlite3.Connection) -> None:
    """Fails unless tallies and users are what a count of all rows gives."""
    (hours_from_ms,) = db.execute("SELECT value FROM meta WHERE name = 'hours_from_ms'").fetchone()
    counted: dict[tuple[int, int], list[int]] = defaultdict(lambda: [0] * 7)
    rows = db.execute("SELECT interest, time, rank, probability, trend FROM interest")
    for interest, time, rank, probability, trend in rows:
        tally = counted[interest, begin_of(time, hours_from_ms)]
        tally[0] += 1
        tally[1] += rank == 1
        tally[2] += int(probability * MILLION + 0.5)
        tally[3 + trend] += 1
    held = {
        (interest, begin): counts for interest, begin, *counts in db.execute("SELECT * FROM tally")
    }
    assert held == dict(counted)
    (users,) = db.execute("SELECT count(*) FROM profile").fetchone()
    assert queries.profiles(db) == users

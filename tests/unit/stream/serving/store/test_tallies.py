"""Counts are those of all rows, whatever was written, taken back or joined."""

from __future__ import annotations

import random
from typing import Any

import orjson
import pytest

from stream.serving import queries
from stream.serving.queries import ANY_RANK, Segment
from stream.serving.store import DAY_MS, PRUNED_PARTS, Store, begin_of
from stream.serving.store.tallies import HOUR_MS
from tests.support.serving import NOW_MS, Record, null, update
from tests.support.stored import PLACE, check_counts, reading

TRENDS = ("steady", "rising", "fading", "new")


def some_records(chance: random.Random, count: int, first: int) -> list[Record]:
    """Profiles of a few users, some erased, whose last events lie in a month."""
    records = []
    for number in range(first, first + count):
        user = f"user-{chance.randrange(30)}"
        if chance.random() < 0.1:
            records.append(null(user))
            continue
        interests: list[dict[str, Any]] = [
            {
                "interest": chance.choice("abcdef"),
                "probability": chance.random(),
                "trend": chance.choice(TRENDS),
                "change": 0.0,
            }
            for _ in range(chance.randrange(6))
        ]
        time_ms = NOW_MS - chance.randrange(30 * DAY_MS)
        said = {**update(user, number, time=time_ms), "interests": interests}
        records.append(Record(user.encode(), orjson.dumps(said)))
    return records


def test_a_stretch_is_an_hour_of_late_and_a_day_before() -> None:
    day = NOW_MS // DAY_MS * DAY_MS
    assert begin_of(day + 5 * HOUR_MS + 7, day) == day + 5 * HOUR_MS
    assert begin_of(day - 1, day) == day - DAY_MS
    assert begin_of(day, day) == day


def test_counts_are_those_of_the_rows_after_any_batch(store: Store) -> None:
    chance = random.Random(5)
    for batch in range(30):
        store.apply(some_records(chance, chance.randrange(1, 40), batch * 40), [], {PLACE: batch})
        with reading(store) as db:
            check_counts(db)
    store.apply([null(f"user-{number}") for number in range(30)], [], {PLACE: 99})
    with reading(store) as db:
        check_counts(db)
        assert db.execute("SELECT count(*) FROM tally").fetchone() == (0,)


def test_hours_become_days_and_counts_stay(store: Store) -> None:
    chance = random.Random(6)
    store.apply(some_records(chance, 200, 0), [], {PLACE: 1})
    now, rows = NOW_MS, []
    for _ in range(3):
        with reading(store) as db:
            before = queries.interests(db, 0)
            rows.append(db.execute("SELECT count(*) FROM tally").fetchone()[0])
        for part in range(PRUNED_PARTS):
            store.prune(now, part)
        with reading(store) as db:
            check_counts(db)
            assert queries.interests(db, 0) == before
        now += 3 * DAY_MS
        # a user who leaves a stretch that was joined leaves the day
        store.apply(some_records(chance, 40, 1_000), [], {PLACE: 2})
    assert rows[0] > rows[1] > rows[2]


@pytest.mark.parametrize("ago_ms", [0, 5 * HOUR_MS, 3 * DAY_MS, 20 * DAY_MS, 10**12])
def test_a_segment_has_as_many_users_as_it_has_members(store: Store, ago_ms: int) -> None:
    store.apply(some_records(random.Random(7), 300, 0), [], {PLACE: 1})
    store.prune(NOW_MS, 0)
    with reading(store) as db:
        since_ms = queries.whole_since(db, NOW_MS - ago_ms)
        by_name = {each["interest"]: each for each in queries.interests(db, since_ms)}
        for trend in (None, *TRENDS):
            for rank in (1, 2, ANY_RANK):
                for least in (0.0, 0.5):
                    segment = Segment("a", least, rank, trend, since_ms)
                    members = queries.members(db, segment, -1, 1_000)
                    assert queries.users_of(db, segment, store.count) == len(members)
                    assert queries.tallied(db, segment) in (None, len(members))
        users = by_name.get("a", {"users": 0})["users"]
        assert users == queries.tallied(db, Segment("a", 0.0, ANY_RANK, None, since_ms))

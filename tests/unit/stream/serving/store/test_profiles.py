"""What a batch does to profiles: the newest one of each user, nothing of who was erased."""

from __future__ import annotations

import random
from pathlib import Path

import orjson
import pytest

from stream.serving import queries
from stream.serving.store import Store, profiles
from stream.serving.updates import LATE_WRITE_MS
from tests.support.serving import NOW_MS, Record, null, record, update
from tests.support.stored import (
    PLACE,
    check_counts,
    everything,
    in_segment,
    offset,
    profile,
    reading,
    tops,
)


def test_the_bytes_of_a_profile_are_kept_as_they_were_published(store: Store) -> None:
    one = record("anna", 3)
    changes = store.apply([one], [], {PLACE: 1})
    assert (changes.kept, changes.foreign) == (1, 0)
    with reading(store) as db:
        assert queries.profile_of(db, b"anna") == one.value
    assert profile(store, "ann") is None


def test_the_highest_source_offset_wins_whatever_comes_last(store: Store) -> None:
    store.apply([record("anna", 5), record("anna", 4, {"books": 0.9})], [], {PLACE: 2})
    assert offset(store, "anna") == 5
    assert in_segment(store, "camping") == ["anna"]
    later = store.apply([record("anna", 6, {"tea": 0.9})], [], {PLACE: 3})
    assert (offset(store, "anna"), later.older) == (6, 0)
    assert [in_segment(store, name) for name in ("camping", "books", "tea")] == [[], [], ["anna"]]


def test_offsets_of_another_topic_or_partition_say_nothing(store: Store) -> None:
    store.apply([record("anna", 500)], [], {PLACE: 1})
    moved = {"topic": "clickstream", "partition": 3, "offset": 2}
    store.apply([record("anna", 2, source=moved)], [], {PLACE: 2})
    assert offset(store, "anna") == 2
    # a topic of the same name that was made anew: much later, from an offset that was there before
    published = NOW_MS + LATE_WRITE_MS + 1
    anew = {"topic": "clickstream", "partition": 3, "offset": 0}
    store.apply([record("anna", 0, source=anew, published_at=published)], [], {PLACE: 3})
    assert offset(store, "anna") == 0


def test_a_null_wins_and_an_older_profile_behind_it_brings_nobody_back(store: Store) -> None:
    store.apply([record("anna", 5)], [record("anna", 5, timestamp=NOW_MS - 9)], {PLACE: 1})
    changes = store.apply([null("anna"), record("anna", 4), record("anna", 5)], [], {PLACE: 4})
    assert (changes.erased, changes.older) == (1, 2)
    assert profile(store, "anna") is None
    assert tops(store, "anna") == []
    assert in_segment(store, "camping") == []
    # written again, as at each assignment: it hides what the first null hid
    store.apply([null("anna"), record("anna", 5)], [], {PLACE: 6})
    assert profile(store, "anna") is None
    # who comes back is there, without what was before the erasure
    older = record("anna", 3, {"tea": 0.5}, timestamp=NOW_MS - 1)
    store.apply([record("anna", 9)], [older, record("anna", 9, timestamp=NOW_MS + 1)], {PLACE: 7})
    assert offset(store, "anna") == 9
    assert tops(store, "anna") == [["camping", "books"]]


def test_what_workers_write_for_themselves_and_what_strangers_write_is_left_out(
    store: Store,
) -> None:
    foreign = [
        Record(b"anna", b"{"),
        Record(b"anna", b"{}"),
        Record(b"berta", record("anna", 1).value),
        record("anna", 1, schema="interest-update/2"),
        Record(b"\xff", record("anna", 1).value),
        Record(b"anna", b"[" * 100_000),
        record("anna", 2**63),
        Record(b"anna", orjson.dumps(update("anna", 1, time=777)).replace(b"777", b"9" * 30)),
        record("anna", 1, {"camping": 1.5}),
    ]
    changes = store.apply([Record(b"", None), *foreign], foreign, {PLACE: 7})
    assert (changes.kept, changes.erased, changes.foreign) == (0, 0, 18)


def test_profiles_in_any_batches_leave_the_newest_of_each(store: Store) -> None:
    chance = random.Random(7)
    newest: dict[str, int] = {}
    number = 0
    for _ in range(40):
        batch = []
        for _ in range(chance.randrange(1, 9)):
            user, number = f"user-{chance.randrange(12)}", number + 1
            if chance.random() < 0.1:
                batch.append(null(user))
                newest.pop(user, None)
            else:
                batch.append(record(user, number, {chance.choice("abc"): 0.5, "d": 0.1}))
                newest[user] = number
        store.apply(batch, [], {PLACE: number})
    assert {user: offset(store, user) for user in newest} == newest
    assert sorted(in_segment(store, "d")) == sorted(newest)
    with reading(store) as db:
        assert queries.profiles(db) == len(newest)
        assert sum(each["users"] for each in queries.interests(db, 0)) == 2 * len(newest)


def some_records(chance: random.Random, count: int) -> list[Record]:
    """Records of a few users as they may come: late ones, nulls, other partitions, strangers."""
    records = []
    for number in range(count):
        user, offset = f"user-{chance.randrange(9)}", number - chance.randrange(9)
        kind = chance.random()
        if kind < 0.15:
            records.append(null(user, timestamp=NOW_MS + number))
        elif kind < 0.2:
            records.append(Record(user.encode(), b"{"))
        else:
            chances = {chance.choice("abcd"): chance.random() for _ in range(4)}
            place = {"topic": "clickstream", "partition": chance.randrange(2), "offset": offset}
            more = {"source": place, "events_seen": offset, "time": NOW_MS - number}
            when = NOW_MS + number - chance.randrange(5)
            records.append(record(user, offset, chances, when, **more))
    return records


@pytest.mark.parametrize("seed", range(6))
def test_a_batch_does_what_its_records_do_one_by_one(
    store: Store, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, seed: int
) -> None:
    monkeypatch.setattr(profiles, "AT_ONCE", 7)
    chance = random.Random(seed)
    records, other = some_records(chance, 120), Store(tmp_path / "other")
    begin = 0
    while begin < len(records):
        end = begin + chance.randrange(1, 60)
        store.apply(records[begin:end], [], {PLACE: end})
        begin = end
    for one in records:
        other.apply([one], [], {PLACE: 1})
    with reading(store) as mine, reading(other) as its:
        assert everything(mine) == everything(its)
        check_counts(mine)
    other.close()

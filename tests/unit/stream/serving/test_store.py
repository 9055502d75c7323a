"""What the file keeps: the newest profile of each user, and nothing of who was erased."""

from __future__ import annotations

import random
import sqlite3
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import orjson
import pytest

from stream.errors import Failure, UsageError
from stream.serving import queries
from stream.serving.store import DAY_MS, HISTORY_ENTRIES, HISTORY_MS, Store
from stream.serving.updates import LATE_WRITE_MS
from tests.support.serving import NOW_MS, PROFILES, Record, null, record

PLACE = (PROFILES, 0)


@pytest.fixture
def store(tmp_path: Path) -> Iterator[Store]:
    store = Store(tmp_path)
    yield store
    store.close()


def profile(store: Store, user: str) -> Any:
    value = queries.profile_of(store.reader(), user.encode())
    return None if value is None else orjson.loads(value)


def offset(store: Store, user: str) -> int | None:
    found = profile(store, user)
    return None if found is None else int(found["source"]["offset"])


def tops(store: Store, user: str) -> list[list[str]]:
    found = queries.history_of(store.reader(), user.encode(), NOW_MS - HISTORY_MS)
    return [[each["interest"] for each in orjson.loads(top)] for _, top in found]


def in_segment(store: Store, interest: str) -> list[str]:
    segment = queries.Segment(interest, 0.0, 1_000, None, 0)
    return [each.user_id for each in queries.members(store.reader(), segment, -1, 100)]


def test_the_bytes_of_a_profile_are_kept_as_they_were_published(store: Store) -> None:
    one = record("anna", 3)
    changes = store.apply([one], [], {PLACE: 1})
    assert (changes.kept, changes.foreign) == (1, 0)
    assert queries.profile_of(store.reader(), b"anna") == one.value
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
    ]
    changes = store.apply([Record(b"", None), *foreign], foreign, {PLACE: 7})
    assert (changes.kept, changes.erased, changes.foreign) == (0, 0, 12)


def test_records_and_positions_are_one_transaction(
    store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    store.apply([record("anna", 1)], [], {PLACE: 1}, as_of_ms=5)
    broken = record("berta", 2)
    object.__setattr__(broken, "timestamp", "no moment")
    monkeypatch.setattr(Store, "_take_update", lambda *_: 1 / 0)
    with pytest.raises(ZeroDivisionError):
        store.apply([record("anna", 2, {"tea": 0.9})], [broken], {PLACE: 2}, as_of_ms=6)
    assert offset(store, "anna") == 1
    assert store.known().positions == {PLACE: 1}
    assert store.known().as_of_ms == 5
    # a name that the transaction had met is not taken for one that is there
    monkeypatch.undo()
    store.apply([record("anna", 2, {"tea": 0.9})], [], {PLACE: 2})
    assert in_segment(store, "tea") == ["anna"]


def test_a_new_start_goes_on_and_a_folder_has_one_owner(tmp_path: Path) -> None:
    first = Store(tmp_path)
    first.begin_anew({PROFILES: "an-id"})
    first.apply([record("anna", 1)], [], {PLACE: 9}, as_of_ms=NOW_MS)
    with pytest.raises(UsageError, match="another"):
        Store(tmp_path)
    first.close()
    assert (tmp_path / "profiles.sqlite").stat().st_mode & 0o777 == 0o600
    again = Store(tmp_path)
    known = again.known()
    assert (known.topic_ids, known.positions) == ({PROFILES: "an-id"}, {PLACE: 9})
    assert (known.as_of_ms, offset(again, "anna")) == (NOW_MS, 1)
    again.begin_anew({PROFILES: "another-id"})
    assert (again.known().positions, profile(again, "anna")) == ({}, None)
    again.close()


def test_what_is_no_file_of_ours_is_told(tmp_path: Path) -> None:
    (tmp_path / "profiles.sqlite").write_bytes(b"no database, and longer than a header " * 99)
    with pytest.raises(Failure, match="delete it"):
        Store(tmp_path)
    with pytest.raises(UsageError, match="cannot be written"):
        Store(tmp_path / "profiles.sqlite")


def test_another_layout_begins_anew(tmp_path: Path) -> None:
    first = Store(tmp_path)
    first.apply([record("anna", 1)], [], {PLACE: 1})
    first.close()
    with sqlite3.connect(tmp_path / "profiles.sqlite") as db:
        db.execute("UPDATE meta SET value = 0 WHERE name = 'layout'")
    db.close()
    again = Store(tmp_path)
    assert (profile(again, "anna"), again.known().positions) == (None, {})
    again.close()


def test_no_byte_of_an_erased_user_stays(tmp_path: Path) -> None:
    canary = "canary-7f3a91"
    store = Store(tmp_path)
    crowd = [record(f"user-{number}", number) for number in range(2_000)]
    random.Random(1).shuffle(crowd)
    mine = [record(canary, 9_000 + number, {f"of-{number}": 0.1}) for number in range(60)]
    for some in (crowd[:1_000], mine, crowd[1_000:]):
        store.apply(some, some, {PLACE: 1})
    assert canary.encode() in b"".join(each.read_bytes() for each in tmp_path.iterdir())
    store.apply([null(canary)], [], {PLACE: 2})
    store.close()
    assert canary.encode() not in b"".join(each.read_bytes() for each in tmp_path.iterdir())


def test_a_history_has_the_changes_of_the_first_three(store: Store) -> None:
    names = ["camping", "books", "tea", "music", "garden"]

    def at(number: int, order: str, **more: Any) -> Record:
        chances = {names[int(each)]: 0.9 - 0.1 * rank for rank, each in enumerate(order)}
        return record("anna", number, chances, **more)

    orders = ["0123", "0124", "1024", "1024", "0324"]
    updates = [at(number, order) for number, order in enumerate(orders)]
    store.apply([record("anna", 9)], [*updates, updates[0]], {PLACE: 1})
    assert tops(store, "anna") == [
        names[:3],
        ["books", "camping", "tea"],
        [
            "camping",
            "music",
            "tea",
        ],
    ]
    # one whose count of events fell was erased in between, though no null was seen
    store.apply([], [at(9, "4", events_seen=1)], {PLACE: 1})
    assert tops(store, "anna") == [["garden"]]


def test_a_history_has_an_end(store: Store) -> None:
    changes = [
        record("anna", number, {f"interest-{number}": 0.5}) for number in range(HISTORY_ENTRIES + 9)
    ]
    store.apply([record("anna", 99)], changes, {PLACE: 1})
    assert len(tops(store, "anna")) == HISTORY_ENTRIES
    assert tops(store, "anna")[-1] == [f"interest-{HISTORY_ENTRIES + 8}"]
    # old entries go, and those of users without a profile
    old = record("anna", 200, {"tea": 0.5}, published_at=NOW_MS - HISTORY_MS - 1)
    store.apply([], [old, record("nobody", 1)], {PLACE: 1})
    assert len(tops(store, "nobody")) == 1
    store.prune(NOW_MS)
    assert tops(store, "nobody") == []
    assert ["tea"] not in tops(store, "anna")
    # and so does the hash of an erased user, when nothing older can come any more
    store.apply([null("anna")], [], {PLACE: 2})
    store.prune(NOW_MS + 16 * DAY_MS)
    store.apply([record("anna", 1)], [], {PLACE: 3})
    assert offset(store, "anna") == 1


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
    assert queries.profiles(store.reader()) == len(newest)
    assert sorted(in_segment(store, "d")) == sorted(newest)
    assert sum(each["users"] for each in queries.interests(store.reader(), 0)) == 2 * len(newest)

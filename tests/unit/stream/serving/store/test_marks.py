"""The array of a segment's users: it grows, forgets, and holds what was committed after any end."""

from __future__ import annotations

import os
import random
import shutil
import sqlite3
from pathlib import Path

import numpy as np
import pytest

from stream.serving.store import Store, marks, marks_file
from stream.serving.store.histories import Histories
from stream.serving.store.marks import Marks
from stream.serving.store.marks_file import Mapped, Rows, bucket_of, first_number_of, rows_in
from stream.serving.updates import NUMBERS, number_of
from tests.support.serving import NOW_MS, Record, null, record
from tests.support.stored import PLACE, check_counts, everything, in_segment, marked, reading

ID = b"0123456789abcdef"
MANY = 1_300  # more than two buckets have room for


def rows(numbers: list[int], interest: int = 1) -> Rows:
    return Rows.of([(number, NOW_MS, {interest: (0.25, 1, 3)}) for number in numbers])


def held(path: Path) -> list[int]:
    return sorted(rows_in(Mapped(path, writes=False).buckets).number.tolist())


def some_numbers(count: int) -> list[int]:
    chance = random.Random(count)
    return [0, NUMBERS - 1, *(chance.randrange(NUMBERS) for _ in range(count - 2))]


@pytest.mark.parametrize("count", [1, 2, 7, 4_000])
def test_buckets_are_parts_of_all_numbers_in_their_order(count: int) -> None:
    for bucket in {0, count // 2, count - 1}:
        first = first_number_of(bucket, count)
        edges = np.array([max(first - 1, 0), first, first_number_of(bucket + 1, count) - 1])
        assert bucket_of(edges, count).tolist() == [max(bucket - 1, 0), bucket, bucket]
    assert first_number_of(count, count) == NUMBERS


def test_it_grows_and_keeps_whom_it_has(tmp_path: Path) -> None:
    path, numbers = tmp_path / "marks", some_numbers(MANY)
    array = Marks(path, ID, may_be_open=True)
    sizes = set()
    for low in range(0, MANY, 100):
        array.write(rows(numbers[low : low + 100]))
        sizes.add(path.stat().st_size)
    assert len(sizes) > 2
    array.write(rows(numbers[:50], interest=2))  # who has a place keeps it
    assert held(path) == sorted(numbers)
    assert path.stat().st_mode & 0o777 == 0o600
    array.close()
    again = Marks(path, ID, may_be_open=False)
    assert (again.is_whole, held(path)) == (True, sorted(numbers))
    again.close()


def test_an_array_that_others_read_is_overwritten_when_it_has_grown(tmp_path: Path) -> None:
    path, numbers = tmp_path / "marks", some_numbers(MANY)
    array = Marks(path, ID, may_be_open=True)
    array.write(rows(numbers[:100]))
    os.link(path, tmp_path / "old")
    array.write(rows(numbers))
    assert not any((tmp_path / "old").read_bytes()[marks_file.HEAD_BYTES :])
    array.close()


def test_users_of_one_part_of_the_numbers_find_room(tmp_path: Path) -> None:
    numbers = list(range(marks_file.SLOTS + 1))  # all in the first of any few buckets
    spread = [number << 50 for number in numbers]
    array = Marks(tmp_path / "marks", ID, may_be_open=True)
    array.write(rows(spread))
    assert held(tmp_path / "marks") == spread
    array.close()


def test_nothing_of_an_erased_user_stays_in_it(tmp_path: Path) -> None:
    path, mine = tmp_path / "marks", number_of(b"mine")
    array = Marks(path, ID, may_be_open=True)
    array.write(rows([mine, 5]))
    array.write(Rows.of([(mine, 0, {})]))
    array.to_disk()
    mapped = Mapped(path, writes=False)
    ours = mapped.buckets["name"] == 6
    for name in ("name", "time"):
        assert not mapped.buckets[name][~ours].any()
    for name in marks_file.OF_RANKS:
        assert np.count_nonzero(mapped.buckets[name]) == 1  # that of the other user
    # who comes back, and somebody new, take free places
    array.write(rows([mine, 7]))
    assert held(path) == sorted([mine, 5, 7])
    array.close()


@pytest.mark.parametrize(
    "left", [b"", b"no array, and shorter than a head", b"no array, and as long as one " * 2_000]
)
def test_what_is_no_array_is_made_anew_from_the_profiles(tmp_path: Path, left: bytes) -> None:
    first = Store(tmp_path)
    first.apply([record("anna", 1), record("berta", 2)], [], {PLACE: 1}, as_of_ms=NOW_MS)
    first.close()
    (tmp_path / "marks").write_bytes(left)
    again = Store(tmp_path)
    assert sorted(in_segment(again, "camping")) == ["anna", "berta"]
    assert again.known().as_of_ms == NOW_MS  # nothing has to be read again
    again.close()


def test_an_array_of_another_file_is_made_anew(tmp_path: Path) -> None:
    for name in ("mine", "other"):
        store = Store(tmp_path / name)
        store.apply([record(name, 1)], [], {PLACE: 1})
        store.close()
    shutil.copy(tmp_path / "other" / "marks", tmp_path / "mine" / "marks")
    again = Store(tmp_path / "mine")
    assert in_segment(again, "camping") == ["mine"]
    again.close()


def test_where_the_system_may_have_gone_down_it_is_made_anew(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("stream.serving.store.system_runs.this_run", lambda: "")
    first = Store(tmp_path / "data")
    first.apply([record("anna", 1)], [], {PLACE: 1})
    shutil.copytree(tmp_path / "data", tmp_path / "left")  # as a process that is killed leaves it
    first.close()
    with (tmp_path / "left" / "marks").open("r+b") as file:  # pages that were not on the disk
        file.seek(marks_file.HEAD_BYTES)
        file.write(bytes(marks_file.BUCKET.itemsize))
    again = Store(tmp_path / "left")
    assert in_segment(again, "camping") == ["anna"]
    again.close()


def test_what_a_killed_growth_has_left_goes(tmp_path: Path) -> None:
    Store(tmp_path).close()
    (tmp_path / "marks.new").write_bytes(b"half of an array")
    Store(tmp_path).close()
    assert not (tmp_path / "marks.new").exists()


def batches(crowd: int = 20) -> list[list[Record]]:
    """A first batch, and one that changes, adds, erases, and comes too late."""
    before = [record(name, 5) for name in ("anna", "berta", "clara")]
    many = [record(f"user-{number}", number) for number in range(crowd)]
    after = [record("anna", 6, {"tea": 0.9}), null("berta"), record("clara", 4), *many]
    return [before, after]


CROWDS = {"in a growth": marks_file.SLOTS}


class Killed(BaseException):
    """Stands for the end of a process."""


def left_behind(folder: Path, copied: Path, monkeypatch: pytest.MonkeyPatch, point: str) -> Store:
    """The store that a start finds behind a process that was killed at a point of a batch."""
    store = Store(folder)
    before, after = batches(CROWDS.get(point, 20))
    store.apply(before, [], {PLACE: 1})

    def die() -> None:
        if not copied.exists():
            shutil.copytree(folder, copied)
        raise Killed

    write, put = Marks.write, marks._set
    if point == "behind the array":

        def whole(array: Marks, rows: Rows) -> None:
            write(array, rows)
            die()

        monkeypatch.setattr(Marks, "write", whole)
    elif point == "in the array":

        def half(buckets: np.ndarray, rows: Rows, users: np.ndarray, *places: np.ndarray) -> None:
            put(buckets, rows, users[::2], *(each[::2] for each in places))
            die()

        monkeypatch.setattr(marks, "_set", half)
    else:
        monkeypatch.setattr(Path, "replace", lambda *_: die())
    with pytest.raises(Killed):
        store.apply(after, [], {PLACE: 2})
    monkeypatch.undo()
    store.close()
    return Store(copied)


@pytest.mark.parametrize("point", ["behind the array", "in the array", "in a growth"])
def test_a_batch_that_was_killed_is_read_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, point: str
) -> None:
    again = left_behind(tmp_path / "data", tmp_path / "left", monkeypatch, point)
    other = Store(tmp_path / "other")
    assert again.known().positions == {PLACE: 1}
    before, after = batches(CROWDS.get(point, 20))
    for each in (other, again):
        if each is other:
            each.apply(before, [], {PLACE: 1})
        each.apply(after, [], {PLACE: 2})
    with reading(again) as mine, reading(other) as its:
        assert everything(mine) == everything(its)
        check_counts(mine)
    again.close()
    other.close()


def test_a_record_that_compaction_took_away_leaves_nothing_in_the_array(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    again = left_behind(tmp_path / "data", tmp_path / "left", monkeypatch, "behind the array")
    # of each user the topic has the last record alone: of anna one that came too late
    again.apply([record("anna", 4), null("berta"), record("clara", 4)], [], {PLACE: 2})
    assert in_segment(again, "tea") == []
    assert sorted(in_segment(again, "camping"))[:2] == ["anna", "clara"]
    again.close()


@pytest.mark.parametrize("what", ["before the array", "in the array", "at the commit"])
def test_a_batch_that_fails_leaves_the_array_as_it_was(
    store: Store, monkeypatch: pytest.MonkeyPatch, what: str
) -> None:
    before, after = batches()
    store.apply(before, [], {PLACE: 1})
    with reading(store) as db:
        held_before = everything(db)
    if what == "before the array":
        monkeypatch.setattr(Histories, "take", lambda *_: 1 / 0)
    elif what == "in the array":
        put = marks._set

        def fail(*given: object) -> None:
            put(*given)  # type: ignore[arg-type]
            monkeypatch.undo()
            raise ZeroDivisionError

        monkeypatch.setattr(marks, "_set", fail)
    else:
        monkeypatch.setattr(store, "_db", Refusing(store._db))
    with pytest.raises((ZeroDivisionError, sqlite3.OperationalError)):
        store.apply(after, [], {PLACE: 2})
    monkeypatch.undo()
    with reading(store) as db:
        assert everything(db) == held_before
        check_counts(db)
    store.apply(after, [], {PLACE: 2})
    with reading(store) as db:
        check_counts(db)


class Refusing:
    """A connection whose commits fail, as on a full disk."""

    def __init__(self, db: sqlite3.Connection) -> None:
        self.db = db

    def execute(self, question: str, *given: object) -> object:
        if question == "COMMIT":
            raise sqlite3.OperationalError("database or disk is full")
        return self.db.execute(question, *given)  # type: ignore[arg-type]

    def __getattr__(self, name: str) -> object:
        return getattr(self.db, name)


def test_interests_behind_the_fifth_are_in_segments_too(store: Store) -> None:
    names = [f"interest-{rank}" for rank in range(1, 9)]
    chances = {name: 0.9 - 0.1 * rank for rank, name in enumerate(names)}
    turned = dict(zip(reversed(names), chances.values(), strict=True))
    store.apply([record("anna", 1, chances), record("berta", 1, turned)], [], {PLACE: 1})
    with reading(store) as db:
        check_counts(db)
    assert sorted(in_segment(store, "interest-8")) == ["anna", "berta"]
    store.apply([record("anna", 2, turned), null("berta")], [], {PLACE: 2})
    assert [in_segment(store, name) for name in names] == [["anna"]] * 8
    with reading(store) as db:
        check_counts(db)
        assert list(marked(db)) == [number_of(b"anna")]

"""Who reads the array sees rows of one moment, whatever is written meanwhile."""

from __future__ import annotations

import threading
from pathlib import Path

import numpy as np
import pytest

from stream.serving.queries import ANY_RANK, Segment, users_of
from stream.serving.store import Store, finding, marks
from stream.serving.store.finding import Finder, Found, Wanted
from stream.serving.store.marks import Marks
from stream.serving.store.marks_file import Rows
from stream.serving.updates import NUMBERS
from tests.support.serving import record
from tests.support.stored import PLACE, reading

ID = b"0123456789abcdef"
ALL = Wanted(1, 0.0, 1_000, None, -(2**62))


def numbered(count: int) -> list[int]:
    return [NUMBERS // count * each for each in range(count)]


def rows(numbers: list[int], moment: int, interest: int = 1) -> Rows:
    """Rows whose parts all say the same moment, below 256."""
    chance = moment / 256
    return Rows.of([(each, moment, {interest: (chance, 1, moment)}) for each in numbers])


def all_found(finder: Finder, wanted: Wanted = ALL, after: int = -1) -> list[int]:
    stretches = finder.stretches(wanted, after)
    return [number for each in stretches for number in each.number.tolist()]


def test_users_come_in_the_order_of_numbers_behind_any_of_them(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(finding, "FEWEST", 1)
    array, numbers = Marks(tmp_path / "marks", ID, may_be_open=True), numbered(3_000)
    array.write(rows(numbers[::-1], 3))
    array.write(rows(numbers[::3], 4, interest=2))
    finder = Finder(tmp_path / "marks")
    there = [each for place, each in enumerate(numbers) if place % 3]
    assert all_found(finder) == there
    for after in (0, there[0], there[777], there[-1], NUMBERS - 1, 2**64 - 1):
        assert all_found(finder, after=after) == [each for each in there if each > after]
    assert all_found(finder, Wanted(1, 3 / 256, 1, 3, 3)) == there
    for wanted in (Wanted(1, 0.5, 1, 3, 3), Wanted(1, 0, 1, 2, 3), Wanted(1, 0, 1, 3, 4)):
        assert all_found(finder, wanted) == []
    array.close()


def test_one_that_has_grown_is_looked_at_anew(tmp_path: Path) -> None:
    array, numbers = Marks(tmp_path / "marks", ID, may_be_open=True), numbered(2_000)
    array.write(rows(numbers[:100], 1))
    finder = Finder(tmp_path / "marks")
    assert all_found(finder) == numbers[:100]
    stretches = finder.stretches(ALL)
    first = next(stretches).number.tolist()
    array.write(rows(numbers, 2))
    rest = [number for each in stretches for number in each.number.tolist()]
    assert first + rest == numbers[:100]  # the first look had been at all there was
    assert all_found(finder) == numbers
    array.fill(ID, rows(numbers[:7], 3))
    assert all_found(finder) == numbers[:7]
    array.close()


def test_who_counts_keeps_no_file_that_was_replaced(tmp_path: Path) -> None:
    store, segment = Store(tmp_path), Segment("camping", 0.5, ANY_RANK, None, 0)
    first = (tmp_path / "marks").stat().st_size
    with reading(store) as db:
        for number in (1, 2):
            many = [record(f"{number}-{each}", each) for each in range(700)]
            store.apply(many, [], {PLACE: number})
            assert users_of(db, segment, store.count) == 700 * number
        assert (tmp_path / "marks").stat().st_size > first  # another file
        mapped = Path("/proc/self/maps").read_text(encoding="utf-8")
        assert f"{tmp_path}/marks (deleted)" not in mapped
    store.close()


def test_no_row_is_seen_half_written(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A writer stops between the parts of its rows: a reader waits, or reads once more."""
    array, numbers = Marks(tmp_path / "marks", ID, may_be_open=True), numbered(500)
    array.write(rows(numbers, 1))
    half, go_on, looked = threading.Event(), threading.Event(), threading.Event()

    def in_two(buckets: np.ndarray, rows: Rows, *places: np.ndarray) -> None:
        _, bucket, slot, _ = places
        buckets["time"][bucket, slot] = rows.time
        half.set()
        assert go_on.wait(60)
        put(buckets, rows, *places)

    put, search = marks._set, finding._found

    def first_half_then(*given: object) -> Found:
        """Looks at the array while it is written: the writer begins behind the first look."""
        if not looked.is_set():
            looked.set()
            writer.start()
            assert half.wait(60)
        else:
            assert go_on.is_set()  # nobody searches while rows are half written
        return search(*given)  # type: ignore[arg-type]

    monkeypatch.setattr(marks, "_set", in_two)
    monkeypatch.setattr(finding, "_found", first_half_then)
    monkeypatch.setattr(finding, "WAIT_S", 600.0)
    monkeypatch.setattr("time.sleep", lambda _: go_on.set())
    writer = threading.Thread(target=array.write, args=[rows(numbers, 2)])
    finder = Finder(tmp_path / "marks")
    (found,) = finder.stretches(ALL)
    writer.join()
    assert found.number.tolist() == numbers
    assert set(found.time.tolist()) == set(found.trend.tolist()) == {2}
    assert set((found.probability * 256).tolist()) == {2.0}
    array.close()


def test_a_process_that_stands_still_is_not_waited_for_for_ever(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    array = Marks(tmp_path / "marks", ID, may_be_open=True)
    array._array.head["moves"] += 1
    monkeypatch.setattr(finding, "WAIT_S", 0.0)
    finder = Finder(tmp_path / "marks")
    with pytest.raises(TimeoutError, match="too long"):
        all_found(finder)
    # a killed one leaves it so; the next start goes on
    array.close()
    Marks(tmp_path / "marks", ID, may_be_open=True).close()
    after = Finder(tmp_path / "marks")
    assert all_found(after) == []

"""Rows, records and arenas: what is written can be read, damage is named, the newest source offset wins."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from models.compact import COMPACT, RECENT
from stream.state import HEADER, Arena, CorruptRecordError, decode_record, encode_rows, row_dtype

SIZE = 6


def rows_of(n: int, *, fingerprint: int = 9, size: int = SIZE, partitions: int = 4) -> np.ndarray:
    random = np.random.default_rng(n)
    rows = np.zeros(n, row_dtype(size))
    rows["version"], rows["state_size"], rows["fingerprint"], rows["partitions"] = 1, size, fingerprint, partitions
    rows["n_recent"] = random.integers(0, RECENT + 1, n)
    rows["offset"] = random.integers(0, 1 << 40, n)
    rows["count"] = random.integers(0, 1 << 40, n)
    rows["digest"] = random.integers(0, 1 << 63, n)
    rows["memory"] = random.standard_normal((n, size))
    for row in rows:
        row["recent"]["key"][: row["n_recent"]] = random.integers(1, 1 << 60, row["n_recent"])
        row["recent"]["text"][: row["n_recent"]] = b"text"
    return rows


def restored(records: list[tuple[bytes, bytes | None]], fingerprint: int = 9, size: int = SIZE) -> Arena:
    arena = Arena(size, fingerprint, partitions=4)
    arena.restore([user for user, _ in records], [value for _, value in records])
    return arena


def test_layout_is_the_published_one() -> None:
    """The audit and old changelogs read these bytes without this code."""
    assert HEADER.itemsize == 56
    assert COMPACT.itemsize == 56
    places = HEADER.fields
    assert places is not None
    assert [places[name][1] for name in ("fingerprint", "partition", "offset", "count", "digest", "time_ms")] == [
        8,
        16,
        24,
        32,
        40,
        48,
    ]


def test_a_record_reads_back_and_unused_slots_take_no_room() -> None:
    rows = rows_of(40)
    for row, value in zip(rows, encode_rows(rows), strict=True):
        record = decode_record(value)
        assert all(record.header[name] == row[name] for name in HEADER.names or ())
        np.testing.assert_array_equal(record.memory, row["memory"])
        np.testing.assert_array_equal(record.recent, row["recent"][: row["n_recent"]])
        assert len(value) == 56 + 4 * SIZE + 56 * int(row["n_recent"]) + 4


def test_an_arena_restored_from_its_records_is_the_same() -> None:
    rows = rows_of(700)
    users = [b"user-%d" % place for place in range(700)]
    values = encode_rows(rows)
    arena = restored(list(zip(users, values, strict=True)))
    assert encode_rows(arena.gather(arena.find(users))) == values
    assert [arena.encoded(user) for user in users] == values
    assert not len(arena.stale_rows())


@given(st.integers(0, 10_000), st.integers(0, 255))
def test_any_damaged_byte_is_found(place: int, byte: int) -> None:
    value = bytearray(encode_rows(rows_of(1))[0])
    place %= len(value)
    if value[place] == byte:
        byte ^= 1
    value[place] = byte
    with pytest.raises(CorruptRecordError):
        decode_record(bytes(value))


@pytest.mark.parametrize("length", [0, 3, 55, 59, 100])
def test_a_cut_record_is_found_and_its_user_named(length: int) -> None:
    value = encode_rows(rows_of(1))[0][:length]
    with pytest.raises(CorruptRecordError, match="user-1"):
        restored([(b"user-1", value)])


def test_the_record_with_the_highest_source_offset_stays() -> None:
    rows = rows_of(3)
    rows["offset"] = [10, 30, 20]
    values = encode_rows(rows)
    arena = Arena(SIZE, 9, 4)
    assert arena.restore([b"user"] * 3, values) == 1
    assert arena.encoded(b"user") == values[1]


def test_a_tombstone_forgets_and_its_row_is_used_again() -> None:
    values = encode_rows(rows_of(2))
    arena = restored([(b"a", values[0]), (b"b", values[1]), (b"a", None)])
    assert arena.users() == [b"b"]
    arena.find([b"c"])
    assert arena.gather(arena.find([b"c"]))["count"][0] == 0
    assert arena.encoded(b"b") == values[1]


@pytest.mark.parametrize(("fingerprint", "size"), [(8, SIZE), (8, SIZE + 5), (9, SIZE - 2)])
def test_memory_of_another_model_is_not_used_but_rebuilt(fingerprint: int, size: int) -> None:
    rows = rows_of(5, fingerprint=fingerprint, size=size)
    users = [b"user-%d" % place for place in range(5)]
    arena = restored(list(zip(users, encode_rows(rows), strict=True)))
    stale = arena.stale_rows()
    held = arena.gather(stale)
    assert len(stale) == 5
    assert not held["memory"].any()
    np.testing.assert_array_equal(held["recent"], rows["recent"])
    for name in ("count", "digest", "offset", "n_recent"):
        np.testing.assert_array_equal(held[name], rows[name])
    assert set(held["fingerprint"]) == {9}
    arena.put_rebuilt(stale, np.ones((5, SIZE), np.float32))
    assert not len(arena.stale_rows())
    assert decode_record(arena.encoded(users[0]) or b"").memory.tolist() == [1.0] * SIZE


def test_find_grows_and_keeps_what_is_there() -> None:
    arena = restored([(b"first", encode_rows(rows_of(1))[0])])
    before = arena.encoded(b"first")
    arena.find([b"user-%d" % place for place in range(5_000)])
    assert arena.encoded(b"first") == before
    assert len(arena) == 5_001


def test_highest_offset_counts_only_its_own_source() -> None:
    rows = rows_of(2)
    rows["topic"], rows["partition"], rows["offset"] = [1, 2], [0, 0], [50, 90]
    arena = restored(list(zip([b"a", b"b"], encode_rows(rows), strict=True)))
    assert arena.highest_offset(1, 0) == 50
    assert arena.highest_offset(1, 7) == -1
    assert arena.partition_counts() == {4}


def test_newest_event_and_partition_counts_of_what_is_held() -> None:
    rows = rows_of(3)
    rows["topic"], rows["partition"], rows["offset"], rows["partitions"] = [1, 1, 2], [0, 0, 0], [10, 20, 90], [4, 4, 8]
    arena = restored([(b"user-%d" % place, value) for place, value in enumerate(encode_rows(rows))])
    assert arena.highest_offset(1, 0) == 20
    assert arena.highest_offset(1, 1) == -1
    assert arena.partition_counts() == {4, 8}
    arena.remove(b"user-2")
    assert arena.partition_counts() == {4}


def test_an_empty_arena_has_no_newest_event() -> None:
    arena = Arena(SIZE, 9, 4)
    assert arena.highest_offset(1, 0) == -1
    assert arena.partition_counts() == set()

"""Checks rows, records and arenas: what is written can be read again.

Damage is named, and the newest source offset wins.
"""

from __future__ import annotations

import zlib

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from models.compact import COMPACT, RECENT
from stream.contracts.state_record import (
    FIRST_HEADER,
    HEADER,
    MARKER,
    VERSION,
    CorruptRecordError,
    decode_record,
    encode_rows,
    row_dtype,
)
from stream.worker.restore import RestorableArena

SIZE = 6


def rows_of(n: int, *, fingerprint: int = 9, size: int = SIZE, partitions: int = 4) -> np.ndarray:
    random = np.random.default_rng(n)
    rows = np.zeros(n, row_dtype(size))
    rows["version"], rows["state_size"], rows["fingerprint"], rows["partitions"] = (
        VERSION,
        size,
        fingerprint,
        partitions,
    )
    rows["n_recent"] = random.integers(0, RECENT + 1, n)
    rows["offset"] = random.integers(0, 1 << 40, n)
    rows["count"] = random.integers(0, 1 << 40, n)
    rows["digest"] = random.integers(0, 1 << 63, n)
    rows["memory"] = random.standard_normal((n, size))
    for row in rows:
        row["recent"]["key"][: row["n_recent"]] = random.integers(1, 1 << 60, row["n_recent"])
        row["recent"]["text"][: row["n_recent"]] = b"text"
    return rows


def restored(
    records: list[tuple[bytes, bytes | None]], fingerprint: int = 9, size: int = SIZE
) -> RestorableArena:
    arena = RestorableArena(size, fingerprint, partitions=4)
    arena.restore([user for user, _ in records], [value for _, value in records])
    return arena


def test_layout_is_the_published_one() -> None:
    """The audit and old changelogs read these bytes without this code."""
    assert HEADER.itemsize == 80
    assert FIRST_HEADER.itemsize == 56
    assert COMPACT.itemsize == 56
    places = HEADER.fields
    assert places is not None
    assert [
        places[name][1]
        for name in ("fingerprint", "partition", "offset", "count", "digest", "time_ms")
    ] + [places[name][1] for name in ("flags", "erased_ms", "broker_ms")] == [
        8,
        16,
        24,
        32,
        40,
        48,
        56,
        64,
        72,
    ]


def test_a_record_reads_back_and_unused_slots_take_no_room() -> None:
    rows = rows_of(40)
    for row, value in zip(rows, encode_rows(rows), strict=True):
        record = decode_record(value)
        assert all(record.header[name] == row[name] for name in HEADER.names or ())
        np.testing.assert_array_equal(record.memory, row["memory"])
        np.testing.assert_array_equal(record.recent, row["recent"][: row["n_recent"]])
        assert len(value) == 80 + 4 * SIZE + 56 * int(row["n_recent"]) + 4


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


@pytest.mark.parametrize("length", [0, 3, 55, 59, 83, 100])
def test_a_cut_record_is_found_and_no_user_named(length: int) -> None:
    value = encode_rows(rows_of(1))[0][:length]
    with pytest.raises(CorruptRecordError, match="a state record has") as caught:
        restored([(b"user-1", value)])
    assert "user-1" not in str(caught.value)


def test_the_record_with_the_highest_source_offset_stays() -> None:
    rows = rows_of(3)
    rows["offset"] = [10, 30, 20]
    values = encode_rows(rows)
    arena = RestorableArena(SIZE, 9, 4)
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


def test_highest_offset_counts_only_its_own_source() -> None:
    rows = rows_of(2)
    rows["topic"], rows["partition"], rows["offset"] = [1, 2], [0, 0], [50, 90]
    arena = restored(list(zip([b"a", b"b"], encode_rows(rows), strict=True)))
    assert arena.highest_offset(1, 0) == 50
    assert arena.highest_offset(1, 7) == -1
    assert arena.partition_counts() == {4}


def test_newest_event_and_partition_counts_of_what_is_held() -> None:
    rows = rows_of(3)
    rows["topic"], rows["partition"], rows["offset"], rows["partitions"] = (
        [1, 1, 2],
        [0, 0, 0],
        [10, 20, 90],
        [4, 4, 8],
    )
    arena = restored([(b"user-%d" % place, value) for place, value in enumerate(encode_rows(rows))])
    assert arena.highest_offset(1, 0) == 20
    assert arena.highest_offset(1, 1) == -1
    assert arena.partition_counts() == {4, 8}
    arena.remove(b"user-2")
    assert arena.partition_counts() == {4}


def test_an_empty_arena_has_no_newest_event() -> None:
    arena = RestorableArena(SIZE, 9, 4)
    assert arena.highest_offset(1, 0) == -1
    assert arena.partition_counts() == set()


def first_version(rows: np.ndarray) -> list[bytes]:
    """The records that version 1 wrote of the same states."""
    records = []
    for value in encode_rows(rows):
        body = bytes([1]) + value[1 : FIRST_HEADER.itemsize] + value[HEADER.itemsize : -4]
        records.append(body + zlib.crc32(body).to_bytes(4, "little"))
    return records


def test_records_of_version_1_are_read_and_written_as_version_2() -> None:
    rows = rows_of(50)
    users = [b"user-%d" % place for place in range(50)]
    arena = restored(list(zip(users, first_version(rows), strict=True)))
    assert [arena.encoded(user) for user in users] == encode_rows(rows)
    assert not len(arena.stale_rows())
    old = decode_record(first_version(rows)[0])
    assert (old.header["version"], old.erased_ms, old.suppressed, old.is_marker) == (
        1,
        0,
        False,
        False,
    )


def test_a_version_that_is_not_known_is_refused_by_its_number() -> None:
    body = bytes([VERSION + 1]) + encode_rows(rows_of(1))[0][1:-4]
    with pytest.raises(CorruptRecordError, match=r"has version 3; this worker knows 1 to 2: upgr"):
        decode_record(body + zlib.crc32(body).to_bytes(4, "little"))


@pytest.mark.parametrize("fingerprint", [9, 8])
def test_a_marker_is_a_header_alone_and_stays_before_an_older_state(fingerprint: int) -> None:
    """After a plain tombstone the older state would come back at recovery."""
    rows = rows_of(2, fingerprint=fingerprint)
    rows["offset"] = [10, 20]
    marker = np.zeros(1, rows.dtype)
    for name in ("version", "state_size", "fingerprint", "partitions"):
        marker[name] = rows[name][0]
    marker["offset"], marker["flags"], marker["erased_ms"] = 30, MARKER, 1_000
    (value,) = encode_rows(marker)
    assert len(value) == HEADER.itemsize + 4
    found = decode_record(value)
    assert (found.is_marker, found.erased_ms, len(found.memory), len(found.recent)) == (
        True,
        1_000,
        0,
        0,
    )
    arena = RestorableArena(SIZE, 9, 4)
    states = encode_rows(rows)
    assert arena.restore([b"u", b"u", b"u"], [states[0], value, states[1]]) == 1
    held = arena.gather(arena.find([b"u"]))
    assert (held["count"][0], held["n_recent"][0], held["offset"][0]) == (0, 0, 30)
    assert not held["memory"].any()
    assert not len(arena.stale_rows())
    assert decode_record(arena.encoded(b"u") or b"").is_marker


SOURCES = st.tuples(st.integers(0, 1), st.integers(0, 1), st.integers(0, 6))


@given(st.lists(st.tuples(st.integers(0, 3), st.none() | SOURCES), max_size=30), st.integers(0, 30))
def test_a_chunk_of_records_leaves_what_its_records_one_by_one_leave(
    log: list[tuple[int, tuple[int, int, int] | None]], cut: int
) -> None:
    """However the changelog was cut into fetches."""
    rows = rows_of(len(log), fingerprint=9)
    for row, (_, source) in zip(rows, log, strict=True):
        row["topic"], row["partition"], row["offset"] = source or (0, 0, 0)
    records = [
        (b"user-%d" % user, None if source is None else value)
        for (user, source), value in zip(log, encode_rows(rows), strict=True)
    ]
    whole, single = RestorableArena(SIZE, 9, 4), RestorableArena(SIZE, 9, 4)
    gone_back = [
        sum(
            whole.restore(*map(list, zip(*part, strict=True)))
            for part in (records[:cut], records[cut:])
            if part
        ),
        sum(single.restore([user], [value]) for user, value in records),
    ]
    assert gone_back[0] == gone_back[1]
    assert {user: whole.encoded(user) for user in whole.users()} == {
        user: single.encoded(user) for user in single.users()
    }

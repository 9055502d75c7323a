"""Hop 3. One row of fixed size a user, in an arena a partition; and the record that the changelog keeps of it.

Record, little-endian, without padding (version 1):

    header   56 bytes   HEADER below: what was applied last, how many events, their digest
    memory   4 * S      h and c of all LSTM layers, float32
    recent   56 * n     the last n <= 32 events, newest first (models/compact.py)
    check    4 bytes    crc32 of everything before it

A record can be read without the model that wrote it. Pure: no clock, no I/O, no framework.
"""

from __future__ import annotations

import zlib
from collections.abc import Sequence
from dataclasses import dataclass
from struct import Struct
from typing import Any, Final, cast

import numpy as np

from models.compact import COMPACT, RECENT
from stream.errors import DataError

VERSION: Final = 1

_HEADER_FIELDS: Final[list[tuple[Any, ...]]] = [
    ("version", "u1"),
    ("n_recent", "u1"),
    ("state_size", "<u2"),  # S
    ("topic", "<u4"),  # crc32 of the source topic's name
    ("fingerprint", "<u8"),  # of the model whose memory this is
    ("partition", "<i4"),  # source partition
    ("partitions", "<u4"),  # how many the source topic had
    ("offset", "<i8"),  # source offset of the last event applied; repeats and bad records do not move it
    ("count", "<u8"),  # events applied
    ("digest", "<u8"),  # chain over the applied events (stream/step.py)
    ("time_ms", "<i8"),  # time of the last event applied
]
HEADER: Final = np.dtype(_HEADER_FIELDS)
CHECK_BYTES: Final = 4
SOUND: Final = 0x2144DF1C
"""crc32 of anything that is followed by its own crc32."""
_PREFIX: Final = Struct("<BBH")  # version, n_recent, state_size


def row_dtype(state_size: int) -> np.dtype[Any]:
    """The fixed-size row of a user in the arena: header, memory, all recent slots."""
    return np.dtype([*_HEADER_FIELDS, ("memory", "<f4", (state_size,)), ("recent", COMPACT, (RECENT,))])


def topic_code(topic: str) -> int:
    """How a record names its source topic."""
    return zlib.crc32(topic.encode())


class CorruptRecordError(DataError):
    """A changelog record that is not what this project writes; never defaulted, never skipped in silence."""


@dataclass(frozen=True, slots=True)
class Record:
    """A decoded changelog record of one user."""

    header: np.void
    memory: np.ndarray[Any, Any]  # float32 [S]
    recent: np.ndarray[Any, Any]  # COMPACT [n_recent], newest first


def encode_rows(rows: np.ndarray[Any, Any]) -> list[bytes]:
    """Changelog values of arena rows; unused recent slots are not written."""
    raw, size, crc32 = np.ascontiguousarray(rows).tobytes(), rows.dtype.itemsize, zlib.crc32
    ends = np.arange(1, len(rows) + 1) * size - (RECENT - rows["n_recent"].astype(np.int64)) * COMPACT.itemsize
    bodies = [raw[start:end] for start, end in zip(range(0, len(raw), size), ends.tolist(), strict=True)]
    checks = np.array([crc32(body) for body in bodies], "<u4").tobytes()
    return [body + checks[at : at + 4] for at, body in zip(range(0, len(checks), 4), bodies, strict=True)]


def decode_record(value: bytes) -> Record:
    """Read one changelog value. Raises CorruptRecordError with the reason."""
    memory_end, end = _extent(value)
    return Record(
        np.frombuffer(value, HEADER, 1)[0],
        np.frombuffer(value, "<f4", (memory_end - HEADER.itemsize) // 4, HEADER.itemsize),
        np.frombuffer(value, COMPACT, (end - memory_end) // COMPACT.itemsize, memory_end),
    )


def _extent(value: bytes) -> tuple[int, int]:
    """Where the memory and the recent events of a sound record end."""
    if len(value) < HEADER.itemsize + CHECK_BYTES:
        raise CorruptRecordError(f"a state record has {len(value)} bytes, fewer than its header")
    version, n_recent, state_size = _PREFIX.unpack_from(value)
    if version != VERSION:
        raise CorruptRecordError(f"a state record has version {version}; this worker knows {VERSION}: upgrade it")
    memory_end = HEADER.itemsize + 4 * state_size
    end = memory_end + COMPACT.itemsize * n_recent
    if n_recent > RECENT or len(value) != end + CHECK_BYTES:
        raise CorruptRecordError(f"a state record has {len(value)} bytes where its header says {end + CHECK_BYTES}")
    if zlib.crc32(memoryview(value)[:end]) != int.from_bytes(value[end:], "little"):
        raise CorruptRecordError("a state record does not match its checksum")
    return memory_end, end


def _extents(users: Sequence[bytes], values: Sequence[bytes]) -> tuple[int, int]:
    """`_extent` of records of one shape. Raises CorruptRecordError naming the user."""
    doubtful = 0  # the first one stands for the shape of all
    try:
        extent = _extent(values[doubtful])
        checks = np.fromiter(map(zlib.crc32, values), np.uint32, len(values))
        for doubtful in np.flatnonzero(checks != SOUND).tolist():
            _extent(values[doubtful])
    except CorruptRecordError as error:
        raise CorruptRecordError(f"state of user {users[doubtful]!r}: {error}") from None
    return extent


@dataclass(frozen=True, slots=True)
class ArenaStatistics:
    """What can be seen of an arena from outside."""

    users: int
    allocated_bytes: int
    to_rebuild: int


class Arena:
    """The states of all users of one partition: a growing array of rows and an index of user to row."""

    def __init__(self, state_size: int, fingerprint: int, partitions: int) -> None:
        self._dtype = row_dtype(state_size)
        self._recent_at = HEADER.itemsize + 4 * state_size
        self._partitions = partitions
        self._state_size = state_size
        self._fingerprint = fingerprint
        self._index: dict[bytes, int] = {}  # user -> row
        self._rows = np.zeros(0, self._dtype)  # rows in use first; capacity doubles
        self._free: list[int] = []  # rows of removed users
        self._used = 0  # rows handed out so far
        self._stale: set[int] = set()  # rows whose memory another model wrote

    def __len__(self) -> int:
        return len(self._index)

    def __contains__(self, user: bytes) -> bool:
        return user in self._index

    def users(self) -> list[bytes]:
        """All users held, oldest first."""
        return list(self._index)

    def find(self, users: Sequence[bytes]) -> np.ndarray[Any, Any]:
        """Rows of users, int64 [U]; a new user gets a blank row."""
        index = self._index
        rows = list(map(index.get, users))
        if None in rows:
            fresh = dict.fromkeys(user for user, row in zip(users, rows, strict=True) if row is None)  # each once
            index.update(zip(fresh, self._new_rows(len(fresh)), strict=True))
            rows = list(map(index.get, users))
        return np.array(rows, np.int64)

    def last_offsets(self, rows: np.ndarray[Any, Any], topic: int, partition: int) -> np.ndarray[Any, Any]:
        """int64 [U]: offset last applied of rows, -1 where it is of another topic (its code) or partition."""
        held = self._rows
        same = (held["topic"][rows] == topic) & (held["partition"][rows] == partition)
        return np.where(same, held["offset"][rows], -1)

    def gather(self, rows: np.ndarray[Any, Any]) -> np.ndarray[Any, Any]:
        """Copies of rows; changing them changes nothing here until `put`."""
        rows_: np.ndarray[Any, Any] = self._rows[rows]
        return rows_

    def put(self, rows: np.ndarray[Any, Any], values: np.ndarray[Any, Any]) -> None:
        """Store new values of rows."""
        self._rows[rows] = values

    def encoded(self, user: bytes) -> bytes | None:
        """The changelog value of a user, None if not held."""
        row = self._index.get(user)
        return None if row is None else encode_rows(self._rows[row : row + 1])[0]

    def remove(self, user: bytes) -> None:
        """Forget a user (a tombstone in the changelog)."""
        row = self._index.pop(user, None)
        if row is not None:
            self._rows[row] = np.zeros((), self._dtype)
            self._free.append(row)
            self._stale.discard(row)

    def restore(self, users: Sequence[bytes], values: Sequence[bytes | None]) -> int:
        """Take changelog records in log order; of a user the one with the highest source offset stays.

        Returns how many records went back in offset: writes of a worker that no longer owned the partition.
        Raises CorruptRecordError naming the user.
        """
        if None not in values and len(set(users)) == len(users):
            return self._take(users, cast(Sequence[bytes], values))
        regressions, pending = 0, dict[bytes, bytes]()
        for user, value in zip(users, values, strict=True):
            if value is None or user in pending:  # of a user only one at a time: the order of the log counts
                regressions += self._take(list(pending), list(pending.values()))
                pending.clear()
            if value is None:
                self.remove(user)
            else:
                pending[user] = value
        return regressions + self._take(list(pending), list(pending.values()))

    def stale_rows(self) -> np.ndarray[Any, Any]:
        """Rows whose memory must be rebuilt from their recent events, because another model wrote it."""
        return np.array(sorted(self._stale), np.int64)

    def put_rebuilt(self, rows: np.ndarray[Any, Any], memory: np.ndarray[Any, Any]) -> None:
        """Store memory [U, S] computed by this model from the recent events of rows."""
        self._rows["memory"][rows] = memory
        self._stale.difference_update(rows.tolist())

    def highest_offset(self, topic: int, partition: int) -> int:
        """Source offset of the newest event held from a partition of a topic (its code); -1 when there is none."""
        held = self._headers()
        offsets = held["offset"][(held["topic"] == topic) & (held["partition"] == partition)]
        return int(offsets.max()) if len(offsets) else -1

    def partition_counts(self) -> set[int]:
        """How many partitions the source topic had when the states were written."""
        return set(np.unique(self._headers()["partitions"]).tolist())

    def _headers(self) -> np.ndarray[Any, Any]:
        """HEADER of all users; not the whole rows, which are 40 times as large."""
        rows = np.fromiter(self._index.values(), np.int64, len(self._index))
        raw = self._rows.view(np.uint8).reshape(-1, self._dtype.itemsize)[:, : HEADER.itemsize]
        return np.ascontiguousarray(raw[rows]).view(HEADER)[:, 0]

    def statistics(self) -> ArenaStatistics:
        return ArenaStatistics(len(self._index), self._rows.nbytes, len(self._stale))

    def _new_rows(self, count: int) -> list[int]:
        """Blank rows, those of removed users first."""
        reused = [self._free.pop() for _ in range(min(count, len(self._free)))]
        rows = [*reused, *range(self._used, self._used + count - len(reused))]
        self._used += count - len(reused)
        if self._used > len(self._rows):
            self._grow()
        held = self._rows  # zeros so far
        held["version"][rows], held["state_size"][rows], held["fingerprint"][rows] = (
            VERSION,
            self._state_size,
            self._fingerprint,
        )
        held["partitions"][rows] = self._partitions
        held["offset"][rows] = held["time_ms"][rows] = -1
        return rows

    def _grow(self) -> None:
        """By a quarter, and where the system can without a second copy: memory stays within 1.25 times what is held."""
        self._rows.resize(max(256, self._used + self._used // 4), refcheck=False)

    def _take(self, users: Sequence[bytes], values: Sequence[bytes]) -> int:
        """Store records of different users, those of one shape at once; how many of them were older than what is held."""
        rows = self.find(users)  # new users in the order of the log
        shapes: dict[tuple[int, bytes], list[int]] = {}
        for place, value in enumerate(values):
            shapes.setdefault((len(value), value[: _PREFIX.size]), []).append(place)
        if len(shapes) == 1:
            return self._take_shape(users, values, rows)
        return sum(
            self._take_shape([users[place] for place in places], [values[place] for place in places], rows[places])
            for places in shapes.values()
        )

    def _take_shape(self, users: Sequence[bytes], values: Sequence[bytes], rows: np.ndarray[Any, Any]) -> int:
        """The same for records of one length, number of recent events and size of memory, and the rows of their users."""
        memory_end, end = _extents(users, values)
        raw = np.frombuffer(b"".join(values), np.uint8).reshape(len(values), -1)
        header = np.ascontiguousarray(raw[:, : HEADER.itemsize]).view(HEADER)[:, 0]
        held = self._rows
        same_source = (header["topic"] == held["topic"][rows]) & (header["partition"] == held["partition"][rows])
        older = same_source & (header["offset"] < held["offset"][rows])
        if older.any():
            rows, raw, header = rows[~older], raw[~older], header[~older]
        ours = (header["fingerprint"] == self._fingerprint) & (header["state_size"] == self._state_size)
        self._stale.difference_update(rows[ours].tolist())
        self._stale.update(rows[~ours].tolist())
        target, memory, recent = held.view(np.uint8).reshape(-1, self._dtype.itemsize), HEADER.itemsize, self._recent_at
        taken = recent + end - memory_end
        where = _stretch(rows)
        target[where, :memory] = raw[:, :memory]
        if not ours.any():  # the memory of another model may have another size
            target[where, memory:recent] = 0
        elif ours.all():
            target[where, memory:recent] = raw[:, memory:memory_end]
        else:
            target[rows[~ours], memory:recent] = 0
            target[rows[ours], memory:recent] = raw[ours, memory:memory_end]
        target[where, recent:taken] = raw[:, memory_end:end]
        target[where, taken:] = 0
        held["state_size"][where], held["fingerprint"][where] = self._state_size, self._fingerprint
        return int(older.sum())


def _stretch(rows: np.ndarray[Any, Any]) -> np.ndarray[Any, Any] | slice:
    """The same rows as a slice if they follow one another, which is copied three times as fast."""
    if len(rows) and (np.diff(rows) == 1).all():
        return slice(int(rows[0]), int(rows[-1]) + 1)
    return rows

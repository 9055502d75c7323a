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
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from struct import Struct
from typing import Any, Final

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


def _extents(users: list[bytes], values: list[bytes], raw: np.ndarray[Any, Any]) -> tuple[int, int]:
    """`_extent` of records of one shape, uint8 [N, L]. Raises CorruptRecordError naming the user."""
    doubtful = 0  # the first one stands for the shape of all
    try:
        extent = _extent(values[doubtful])
        checks = np.array([zlib.crc32(memoryview(value)[:-CHECK_BYTES]) for value in values], "<u4").view(np.uint8)
        for doubtful in np.flatnonzero((raw[:, -CHECK_BYTES:] != checks.reshape(len(values), -1)).any(1)).tolist():
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
        rows = np.array([index.get(user, -1) for user in users], np.int64)
        unknown = np.flatnonzero(rows < 0)
        if len(unknown):
            fresh = dict.fromkeys(users[place] for place in unknown.tolist())  # each once
            index.update(zip(fresh, self._new_rows(len(fresh)), strict=True))
            rows[unknown] = [index[users[place]] for place in unknown.tolist()]
        return rows

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

    def restore(self, records: Iterable[tuple[bytes, bytes | None]]) -> int:
        """Take changelog records in log order; of a user the one with the highest source offset stays.

        Returns how many records went back in offset: writes of a worker that no longer owned the partition.
        Raises CorruptRecordError naming the user.
        """
        regressions, pending = 0, dict[bytes, bytes]()
        for user, value in records:
            if value is None or user in pending:  # of a user only one at a time: the order of the log counts
                regressions += self._take(pending)
                pending.clear()
            if value is None:
                self.remove(user)
            else:
                pending[user] = value
        return regressions + self._take(pending)

    def stale_rows(self) -> np.ndarray[Any, Any]:
        """Rows whose memory must be rebuilt from their recent events, because another model wrote it."""
        return np.array(sorted(self._stale), np.int64)

    def put_rebuilt(self, rows: np.ndarray[Any, Any], memory: np.ndarray[Any, Any]) -> None:
        """Store memory [U, S] computed by this model from the recent events of rows."""
        self._rows["memory"][rows] = memory
        self._stale.difference_update(rows.tolist())

    def highest_offset(self, topic: int, partition: int) -> int:
        """Source offset of the newest event held from a partition of a topic (its code); -1 when there is none."""
        held = self._held()
        offsets = held["offset"][(held["topic"] == topic) & (held["partition"] == partition)]
        return int(offsets.max()) if len(offsets) else -1

    def partition_counts(self) -> set[int]:
        """How many partitions the source topic had when the states were written."""
        return set(np.unique(self._held()["partitions"]).tolist())

    def _held(self) -> np.ndarray[Any, Any]:
        return self._rows[np.fromiter(self._index.values(), np.int64, len(self._index))]

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

    def _take(self, records: Mapping[bytes, bytes]) -> int:
        """Store records of different users, those of one shape at once; how many of them were older than what is held."""
        self.find(list(records))  # new users in the order of the log
        shapes: dict[tuple[int, bytes], list[bytes]] = {}
        for user, value in records.items():
            shapes.setdefault((len(value), value[: _PREFIX.size]), []).append(user)
        return sum(self._take_shape(users, [records[user] for user in users]) for users in shapes.values())

    def _take_shape(self, users: list[bytes], values: list[bytes]) -> int:
        """The same for records of one length, number of recent events and size of memory."""
        raw = np.frombuffer(b"".join(values), np.uint8).reshape(len(values), -1)
        memory_end, end = _extents(users, values, raw)
        header = np.ascontiguousarray(raw[:, : HEADER.itemsize]).view(HEADER)[:, 0]
        rows = self.find(users)
        held = self._rows
        same_source = (header["topic"] == held["topic"][rows]) & (header["partition"] == held["partition"][rows])
        older = same_source & (header["offset"] < held["offset"][rows])
        rows, raw, header = rows[~older], raw[~older], header[~older]
        ours = (header["fingerprint"] == self._fingerprint) & (header["state_size"] == self._state_size)
        target, recent = held.view(np.uint8).reshape(len(held), -1), self._recent_at
        target[:, : HEADER.itemsize][rows] = raw[:, : HEADER.itemsize]
        target[:, HEADER.itemsize :][rows] = 0
        target[:, recent : recent + end - memory_end][rows] = raw[:, memory_end:end]
        if ours.any():
            target[:, HEADER.itemsize : memory_end][rows[ours]] = raw[ours, HEADER.itemsize : memory_end]
        self._stale.difference_update(rows[ours].tolist())
        self._stale.update(rows[~ours].tolist())
        held["state_size"][rows], held["fingerprint"][rows] = self._state_size, self._fingerprint
        return int(older.sum())

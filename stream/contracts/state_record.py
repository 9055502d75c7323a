"""Writes and reads the record that the changelog keeps of one user's state.

Record, little-endian, without padding (version 2, docs/understand/decisions/0003-state-record.md):

    header   80 bytes   HEADER below: what was applied last, how many events, their digest
    memory   4 * S      h and c of all LSTM layers, float32
    recent   56 * n     the last n <= 32 events, newest first (models/compact.py)
    check    4 bytes    crc32 of everything before it

A **marker** stands for a user who was erased or suppressed: a header alone, without memory (S = 0)
and events, whose offset is the control's. Version 1 had a header of 56 bytes, without the last
three fields; it is read, and written as version 2 with the user's next event.

A record can be read without the model that wrote it. Pure: no clock, no I/O, no framework.
"""

from __future__ import annotations

import zlib
from collections.abc import Sequence
from dataclasses import dataclass
from struct import Struct
from typing import Any, Final

import numpy as np

from models.compact import COMPACT, RECENT
from stream.errors import DataError

VERSION: Final = 2
FIRST_VERSION: Final = 1

SUPPRESSED: Final = 1
MARKER: Final = 2
"""Bits of `flags`: every event of the user is dropped; there is no memory and no event."""

_FIRST_FIELDS: Final[list[tuple[Any, ...]]] = [
    ("version", "u1"),
    ("n_recent", "u1"),
    ("state_size", "<u2"),  # S
    ("topic", "<u4"),  # crc32 of the source topic's name
    ("fingerprint", "<u8"),  # of the model whose memory this is
    ("partition", "<i4"),  # source partition
    ("partitions", "<u4"),  # how many the source topic had
    # source offset of the last event applied; repeats and bad records do not move it
    ("offset", "<i8"),
    ("count", "<u8"),  # events applied
    ("digest", "<u8"),  # chain over the applied events (stream/pipeline/step.py)
    ("time_ms", "<i8"),  # time of the last event applied
]
_HEADER_FIELDS: Final[list[tuple[Any, ...]]] = [
    *_FIRST_FIELDS,
    ("flags", "<u8"),  # SUPPRESSED, MARKER
    ("erased_ms", "<i8"),  # broker's time of the user's last erasure; 0: none
    # broker's time of the last event or control applied; 0: not known (written by version 1)
    ("broker_ms", "<i8"),
]
FIRST_HEADER: Final = np.dtype(_FIRST_FIELDS)
HEADER: Final = np.dtype(_HEADER_FIELDS)
CHECK_BYTES: Final = 4
LEAST_BYTES: Final = FIRST_HEADER.itemsize + CHECK_BYTES
SOUND: Final = 0x2144DF1C
"""crc32 of anything that is followed by its own crc32."""
PREFIX: Final = Struct("<BBH")  # version, n_recent, state_size


def row_dtype(state_size: int) -> np.dtype[Any]:
    """Returns the dtype of a user's row in the arena.

    It has a fixed size: header, memory, all recent slots.
    """
    return np.dtype(
        [*_HEADER_FIELDS, ("memory", "<f4", (state_size,)), ("recent", COMPACT, (RECENT,))]
    )


def topic_code(topic: str) -> int:
    """Returns the number by which a record names its source topic."""
    return zlib.crc32(topic.encode())


class CorruptRecordError(DataError):
    """Says that a changelog record is not what this project writes.

    It is never replaced by a default, and never skipped in silence.
    """


@dataclass(frozen=True, slots=True)
class Record:
    """Holds a decoded changelog record of one user."""

    header: np.void  # HEADER; one of version 1 says so, and has zeros for what it lacks
    memory: np.ndarray[Any, Any]  # float32 [S]
    recent: np.ndarray[Any, Any]  # COMPACT [n_recent], newest first

    @property
    def erased_ms(self) -> int:
        """Returns the broker's time of the user's last erasure, 0 if there was none."""
        return int(self.header["erased_ms"])

    @property
    def suppressed(self) -> bool:
        """Returns whether every event of the user is dropped."""
        return bool(int(self.header["flags"]) & SUPPRESSED)

    @property
    def is_marker(self) -> bool:
        """Returns whether nothing is held of the user but that something was erased."""
        return bool(int(self.header["flags"]) & MARKER)


def encode_rows(rows: np.ndarray[Any, Any]) -> list[bytes]:
    """Returns the changelog values of arena rows; unused recent slots are not written."""
    raw, size, crc32 = np.ascontiguousarray(rows).tobytes(), rows.dtype.itemsize, zlib.crc32
    ends = (
        np.arange(1, len(rows) + 1) * size
        - (RECENT - rows["n_recent"].astype(np.int64)) * COMPACT.itemsize
    )
    bodies = [
        raw[start:end] for start, end in zip(range(0, len(raw), size), ends.tolist(), strict=True)
    ]
    for place in np.flatnonzero(rows["flags"] & np.uint64(MARKER)).tolist():
        head = rows[place : place + 1][list(HEADER.names or ())].astype(HEADER)
        head["state_size"] = head["n_recent"] = 0
        bodies[place] = head.tobytes()
    checks = np.array([crc32(body) for body in bodies], "<u4").tobytes()
    return [
        body + checks[at : at + 4]
        for at, body in zip(range(0, len(checks), 4), bodies, strict=True)
    ]


def decode_record(value: bytes) -> Record:
    """Returns one changelog value as a record.

    Raises CorruptRecordError with the reason.
    """
    memory_at, memory_end, end = extent(value)
    return Record(
        headers_of(np.frombuffer(value, np.uint8, memory_at)[None, :])[0],
        np.frombuffer(value, "<f4", (memory_end - memory_at) // 4, memory_at),
        np.frombuffer(value, COMPACT, (end - memory_end) // COMPACT.itemsize, memory_end),
    )


def headers_of(raw: np.ndarray[Any, Any]) -> np.ndarray[Any, Any]:
    """Returns HEADER [N] of the bytes of headers of one version, uint8 [N, bytes]."""
    if raw.shape[1] == HEADER.itemsize:
        return np.ascontiguousarray(raw).view(HEADER)[:, 0]
    headers = np.zeros((len(raw), HEADER.itemsize), np.uint8)
    headers[:, : raw.shape[1]] = raw
    return headers.view(HEADER)[:, 0]


def extent(value: bytes) -> tuple[int, int, int]:
    """Returns where the header, the memory and the recent events of a sound record end.

    Raises CorruptRecordError with the reason.
    """
    if len(value) < LEAST_BYTES:
        raise CorruptRecordError(f"a state record has {len(value)} bytes, fewer than its header")
    version, n_recent, state_size = PREFIX.unpack_from(value)
    if version not in (FIRST_VERSION, VERSION):
        raise CorruptRecordError(
            f"a state record has version {version}; this worker knows {FIRST_VERSION} to "
            f"{VERSION}: upgrade it"
        )
    memory_at = (FIRST_HEADER if version == FIRST_VERSION else HEADER).itemsize
    memory_end = memory_at + 4 * state_size
    end = memory_end + COMPACT.itemsize * n_recent
    if n_recent > RECENT or len(value) != end + CHECK_BYTES:
        raise CorruptRecordError(
            f"a state record has {len(value)} bytes where its header says {end + CHECK_BYTES}"
        )
    if zlib.crc32(memoryview(value)[:end]) != int.from_bytes(value[end:], "little"):
        raise CorruptRecordError("a state record does not match its checksum")
    return memory_at, memory_end, end


def check(values: Sequence[bytes]) -> None:
    """Raises CorruptRecordError, with the reason, if a record is damaged or of another version.

    What a record's `extent` says of its length is left to whoever takes it.
    """
    sums = np.fromiter(map(zlib.crc32, values), np.uint32, len(values))
    for doubtful in np.flatnonzero(sums != SOUND).tolist():
        extent(values[doubtful])
    known = {value[:1] for value in values} <= {bytes([FIRST_VERSION]), bytes([VERSION])}
    if not known or min(map(len, values), default=LEAST_BYTES) < LEAST_BYTES:
        for value in values:
            extent(value)

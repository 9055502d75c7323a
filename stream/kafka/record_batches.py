"""Makes record batches as Kafka stores them (message format 2), whole instead of record by record.

aiokafka's own builder is called once a record and compresses once a topic, at the slowest level of
lz4. Here a batch is one join of prepared pieces, its records can go to several topics after one
compression, and only the header differs between them. Layout: Apache Kafka documentation, "Message
Format". No clock, no I/O.
"""

from __future__ import annotations

import struct
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from itertools import chain, repeat
from typing import Any, Final

import numpy as np
from aiokafka.codec import gzip_encode, lz4_encode, snappy_encode, zstd_encode
from aiokafka.record.util import calc_crc32c

from stream.errors import PublishError

MAX_BATCH_BYTES: Final = 786_432
"""Of one batch, before compression; brokers refuse 1 MiB by default."""

MAX_RECORD_BYTES: Final = 700_000
"""A larger record is refused here.

After one rejected batch an idempotent producer fails for good.
"""

CODECS: Final[dict[str, tuple[int, Callable[[bytes], bytes]]]] = {
    "none": (0, bytes),
    "gzip": (1, partial(gzip_encode, compresslevel=1)),
    "snappy": (2, snappy_encode),
    "lz4": (3, partial(lz4_encode, level=1)),
    "zstd": (4, partial(zstd_encode, level=1)),
}
"""Kafka's code of each codec and its function, at its fastest level.

Level 9 of lz4 costs 13 times as much for a tenth fewer bytes.
"""

Header = tuple[str, bytes | None]

Record = tuple[bytes | None, bytes | None, Sequence[Header]]
"""Key, value and headers of a record to send."""

_HEADER: Final = struct.Struct(">qiibIhiqqqhii")
_LENGTH_COVERS_FROM: Final = struct.calcsize(">qi")
_CHECKSUM_AT: Final = struct.calcsize(">qiib")
_CHECKSUM_COVERS_FROM: Final = struct.calcsize(">qiibI")


@dataclass(frozen=True, slots=True)
class Section:
    """Holds the records of one batch, compressed; it is the same for every topic they go to."""

    body: bytes
    count: int
    codec: int
    time_ms: int


def pack(
    keys: Sequence[bytes | None],
    values: Sequence[bytes | None],
    time_ms: int,
    compression: str,
    headers: Sequence[Sequence[Header]] | None = None,
) -> Iterator[Section]:
    """Yields records as full batches, in order.

    Raises PublishError for a record too large, before the batch that it would be in.
    """
    # how long each record is, and that none is too long
    codec, compress = CODECS[compression]
    tails = [b"\0"] * len(keys) if headers is None else [_headers(each) for each in headers]
    key_lengths, value_lengths = _lengths(keys), _lengths(values)
    sizes = (
        np.maximum(key_lengths, 0)
        + np.maximum(value_lengths, 0)
        + np.fromiter(map(len, tails), np.int64, len(tails))
    )
    if len(sizes) and int(sizes.max()) > MAX_RECORD_BYTES:
        raise PublishError(
            f"a record of {int(sizes.max())} bytes is over {MAX_RECORD_BYTES}; nothing was sent"
        )
    # the pieces of all records of a batch, column by column, joined once
    for cut in _cut(sizes):
        count = cut.stop - cut.start
        offsets = np.arange(count)
        size = (
            2 + _width(offsets) + _width(key_lengths[cut]) + _width(value_lengths[cut]) + sizes[cut]
        )
        records = zip(
            map(_varints, size.tolist()),
            repeat(b"\0\0"),  # attributes; milliseconds since the batch's first record
            map(_varints, offsets.tolist()),
            map(_varints, key_lengths[cut].tolist()),
            (key or b"" for key in keys[cut]),
            map(_varints, value_lengths[cut].tolist()),
            (value or b"" for value in values[cut]),
            tails[cut],
            strict=False,
        )
        body = b"".join(chain.from_iterable(records))
        # short or random bytes grow when they are compressed; those are sent as they are
        compressed = compress(body) if codec else body
        smaller = len(compressed) < len(body)
        yield Section(compressed if smaller else body, count, codec if smaller else 0, time_ms)


class PreparedBatch:
    """Carries a section to one partition.

    It takes the place of aiokafka's BatchBuilder in `send_batch`.
    """

    def __init__(self, section: Section) -> None:
        self._section = section
        self._producer = (-1, -1, -1)  # id, epoch, sequence of the first record

    def append(self, **_record: Any) -> None:
        """Returns None, which means to aiokafka that the batch is full, as it is from the start."""

    def close(self) -> None:
        """Does nothing, because the batch is closed from the start."""

    def closed(self) -> bool:
        """Returns that no record can be added."""
        return True

    def record_count(self) -> int:
        """Returns how many records it holds."""
        return self._section.count

    def size(self) -> int:
        """Returns its bytes, with the header."""
        return _HEADER.size + len(self._section.body)

    def _set_producer_state(
        self, producer_id: int, producer_epoch: int, base_sequence: int
    ) -> None:
        # aiokafka's sender gives a batch its numbers here
        self._producer = (producer_id, producer_epoch, base_sequence)

    def _build(self) -> bytearray:
        return self.build()  # aiokafka's sender asks for the bytes here

    def build(self) -> bytearray:
        """Returns the batch as it goes over the wire."""
        section = self._section
        buffer = bytearray(self.size())
        _HEADER.pack_into(
            buffer,
            0,
            0,  # base offset: the broker's to give
            len(buffer) - _LENGTH_COVERS_FROM,
            -1,  # leader epoch: the broker's to give
            2,  # format
            0,  # checksum, below
            section.codec,
            section.count - 1,
            section.time_ms,
            section.time_ms,
            *self._producer,
            section.count,
        )
        buffer[_HEADER.size :] = section.body
        struct.pack_into(
            ">I", buffer, _CHECKSUM_AT, calc_crc32c(memoryview(buffer)[_CHECKSUM_COVERS_FROM:])
        )
        return buffer


def _cut(sizes: np.ndarray[Any, Any]) -> Iterator[slice]:
    """Yields stretches of records that fit into a batch each."""
    longest_frame = 26  # of a record: the variable-length numbers at their longest
    ends = np.cumsum(sizes + longest_frame)
    start = 0
    while start < len(sizes):
        before = int(ends[start - 1]) if start else 0
        stop = max(start + 1, int(np.searchsorted(ends, before + MAX_BATCH_BYTES, side="right")))
        yield slice(start, stop)
        start = stop


def _lengths(values: Sequence[bytes | None]) -> np.ndarray[Any, Any]:
    """Returns the lengths of values, int64.

    None is Kafka's null, of length -1.
    """
    return np.array([-1 if value is None else len(value) for value in values], np.int64)


def _width(numbers: np.ndarray[Any, Any]) -> np.ndarray[Any, Any]:
    """Returns the bytes of each number as a variable-length number."""
    zigzag = np.abs(numbers * 2 + (numbers < 0))
    widths: np.ndarray[Any, Any] = (
        1 + (zigzag >= 1 << 7) + (zigzag >= 1 << 14) + (zigzag >= 1 << 21) + (zigzag >= 1 << 28)
    )
    return widths


def _headers(headers: Sequence[Header]) -> bytes:
    pieces = [_varints(len(headers))]
    for name, value in headers:
        raw = name.encode()
        pieces += [
            _varints(len(raw)),
            raw,
            _varints(-1 if value is None else len(value)),
            value or b"",
        ]
    return b"".join(pieces)


class _Varints(dict[int, bytes]):
    """Encodes signed variable-length numbers, and remembers them; at most MAX_RECORD_BYTES of them.

    The encoding is zigzag, seven bits a byte, low ones first.
    """

    def __missing__(self, number: int) -> bytes:
        left = number * 2 if number >= 0 else -number * 2 - 1
        out = bytearray()
        while left > 0x7F:
            out.append(left & 0x7F | 0x80)
            left >>= 7
        out.append(left)
        encoded = self[number] = bytes(out)
        return encoded


_varints: Final = _Varints().__getitem__

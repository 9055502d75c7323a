"""Record batches made byte by byte, as clients may send them and disks may damage them."""

from __future__ import annotations

import struct
from collections.abc import Sequence
from typing import Final

import cramjam
from aiokafka.codec import gzip_encode, lz4_encode, snappy_encode, zstd_encode
from aiokafka.record.util import calc_crc32c

HEADER: Final = struct.Struct(">qiibIhiqqqhii")
CODECS: Final = {
    0: bytes,
    1: gzip_encode,
    2: snappy_encode,
    3: lz4_encode,
    4: zstd_encode,
}
"""Functions by Kafka's code: none, gzip, snappy in the blocks of Java, lz4, zstd."""

RawHeader = tuple[bytes, bytes | None]


def varint(number: int) -> bytes:
    """Returns a number as records hold it: zigzag, seven bits a byte, low ones first."""
    left, out = number * 2 if number >= 0 else -number * 2 - 1, bytearray()
    while left > 0x7F:
        out.append(left & 0x7F | 0x80)
        left >>= 7
    return bytes([*out, left])


def nullable(content: bytes | None) -> bytes:
    """Returns bytes with their length before them."""
    return varint(-1) if content is None else varint(len(content)) + content


def record(
    place: int, key: bytes | None, value: bytes | None, headers: Sequence[RawHeader] = ()
) -> bytes:
    """Returns a record; names of headers are bytes, as clients in C and Go send them."""
    body = b"\0" + varint(0) + varint(place) + nullable(key) + nullable(value)
    body += varint(len(headers))
    body += b"".join(nullable(name) + nullable(content) for name, content in headers)
    return varint(len(body)) + body


def batch(
    body: bytes,
    count: int,
    base: int = 0,
    codec: int = 0,
    time_ms: int = 1_767_225_600_000,
    *,
    compressed: bool = False,
    attributes: int = 0,
) -> bytes:
    """Returns a batch of format 2 around records.

    compressed: the body is, already.
    """
    body = body if compressed else CODECS[codec](body)
    fields = (codec | attributes, count - 1, time_ms, time_ms, -1, -1, -1, count)
    head = HEADER.pack(base, HEADER.size - 12 + len(body), -1, 2, 0, *fields)
    return with_checksum(head + body)


def with_checksum(raw: bytes) -> bytes:
    """Returns a batch of format 2 with the checksum that fits it."""
    return raw[:17] + struct.pack(">I", calc_crc32c(raw[21:])) + raw[21:]


def old_message(
    offset: int, key: bytes | None, value: bytes, magic: int = 1, codec: int = 0
) -> bytes:
    """Returns a message of format 0 or 1; codec: of the messages that the value holds."""
    from zlib import crc32

    body = struct.pack(">bb", magic, codec) + (struct.pack(">q", 5) if magic else b"")
    body += struct.pack(">i", -1 if key is None else len(key)) + (key or b"")
    body += struct.pack(">i", len(value)) + value
    return struct.pack(">qiI", offset, 4 + len(body), crc32(body)) + body


def wrongly_summed_lz4(body: bytes) -> bytes:
    """Returns lz4 whose checksum of the content is wrong.

    Kafka's own reader does not look at it, so a broker stores this; the lz4 library refuses it.
    """
    frame = cramjam.lz4.Compressor(content_checksum=True, block_linked=False)
    frame.compress(body)
    good = bytes(frame.finish())
    return good[:-4] + bytes(each ^ 0xFF for each in good[-4:])


class RawBatch:
    """A batch of prepared bytes, in the place of aiokafka's BatchBuilder in `send_batch`."""

    def __init__(self, raw: bytes, count: int) -> None:
        self._raw, self._count = raw, count

    def append(self, **_record: object) -> None:
        """Says that the batch is full."""

    def close(self) -> None:
        """The batch is closed from the start."""

    def closed(self) -> bool:
        return True

    def record_count(self) -> int:
        return self._count

    def size(self) -> int:
        return len(self._raw)

    def _set_producer_state(self, *_numbers: int) -> None:
        """A producer that is not idempotent has no numbers."""

    def _build(self) -> bytearray:
        return bytearray(self._raw)

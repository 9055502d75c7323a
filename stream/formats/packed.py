"""Unpacks values that producers have compressed themselves, gzip or zstd, up to a fixed size.

It is told by the first bytes, which no text has. A few kilobytes may stand for gigabytes, so a
value that unpacks to more than it may is refused before it does.
"""

from __future__ import annotations

import zlib
from typing import Any, Final

import cramjam
import numpy as np

from stream.contracts.faults import BadEvent

MOST_BYTES: Final = 4 << 20
"""Of a value, unpacked: the 1,000 events that a record may hold, of 4 KiB each."""

GZIP: Final = b"\x1f\x8b\x08"
ZSTD: Final = b"\x28\xb5\x2f\xfd"
RUN: Final = 1
"""The kind of a block of zstd that repeats one byte."""

MOST_MEMBERS: Final = 100
"""Of gzip in a value; producers write one."""

_GZIP_WINDOW: Final = 31  # zlib's way to say: with gzip's header and checksum


def unpacked(value: bytes) -> bytes:
    """Returns a value as it was before it was compressed, if it was; raises BadEvent."""
    if value[:3] == GZIP:
        return _gunzip(value)
    if value[:4] == ZSTD:
        return _unzstd(value)
    return value


def _gunzip(value: bytes) -> bytes:
    pieces: list[bytes] = []
    left, rest = MOST_BYTES, value
    for _ in range(MOST_MEMBERS):
        member = zlib.decompressobj(_GZIP_WINDOW)
        try:
            pieces.append(member.decompress(rest, left + 1))
        except zlib.error as error:
            raise _damaged("gzip", error) from None
        left -= len(pieces[-1])
        if left < 0:
            raise _too_large("gzip")
        if not member.eof:
            raise _damaged("gzip", ValueError("it ends too early"))
        rest = member.unused_data
        if not rest:
            return b"".join(pieces)
    raise _damaged("gzip", ValueError("it is in too many pieces"))


def _unzstd(value: bytes) -> bytes:
    if not _is_whole(value):
        raise _damaged("zstd", ValueError("it ends too early"))
    # memory that is not written into costs nothing
    memory: Any = np.empty(MOST_BYTES, np.uint8)
    try:
        size = cramjam.zstd.decompress_into(value, memory)
    except cramjam.DecompressionError as error:
        if "whole buffer" in str(error):  # it has no other way to say that the memory is full
            raise _too_large("zstd") from None
        raise _damaged("zstd", error) from None
    return bytes(memory[:size])


def _is_whole(value: bytes) -> bool:
    """Returns whether a value is whole frames of zstd (RFC 8878, 3.1.1).

    The library reads the beginning of one that was cut as if it were all.
    """
    at = 0
    while at < len(value):
        if value[at : at + 4] != ZSTD or at + 5 > len(value):
            return False
        descriptor = value[at + 4]
        single_segment = descriptor & 0x20
        size_bytes = (1 if single_segment else 0, 2, 4, 8)[descriptor >> 6]
        at += 5 + (0 if single_segment else 1) + (0, 1, 2, 4)[descriptor & 3] + size_bytes
        last = False
        while not last:
            if at + 3 > len(value):
                return False
            block = int.from_bytes(value[at : at + 3], "little")
            last, kind = bool(block & 1), block >> 1 & 3
            at += 3 + (1 if kind == RUN else block >> 3)
        at += 4 if descriptor & 4 else 0
    return at == len(value)


def _too_large(codec: str) -> BadEvent:
    return BadEvent(
        "too-large",
        f"the value is {codec} of more than {MOST_BYTES} bytes; send fewer events in one record",
    )


def _damaged(codec: str, error: Exception) -> BadEvent:
    return BadEvent(
        "not-json",
        f"the value begins as {codec} and cannot be unpacked: {error}; "
        "send it whole, or let Kafka compress (compression.type)",
        type(error).__name__,
    )

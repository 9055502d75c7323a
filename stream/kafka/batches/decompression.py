"""Decompresses record batches into memory of a fixed size, so that none can fill a machine's.

A few kilobytes of zstd may stand for gigabytes, and aiokafka decompresses whatever comes. Here a
batch goes into a buffer that is as large as the batch may be, and is refused when it does not fit.
No clock, no I/O.
"""

from __future__ import annotations

import struct
import threading
import zlib
from typing import Any, Final

import cramjam
import numpy as np

MOST_BYTES: Final = 64 << 20
"""Of a batch, decompressed. Brokers take batches of 1 MiB by default, and events of one producer
shrink to a tenth, seldom to a fiftieth; no honest batch comes near."""

ALWAYS_ALLOWED_BYTES: Final = 16 << 20
"""Decompressed, however small the batch is on the disk: repeated events shrink without limit."""

MOST_RATIO: Final = 100
"""Between decompressed and compressed bytes of a batch over ALWAYS_ALLOWED_BYTES."""

GZIP, SNAPPY, LZ4, ZSTD = 1, 2, 3, 4
NAMES: Final = {GZIP: "gzip", SNAPPY: "snappy", LZ4: "lz4", ZSTD: "zstd"}
"""Kafka's codes of the codecs."""

MOST_MEMBERS: Final = 100
"""Of gzip in a batch; producers write one, and each costs a copy of what follows it."""

_KEPT_BYTES: Final = 4 << 20  # of memory that was written into, between two batches
_GZIP_WINDOW: Final = 31  # zlib's way to say: with gzip's header and checksum
_GZIP_MAGIC: Final = b"\x1f\x8b"
_XERIAL: Final = b"\x82SNAPPY\0"
_XERIAL_BYTES: Final = 16  # magic, version, oldest version that can read it


class TooLargeError(ValueError):
    """Says that a batch holds more than it may."""


def allowed_bytes(compressed: int) -> int:
    """Returns how many bytes a batch of that many compressed bytes may hold."""
    return min(MOST_BYTES, max(ALWAYS_ALLOWED_BYTES, MOST_RATIO * compressed))


class Room(threading.local):
    """Keeps memory for the largest batch and its head, of each thread.

    It costs what is written into it, and what the last batch wrote is written over by the next.
    """

    def __init__(self, head: int) -> None:
        self._head = head
        self._memory: memoryview | None = None

    def memory(self) -> memoryview:
        """Returns the memory, of which nothing is initialised."""
        if self._memory is None:
            self._memory = memoryview(np.empty(self._head + MOST_BYTES, np.uint8))  # type: ignore[arg-type]
        return self._memory

    def wrote(self, size: int) -> None:
        """Notes how much a batch needed: after a large one the memory is given back."""
        if size > _KEPT_BYTES:
            self._memory = None


def decompress_into(codec: int, data: memoryview, out: memoryview) -> int:
    """Writes the decompressed bytes into `out` and returns how many they are.

    Raises TooLargeError if they do not fit, ValueError or an error of the codec's library if the
    data is damaged.
    """
    if codec == GZIP:
        return _gunzip(data, out)
    if codec == SNAPPY:
        return _unsnap(data, out)
    if codec not in (LZ4, ZSTD):
        raise ValueError(f"there is no codec {codec}")
    library = cramjam.zstd if codec == ZSTD else cramjam.lz4
    try:
        return int(library.decompress_into(data, np.asarray(out)))
    except cramjam.DecompressionError as error:
        if "whole buffer" in str(error):  # it has no other way to say that `out` is full
            raise TooLargeError from None
        raise


def _gunzip(data: memoryview, out: memoryview) -> int:
    """Decompresses gzip, of which several may follow each other; rubbish after them is ignored.

    Kafka's own reader, Java's GZIPInputStream, does the same.
    """
    done = 0
    rest: bytes | memoryview = data
    for _ in range(MOST_MEMBERS):
        member = zlib.decompressobj(_GZIP_WINDOW)
        piece = member.decompress(rest, len(out) - done + 1)
        if done + len(piece) > len(out):
            raise TooLargeError
        out[done : done + len(piece)] = piece
        done += len(piece)
        if not member.eof:
            # one byte more than fits was asked for, so nothing is left inside
            raise ValueError("gzip ends too early")
        rest = member.unused_data
        if not rest.startswith(_GZIP_MAGIC):
            return done
    raise ValueError("gzip in too many pieces")


def _unsnap(data: memoryview, out: memoryview) -> int:
    """Decompresses snappy, bare or in the blocks of its Java library.

    Each block says its size beforehand, and the library refuses one that lies.
    """
    if len(data) <= _XERIAL_BYTES or data[: len(_XERIAL)].tobytes() != _XERIAL:
        return _unsnap_block(data, out)
    done, at = 0, _XERIAL_BYTES
    while at < len(data):
        (size,) = struct.unpack_from(">i", data, at)
        at += 4
        if not 0 < size <= len(data) - at:
            raise ValueError("a block of snappy has an impossible size")
        done += _unsnap_block(data[at : at + size], out[done:])
        at += size
    return done


def _unsnap_block(block: memoryview, out: memoryview) -> int:
    if not block:
        raise ValueError("snappy of no bytes")
    size = int(cramjam.snappy.decompress_raw_len(block))
    if size > len(out):
        raise TooLargeError
    target: Any = np.asarray(out)  # any buffer, though cramjam's types name a few only
    return int(cramjam.snappy.decompress_raw_into(block, target)) if size else 0

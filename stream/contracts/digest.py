"""Computes the digest by which a state says which events were applied to it, and in which order.

A state's digest is `digest * DIGEST_FACTOR + digest of the event`, modulo 2^64, event by event, so
"every event exactly once" can be checked without the model. Pure.
"""

from __future__ import annotations

from typing import Any, Final
from zlib import crc32

import numpy as np

Array = np.ndarray[Any, Any]

DIGEST_FACTOR: Final = np.uint64(0x9E3779B97F4A7C15)
PARTITION_FACTOR: Final = 0xD1B54A32D192ED03


def checksums_of(value: bytes, count: int) -> list[int]:
    """Returns the checksum of each event of a record: crc32 of its value, and of its place.

    The place is left out of the first one, so a record that is one event has the crc32 of its
    value. For the others it goes on from that over the place, 4 bytes, little-endian.
    """
    first = crc32(value)
    if count < 2:
        return [first] * count
    return [first, *(crc32(place.to_bytes(4, "little"), first) for place in range(1, count))]


def digest_events(offsets: Array, checksums: Array, partition: int) -> Array:
    """Returns what each event adds to its user's digest, uint64 [N].

    It is the finaliser of splitmix64 (Steele, Lea, Flood 2014) over offset, payload and partition.
    """
    salt = np.uint64(((partition << 1 | 1) * PARTITION_FACTOR) & 0xFFFFFFFFFFFFFFFF)
    z = offsets.astype(np.uint64) ^ (checksums.astype(np.uint64) << np.uint64(32)) ^ salt
    z = (z ^ (z >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    z = (z ^ (z >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    return z ^ (z >> np.uint64(31))

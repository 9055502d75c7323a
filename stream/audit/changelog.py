"""Keeps the states that the changelog holds, read by a parser of the audit's own.

It reads records with struct and Python integers, one at a time; their layout is that of
docs/understand/decisions/0003-state-record.md.
"""

from __future__ import annotations

import struct
from dataclasses import dataclass
from typing import Final
from zlib import crc32

RECORD: Final = struct.Struct("<BBHIQiIqQQq")
"""The head of a state record: version, recent events, size of the memory, source topic, model,
source partition, partitions, offset, count, digest, time. Version 2 adds flags, the broker's time
of the last erasure and that of the last event. The memory, the recent events and a CRC-32 of all of
it follow."""

RECORD_2: Final = struct.Struct("<QQQ")
"""What the head of version 2 has more."""

CHECK_BYTES: Final = 4


@dataclass(frozen=True, slots=True)
class Held:
    """Holds what a changelog record says of a user."""

    partition: int  # of the changelog it was found in
    source_topic: int
    source_partition: int
    offset: int
    count: int
    digest: int
    suppressed: bool = False
    erased_ms: int = 0


def memory_at(value: bytes) -> int:
    """Returns where the memory begins in a state record: its head is longer in version 2."""
    return RECORD.size if value[0] == 1 else RECORD.size + RECORD_2.size


def held_in(partition: int, value: bytes) -> Held:
    """Returns what a sound record, found in a partition of the changelog, says of its user."""
    fields = RECORD.unpack_from(value)
    flags, erased_ms, _ = (0, 0, 0) if fields[0] == 1 else RECORD_2.unpack_from(value, RECORD.size)
    return Held(
        partition, fields[3], fields[5], fields[7], fields[8], fields[9], bool(flags & 1), erased_ms
    )


class Changelog:
    """Keeps the states that the changelog holds, read by a parser of its own."""

    def __init__(self) -> None:
        self.held: dict[tuple[int, bytes], Held] = {}  # by partition and user
        self.records = 0
        self.regressions = 0
        self.corrupt: list[str] = []

    def add(self, partition: int, offset: int, user: bytes, value: bytes | None) -> None:
        """Takes the next record of a partition, in log order; a tombstone removes the user."""
        self.records += 1
        if value is None:
            self.held.pop((partition, user), None)
            return
        sum_read = int.from_bytes(value[-CHECK_BYTES:], "little")
        if len(value) < RECORD.size + CHECK_BYTES or crc32(value[:-CHECK_BYTES]) != sum_read:
            self.corrupt.append(f"changelog[{partition}] offset {offset}, user {user!r}")
            return
        found = held_in(partition, value)
        before = self.held.get((partition, user))
        if before is not None and found.offset < before.offset:
            self.regressions += 1
            return
        self.held[partition, user] = found

"""Puts a reading of ours where aiokafka's fetcher reads the bytes of a fetch.

aiokafka decodes batches while it fetches, before anything of ours can judge them. Its fetcher knows
two names for that, `MemoryRecords` and `PartitionRecords`; both get classes of ours, in the whole
process, so that every consumer reads alike: a worker's, the audit's, every command's. What cannot
be read comes as a record whose value is an UnreadableBytes (reading.py), and the log says so once.
"""

from __future__ import annotations

import logging
import struct
from functools import lru_cache, partial
from typing import Any, Final

import msgspec
from aiokafka.consumer import fetcher
from aiokafka.record.util import calc_crc32c

from stream.kafka.batches.reading import (
    HEADER,
    MAGIC_AT,
    OLD_BYTES,
    OVERHEAD,
    Batch,
    Surroundings,
    read_batch,
    unreadable,
)

log = logging.getLogger("interest_stream")

MOST_BYTES_A_FETCH: Final = 64 << 20
"""Of the batches of one partition that are read at a time, decompressed. When they are more, the
rest is fetched again: a megabyte of small bombs would be gigabytes."""

RECORDS_A_BYTE: Final = 14
"""That damaged bytes may have held: a hundred bytes to one, and the smallest records have seven."""

_LENGTH_AT: Final = struct.calcsize(">q")
_CHECKSUM_COVERS_FROM: Final = struct.calcsize(">qiibI")


class CheckedRecords:
    """Cuts the bytes of a fetch into batches, and reads each one with a bound and without raising.

    It takes the place of aiokafka's MemoryRecords.
    """

    def __init__(self, data: bytes) -> None:
        self._data = data
        self._at = 0
        self._source = ("", 0)
        self._due: int | None = None
        self._held = 0  # bytes of the batches read so far, decompressed

    def size_in_bytes(self) -> int:
        """Returns how many bytes were fetched."""
        return len(self._data)

    def begin(self, topic: str, partition: int, offset: int) -> None:
        """Says where the bytes are from, and which offset was asked for."""
        self._source, self._due = (topic, partition), offset

    def has_next(self) -> bool:
        """Returns whether a batch is left.

        The last one of a fetch is often incomplete, and is fetched again. The first never is,
        unless its length is damaged.
        """
        if self._at == 0:
            return bool(self._data)
        if self._held >= MOST_BYTES_A_FETCH or len(self._data) - self._at < OVERHEAD:
            return False
        return self._at + OLD_BYTES <= self._end() <= len(self._data)

    def next_batch(self) -> Batch | None:
        """Returns the next batch, None if there is none."""
        if not self.has_next():
            return None
        start, end = self._at, self._end()
        batch = self._read(start, end)
        if batch is None:
            end = self._next_sound(start)
            raw, place = memoryview(self._data)[start:end], self._place(start, end)
            batch = unreadable(raw, place, "corrupt-batch", "the length of the batch is damaged")
        self._at = end
        if not batch.is_whole and not self._is_sound(end):
            self._at = len(self._data)  # the next batch may begin elsewhere: it is fetched again
        self._due = max(self._due or 0, batch.next_offset)
        self._held += batch.bytes_held
        if not batch.is_whole and (damaged := batch.unreadable()):
            batch.tell = partial(
                _tell,
                *self._source,
                damaged[0].value.first_offset,
                damaged[-1].offset,
                damaged[0].value.message,
            )
        return batch

    def _read(self, start: int, end: int) -> Batch | None:
        """Returns the batch between two places, None if its length cannot be right.

        A damaged length may end where another batch does, which would go unread with this one.
        """
        if not start + OLD_BYTES <= end <= len(self._data):
            return None
        batch = read_batch(memoryview(self._data)[start:end], self._place(start, end))
        hides_others = (
            not (batch.is_whole or self._is_sound(start)) and self._next_sound(start) < end
        )
        return None if hides_others else batch

    def _place(self, start: int, end: int) -> Surroundings:
        return Surroundings(
            due=self._offset_at(start) or 0 if self._due is None else self._due,
            following=lambda: self._offset_at(end) if self._is_sound(end) else None,
            is_first=start == 0,
        )

    def _end(self) -> int:
        """Returns where the next batch ends, by its own word; before its begin if that is wrong."""
        if len(self._data) - self._at < OVERHEAD:
            return -1
        (length,) = struct.unpack_from(">i", self._data, self._at + _LENGTH_AT)
        return self._at + OVERHEAD + int(length)

    def _offset_at(self, at: int) -> int | None:
        if len(self._data) - at < OVERHEAD:
            return None
        (offset,) = struct.unpack_from(">q", self._data, at)
        return int(offset)

    def _next_sound(self, start: int) -> int:
        """Returns where the next batch begins whose checksum fits, the end if there is none.

        Its offset is under no checksum: what is between `start` and it holds so many records at
        most, and a sound batch right behind it comes later in the log. A true one behind a larger
        gap is found by the fetch that comes next.
        """
        at = start + 1
        while (found := self._data.find(b"\x02", at + MAGIC_AT)) >= 0:
            at = found - MAGIC_AT
            offset = self._offset_at(at)
            due = offset if self._due is None else self._due
            if (
                offset is not None
                and due is not None
                and due <= offset <= due + (at - start) * RECORDS_A_BYTE
                and self._is_sound(at)
                and self._is_before_the_next(at)
            ):
                return at
            at += 1
        return len(self._data)

    def _is_before_the_next(self, at: int) -> bool:
        """Returns whether a sound batch ends before the sound one behind it begins, if any does."""
        fields = HEADER.unpack_from(self._data, at)
        end = at + OVERHEAD + fields[1]
        following = self._offset_at(end) if self._is_sound(end) else None
        return following is None or int(fields[0]) + int(fields[6]) < following

    def _is_sound(self, at: int) -> bool:
        """Returns whether a batch of format 2 begins here, whole and with the right checksum."""
        data = self._data
        if len(data) - at < HEADER.size:
            return False
        fields = HEADER.unpack_from(data, at)
        end = at + OVERHEAD + fields[1]
        if not at + HEADER.size <= end <= len(data):
            return False
        covered = memoryview(data)[at + _CHECKSUM_COVERS_FROM : end]
        return bool(fields[4] == calc_crc32c(covered))


class FetchedRecord(msgspec.Struct, gc=False):
    """Holds a record as a consumer gives it on, with the fields of aiokafka's ConsumerRecord.

    That one is a dataclass, which costs a third of the time of a fetch to make, and thousands of
    them a fetch make Python's collector walk through the whole process. This one holds nothing that
    could be part of a cycle.
    """

    topic: str
    partition: int
    offset: int
    timestamp: int
    timestamp_type: int
    key: bytes | None
    value: bytes | None
    checksum: int | None
    serialized_key_size: int
    serialized_value_size: int
    headers: tuple[tuple[str, bytes | None], ...]


class CheckedPartitionRecords(fetcher.PartitionRecords):  # type: ignore[misc]  # carries no types
    """Says to the records where they are from, and which offset was asked for."""

    def __init__(
        self, tp: Any, records: CheckedRecords, aborted: Any, fetch_offset: int, *options: Any
    ) -> None:
        records.begin(tp.topic, tp.partition, fetch_offset)
        super().__init__(tp, records, aborted, fetch_offset, *options)

    def _consumer_record(self, tp: Any, record: Any) -> FetchedRecord:
        # stock makes a ConsumerRecord; nobody here deserializes keys or values in the consumer
        key, value = record.key, record.value
        return FetchedRecord(
            tp.topic,
            tp.partition,
            record.offset,
            record.timestamp,
            record.timestamp_type,
            key,
            value,
            record.checksum,
            -1 if key is None else len(key),
            -1 if value is None else len(value),
            tuple(record.headers),
        )


@lru_cache(maxsize=10_000)
def _tell(topic: str, partition: int, first: int, last: int, message: str) -> None:
    """Logs what cannot be read, once: the same bytes may be fetched again."""
    where = f"offset {last}" if first == last else f"offsets {first} to {last}"
    log.warning("%s[%d]: what is at %s cannot be read: %s", topic, partition, where, message)


def check_records() -> None:
    """Makes every consumer of this process read batches as this module does."""
    fetcher.MemoryRecords = CheckedRecords
    fetcher.PartitionRecords = CheckedPartitionRecords

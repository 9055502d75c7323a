"""Reads one record batch as a broker stores it; what cannot be read becomes a record that says so.

aiokafka raises at a header name that is not UTF-8, at a checksum that does not fit and at every
damaged record, and with that its consumer ends, at the same place after each restart. Here the
largest part that can be read is read:

- a sound batch is read by aiokafka's own parser, after it was decompressed with a bound;
- of another one the records are read one by one (`one_by_one`): header names that are not UTF-8
  are escaped, as \\xff, and a record that is damaged becomes an UnreadableBytes with its own bytes;
- a batch whose checksum does not fit, that is damaged as a whole, or too large, becomes a single
  UnreadableBytes with the bytes of the batch. It stands at the last offset of the batch, and names
  the first.

Nothing is raised, whatever the bytes are. Layout: Apache Kafka documentation, "Message Format".
"""

from __future__ import annotations

import struct
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from itertools import pairwise
from typing import Any, Final

from aiokafka.record.control_record import ControlRecord
from aiokafka.record.default_records import DefaultRecordBatch
from aiokafka.record.legacy_records import LegacyRecordBatch
from aiokafka.record.util import calc_crc32c

from stream.contracts.faults import UnreadableBytes
from stream.kafka.batches.decompression import (
    NAMES,
    Room,
    TooLargeError,
    allowed_bytes,
    decompress_into,
)
from stream.kafka.batches.one_by_one import Record, one_by_one

HEADER: Final = struct.Struct(">qiibIhiqqqhii")
"""Base offset, length, leader epoch, format, checksum, attributes, last offset delta, first time,
latest time, producer, its epoch, its sequence, records."""

OVERHEAD: Final = struct.calcsize(">qi")  # of the offset and the length, in front of every format
MAGIC_AT: Final = struct.calcsize(">qii")  # where every format names itself
OLD_BYTES: Final = 26  # of the smallest message of formats 0 and 1
MOST_RECORDS: Final = 500_000
"""Of a compressed batch. Records of seven bytes are the smallest, and each costs some 400 bytes of
memory; a batch of a megabyte with events in it has a tenth of these."""


FAR: Final = 1 << 40
"""Offsets between two batches: no log has such a gap, a damaged offset does."""

_ATTRIBUTES_AT: Final = struct.calcsize(">qiibI")
_CODEC, _TRANSACTIONAL, _CONTROL = 0x07, 0x10, 0x20
_OLD_KEY_AT: Final = (struct.calcsize(">qiIbb"), struct.calcsize(">qiIbbq"))  # formats 0 and 1
_ROOM: Final = Room(HEADER.size)


@dataclass(slots=True)
class Batch:
    """Holds the records of a batch, and what aiokafka's fetcher asks of one before it reads it."""

    base_offset: int
    next_offset: int
    records: Iterable[Any]
    bytes_held: int  # decompressed: what it cost to read it
    producer_id: int | None = None  # None: aborted transactions are no matter
    is_transactional: bool = False
    is_control_batch: bool = False
    is_whole: bool = True  # False: some of its records may be an UnreadableBytes
    tell: Callable[[], None] | None = None  # called when it is read, if it is not whole

    def validate_crc(self) -> bool:
        """Returns that the checksum is no matter any more, because it was looked at before."""
        return True

    def __iter__(self) -> Iterator[Any]:
        if self.tell is not None:
            self.tell()
        return iter(self.records)

    def unreadable(self) -> list[Any]:
        """Returns the records that stand for bytes that cannot be read."""
        return [each for each in self.records if each.value.__class__ is UnreadableBytes]

    def __next__(self) -> Any:
        """Returns the first record, which aiokafka asks of a control batch."""
        return next(iter(self.records))


@dataclass(frozen=True, slots=True)
class Surroundings:
    """Holds what is known about the place of a batch in its log."""

    due: int  # the offset that comes next
    following: Callable[[], int | None]  # the offset of the batch behind, if a sound one is there
    is_first: bool  # of the fetch: it may begin before the offset that is due


class _UnreadableError(Exception):
    """Says why a batch as a whole cannot be read."""

    def __init__(self, reason: str, message: str, written: int = 0) -> None:
        super().__init__(message)
        self.reason = reason
        self.written = written  # bytes that were decompressed before that was clear


def read_batch(raw: memoryview, place: Surroundings) -> Batch:
    """Returns a batch with its records, or with the one that stands for them all.

    raw: of one batch, with its offset and its length.
    """
    magic, written = raw[MAGIC_AT] if len(raw) > MAGIC_AT else -1, 0
    reason, message = "corrupt-batch", "the batch is of no format that Kafka has"
    try:
        if magic == 2 or _checksum_fits(raw):  # the format itself is under no checksum
            return _read_current(raw, place)
        if magic in (0, 1) and len(raw) >= OLD_BYTES:
            return _read_old(raw, place, magic)
    except _UnreadableError as error:
        reason, message, written = error.reason, str(error), error.written
    except Exception as error:
        # its text may show bytes of the event, its class does not
        message = f"the batch cannot be read ({type(error).__name__})"
    batch = unreadable(raw, place, reason, message)
    batch.bytes_held += written
    if _checksum_fits(raw):  # then it says truly whether it was aborted
        fields = HEADER.unpack_from(raw)
        batch.producer_id, batch.is_transactional = fields[9], bool(fields[5] & _TRANSACTIONAL)
    return batch


def unreadable(raw: memoryview, place: Surroundings, reason: str, message: str) -> Batch:
    """Returns a batch of the one record that stands for bytes that cannot be read.

    It covers the offsets from the one that is due up to the next batch that can be found.
    """
    offsets = _extent(raw, place)
    if offsets is None:
        return Batch(place.due, place.due, (), 0, is_whole=False)
    value = UnreadableBytes(raw)
    value.reason, value.message, value.first_offset = reason, message, offsets[0]
    record = Record(offsets[1], -1, 0, None, value)
    return Batch(offsets[0], offsets[1] + 1, (record,), len(raw), is_whole=False)


def _extent(raw: memoryview, place: Surroundings) -> tuple[int, int] | None:
    """Returns the first and last offset that bytes stand for, None if the log holds them elsewhere.

    The offset of a batch is under no checksum, and what a damaged batch says of its span under a
    wrong one, so its neighbours are asked too: where the next batch is known, the span ends there.
    """
    due, is_old = place.due, raw[MAGIC_AT : MAGIC_AT + 1].tobytes() in (b"\0", b"\1")
    base = struct.unpack_from(">q", raw)[0] if len(raw) >= OVERHEAD else -1
    span = 0
    if len(raw) >= HEADER.size and not is_old:
        fields = HEADER.unpack_from(raw)
        if fields[6] == fields[12] - 1 >= 0:  # as producers write it, and no accident does
            span, sure = fields[6], _checksum_fits(raw)
            borne_out = sure or place.following() in (None, base + span + 1)
            if borne_out and _fits(base, base + span, place, sure=sure):
                return max(base, due), base + span
    following = place.following()
    if following is not None and due <= following <= due + FAR:
        return None if following == due else (due, following - 1)
    if is_old and due <= base <= due + MOST_RECORDS:  # which is its last offset
        return due, base
    if not place.is_first:  # it may be no batch at all, and what is due not written yet
        return None
    return due, due + min(span, MOST_RECORDS)


def _fits(first: int, last: int, place: Surroundings, *, sure: bool) -> bool:
    """Returns whether a batch of these offsets belongs where it was found.

    sure: its checksum fits, so there may be a gap before it, as compaction leaves one.
    """
    if not 0 <= first <= last or last < place.due or first > place.due + FAR:
        return False
    if first <= place.due:
        return place.is_first or first == place.due
    following = place.following()
    return sure if following is None else not place.due <= following <= last


def _checksum_fits(raw: memoryview) -> bool:
    """Returns whether a batch of format 2 is as its producer made it, from the checksum on."""
    if len(raw) < HEADER.size:
        return False
    return bool(calc_crc32c(raw[_ATTRIBUTES_AT:]) == HEADER.unpack_from(raw)[4])


def _read_current(raw: memoryview, place: Surroundings) -> Batch:
    """Reads a batch of format 2; raises _UnreadableError or whatever damaged bytes lead to."""
    if not _checksum_fits(raw):  # or they are too few for a head
        raise _UnreadableError("corrupt-batch", "the checksum of the batch does not fit its bytes")
    fields = HEADER.unpack_from(raw)
    base, attributes, delta = fields[0], fields[5], fields[6]
    if not _fits(base, base + delta, place, sure=True):
        raise _UnreadableError("corrupt-batch", "the offsets of the batch fit neither neighbour")

    # compressed records are put behind the batch's own head, which then says that they are not
    codec, count, body = attributes & _CODEC, fields[12], raw[HEADER.size :]
    span_is_wrong = delta < count - 1 or (delta > count - 1 and delta > MOST_RECORDS)
    if span_is_wrong or (body and count <= 0):
        raise _UnreadableError("corrupt-batch", "the batch says a wrong number of records")
    if codec and body:
        room = _ROOM.memory()
        size = _decompressed(codec, body, count, room[HEADER.size :])
        room[: HEADER.size] = raw[: HEADER.size]
        struct.pack_into(">h", room, _ATTRIBUTES_AT, attributes & ~_CODEC)
        raw = room[: HEADER.size + size]

    # a batch of which compaction has taken records spans more than it holds, up to the next one
    last, is_control = base + delta, bool(attributes & _CONTROL)
    if delta != count - 1 and (following := place.following()) is not None:
        last = following - 1 if base < following <= last else last
    try:
        # compaction leaves the last batch of a producer, empty
        records: Iterable[Any] = [] if not (body or count) else _Parsed(raw.tobytes())
        sound = _in_order([each.offset for each in records], base, last)
    except Exception:
        sound = False
    if not sound:
        records = list(one_by_one(raw[HEADER.size :].tobytes(), fields, last))
    _ROOM.wrote(len(raw))
    return Batch(
        base,
        last + 1,
        records,
        len(raw),
        None if is_control and not _is_marker(records) else fields[9],
        bool(attributes & _TRANSACTIONAL),
        is_control,
        is_whole=sound,
    )


@dataclass(frozen=True, slots=True)
class _Parsed:
    """Holds the records of a batch that is not compressed, as aiokafka reads them.

    They are parsed each time they are asked for: once to see that all can be read, once to give
    them on. Kept between, the thousands of a fetch would make Python's collector walk through the
    whole process again and again, which costs more. The parser gets bytes: of a memoryview that it
    holds, the collector may make a crash.
    """

    raw: bytes

    def __iter__(self) -> Iterator[Any]:
        return iter(DefaultRecordBatch(self.raw))


def _decompressed(codec: int, body: memoryview, count: int, room: memoryview) -> int:
    """Decompresses the records of a batch and returns their bytes; raises _UnreadableError."""
    limit = allowed_bytes(len(body))
    large = f"the batch has {len(body)} bytes and decompressed"
    if count > MOST_RECORDS:
        raise _UnreadableError(
            "batch-too-large", f"{large} {count} records; send at most {MOST_RECORDS} in a batch"
        )
    try:
        return decompress_into(codec, body, room[:limit])
    except TooLargeError:
        _ROOM.wrote(limit)
        raise _UnreadableError(
            "batch-too-large", f"{large} more than {limit}; send smaller batches", limit
        ) from None
    except Exception as error:
        name, kind = NAMES.get(codec, f"codec {codec}"), type(error).__name__
        raise _UnreadableError(
            "corrupt-batch", f"the batch cannot be decompressed ({name}: {kind})"
        ) from None


def _in_order(offsets: list[int], first: int, last: int) -> bool:
    """Returns whether offsets increase and are those of the batch; compaction leaves some out."""
    if len(offsets) == last + 1 - first and offsets == list(range(first, last + 1)):
        return True
    bounds = [first - 1, *offsets, last + 1]
    return all(left < right for left, right in pairwise(bounds))


def _is_marker(records: Iterable[Any]) -> bool:
    """Returns whether the records of a control batch begin with one that aiokafka can read."""
    try:
        ControlRecord.parse(next(iter(records)).key)
    except Exception:
        return False
    return True


def _read_old(raw: memoryview, place: Surroundings, magic: int) -> Batch:
    """Reads a message of format 0 or 1, with those that it may hold compressed.

    Raises _UnreadableError or whatever damaged bytes lead to. Kafka writes neither format since
    version 4.0, and still reads them.
    """
    codec = raw[_OLD_KEY_AT[0] - 1] & _CODEC
    if codec:
        at = _OLD_KEY_AT[magic]
        (key_bytes,) = struct.unpack_from(">i", raw, at)
        at += 4 + max(key_bytes, 0)
        (value_bytes,) = struct.unpack_from(">i", raw, at)
        body = raw[at + 4 : at + 4 + max(value_bytes, 0)]
        _decompressed(codec, body, 0, _ROOM.memory())  # aiokafka does it again, as large
    message = LegacyRecordBatch(raw.tobytes(), magic)
    if not message.validate_crc():
        raise _UnreadableError("corrupt-batch", "the checksum of the batch does not fit its bytes")
    records = [
        Record(
            each.offset,
            -1 if each.timestamp is None else each.timestamp,  # format 0 has none
            each.timestamp_type or 0,
            each.key,
            each.value,
        )
        for each in message
    ]
    offsets = [each.offset for each in records]
    (last,) = struct.unpack_from(">q", raw)
    first = offsets[0]
    if not (_fits(first, last, place, sure=True) and _in_order(offsets, first, last)):
        raise _UnreadableError("corrupt-batch", "the offsets of the batch fit neither neighbour")
    return Batch(first, last + 1, records, len(raw))

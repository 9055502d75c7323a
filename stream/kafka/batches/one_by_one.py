"""Reads the records of a batch that aiokafka's parser refuses, one after the other.

Header names that are not UTF-8 are escaped, as \\xff; a record that is damaged becomes an
UnreadableBytes with its own bytes. Layout: Apache Kafka documentation, "Message Format".
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Final

from stream.contracts.faults import UnreadableBytes

MOST_DAMAGED: Final = 1_000
"""Records of a batch that are told one by one; beyond that the rest of it is one record."""

_APPEND_TIME: Final = 0x08
_LONGEST_VARINT: Final = 10


@dataclass(slots=True)
class Record:
    """Holds a record with the fields that aiokafka asks of one."""

    offset: int
    timestamp: int
    timestamp_type: int
    key: bytes | None
    value: bytes | None
    headers: Sequence[tuple[str, bytes | None]] = ()
    checksum: int | None = None


def one_by_one(body: bytes, fields: tuple[int, ...], last: int) -> Iterator[Record]:
    """Yields the records of a batch of format 2 that aiokafka refuses, and what cannot be read.

    Every offset of the batch is yielded, or is within the first_offset of one that is.
    """
    count, due, at, damaged = fields[12], fields[0], 0, 0
    is_compacted = fields[6] != count - 1
    for _ in range(count):
        size, start = _varint(body, at)
        end = start + size
        if start < 0 or size < 0 or end > len(body) or due > last or damaged == MOST_DAMAGED:
            break
        record = _record(body[start:end], fields)
        if record is None or not due <= record.offset <= (last if is_compacted else due):
            record = _damaged(body[start:end], due, due)
            damaged += 1
        yield record
        due, at = record.offset + 1, end
    if due <= last:  # where the next record begins cannot be told
        yield _damaged(body[at:], due, last)


def _damaged(raw: bytes, first: int, last: int) -> Record:
    value = UnreadableBytes(raw)
    value.reason, value.first_offset = "corrupt-record", first
    value.message = "the record is not as Kafka's format says; mend the producer or the brokers"
    return Record(last, -1, 0, None, value)


def _record(body: bytes, fields: tuple[int, ...]) -> Record | None:
    """Returns a record from its bytes, None if they are damaged."""
    moment, at = _varint(body, 1)  # the attributes before it say nothing
    delta, at = _varint(body, at)
    key, at = _nullable(body, at)
    value, at = _nullable(body, at)
    count, at = _varint(body, at)
    headers: list[tuple[str, bytes | None]] = []
    while at >= 0 and len(headers) < count:
        name, at = _nullable(body, at)
        content, at = _nullable(body, at)
        if name is None:
            return None
        headers.append((name.decode("utf-8", "backslashreplace"), content))
    of_log = bool(fields[5] & _APPEND_TIME)
    timestamp = fields[8] if of_log else fields[7] + moment
    if at != len(body) or count < 0 or not -(1 << 63) <= timestamp < 1 << 63:
        return None
    return Record(fields[0] + delta, timestamp, int(of_log), key, value, headers)


def _nullable(body: bytes, at: int) -> tuple[bytes | None, int]:
    """Returns bytes with their length before them and where they end; at -1 if they are damaged."""
    size, at = _varint(body, at)
    if at < 0 or at + size > len(body):
        return None, -1
    return (None, at) if size < 0 else (body[at : at + size], at + size)


def _varint(body: bytes, at: int) -> tuple[int, int]:
    """Returns a number and where it ends, at -1 if it is damaged; zigzag, seven bits a byte."""
    if at < 0:
        return 0, -1
    number = 0
    for place in range(_LONGEST_VARINT):
        if at + place >= len(body):
            break
        byte = body[at + place]
        number |= (byte & 0x7F) << (7 * place)
        if byte < 0x80:
            return (number >> 1) ^ -(number & 1), at + place + 1
    return 0, -1

"""Reads a record of any format, and judges its events as the contract judges its own.

It is `contracts.event.parse_event` for other shapes: the same limits, the key that must be the
user, times that must not be ahead, an origin in place of a missing event_id. A document is good if
all its events are. Pure: the caller hands its clock over.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Final, NamedTuple

from stream.contracts.control import is_control
from stream.contracts.event import (
    CONTROL_HEADER,
    ORIGIN_HEADER,
    ControlRecordError,
    Event,
    Limits,
    check_event,
    compact_event,
    future_fault,
    key_fault,
    origin_of,
    unreadable,
)
from stream.contracts.event_batch import Collected
from stream.contracts.faults import BadEvent, Reject, UnreadableBytes
from stream.contracts.times import FIRST_TIME_MS
from stream.formats.documents import is_one_document, read_documents
from stream.formats.event_format import (
    MAX_EVENTS,
    NO_BEHAVIOUR,
    TOMBSTONES,
    EventFormat,
    Headers,
    Reading,
)
from stream.formats.framed.readers import FramedFormat, unframed

AS_WRITTEN: Final = 2
MORE_BYTES: Final = 512
"""No text of an event has more bytes than so many times its document, and these: levels of a
category are joined by " > ", an id gets the name of a table or its place. Constants come on top."""

READ_HEADERS: Final = (CONTROL_HEADER, ORIGIN_HEADER)
"""Headers that say something of any record."""


class DocumentRecord(NamedTuple):
    """Stands for one document of a record that holds several, with its own bytes as value."""

    key: bytes | None
    value: bytes
    headers: Headers
    offset: int
    timestamp: int


def read_record(
    record: Any,
    event_format: EventFormat,
    limits: Limits,
    now_ms: int | None = None,
    *,
    keyed: bool = True,
    taken_ms: int | None = None,
) -> Reading:
    """Returns the events of one record, with their times in Unix milliseconds.

    Raises BadEvent if nothing of it can be read, ControlRecordError for a control. `now_ms` is the
    caller's clock; `keyed`: the key must be the user of each event; `taken_ms`: when a record was
    taken that is in no topic yet.
    """
    reading = _read_at_once(record, event_format, limits, now_ms, keyed, taken_ms)
    if reading is None:
        return _read_in_full(record, event_format, limits, now_ms, keyed, taken_ms)
    return reading


def _read_at_once(
    record: Any,
    event_format: EventFormat,
    limits: Limits,
    now_ms: int | None,
    keyed: bool,
    taken_ms: int | None,
) -> Reading | None:
    """Returns what a record says that is one sound document of sound events, as nearly all are.

    None: it has to be read in full, which says what it is, and what is wrong with it.
    """
    value, headers, timestamp = record.value, record.headers or (), record.timestamp
    if type(value) is not bytes or len(value) > limits.max_value_bytes:
        return None
    if keyed and record.key is None:
        return None
    if headers and any(name in READ_HEADERS for name, _ in headers):
        return None
    try:
        if type(event_format) is FramedFormat:
            event = event_format.readers.event_of(value) if event_format.of_contract else None
            if event is not None:
                most = _most_of(len(value), event_format)
                _judge(event, most, record, limits, now_ms, keyed)
                return Reading((event,))
            event_format, value = unframed(event_format, value)
        if not is_one_document(value):
            return None
        received_ms = timestamp if timestamp >= FIRST_TIME_MS else taken_ms
        reading = event_format.read(value, headers, received_ms)
        if len(reading.events) > MAX_EVENTS:
            return None
        most = _most_of(len(value), event_format)
        for event in reading.events:
            _judge(event, most, record, limits, now_ms, keyed)
    except BadEvent:
        return None
    return reading


def _most_of(size: int, event_format: EventFormat) -> int:
    """Returns the bytes that no text of an event in a document of that size has more than."""
    return AS_WRITTEN * size + MORE_BYTES + event_format.constant_bytes


def _judge(
    event: Event, most_bytes: int, record: Any, limits: Limits, now_ms: int | None, keyed: bool
) -> None:
    """Raises BadEvent for an event that may not be.

    most_bytes: no text of it has more, as its document goes.
    """
    if keyed and event.user_id.encode() != record.key:
        raise key_fault(record.key, event.user_id)
    fits = most_bytes <= limits.max_text_bytes
    time_ms = check_event(event, limits, most_bytes if fits else _most_bytes(event))
    if event.dwell_ms is not None and event.dwell_ms < 0:
        raise BadEvent("out-of-range", f"dwell_ms is {event.dwell_ms}; it must be 0 or more")
    timestamp = record.timestamp
    clock_ms = timestamp if timestamp >= FIRST_TIME_MS else now_ms
    if clock_ms is not None and time_ms > clock_ms + limits.max_future_s * 1000:
        raise future_fault(time_ms, clock_ms, timestamp < FIRST_TIME_MS, limits)


def _read_in_full(
    record: Any,
    event_format: EventFormat,
    limits: Limits,
    now_ms: int | None,
    keyed: bool,
    taken_ms: int | None,
) -> Reading:
    """Returns what `read_record` does, for whatever a record holds; raises BadEvent."""
    value, headers, timestamp = record.value, record.headers or (), record.timestamp
    if value is None and event_format.name in TOMBSTONES and not is_control(headers):
        return Reading(dropped={NO_BEHAVIOUR: 1})
    missing = value is None or (keyed and record.key is None) or type(value) is UnreadableBytes
    if missing or len(value) > limits.max_value_bytes:
        raise unreadable(record, limits)
    if headers and is_control(headers):
        raise ControlRecordError("bad-control", "the record is a control and no event")

    def judge(event: Event, size: int) -> None:
        _judge(event, _most_of(size, event_format), record, limits, now_ms, keyed)

    received_ms = timestamp if timestamp >= FIRST_TIME_MS else taken_ms
    reading = read_documents(event_format, value, headers, received_ms, judge)
    if headers and (origin := origin_of(headers)) is not None:
        several = len(reading.events) > 1
        for place, event in enumerate(reading.events):
            event.event_id = event.event_id or (f"{origin}#{place}" if several else origin)
    return reading


def _most_bytes(event: Event) -> int:
    """Returns more bytes than any text of an event has; a character has at most four."""
    count = (
        len(event.user_id)
        + len(event.action)
        + len(event.item_id or "")
        + len(event.title or "")
        + len(event.query or "")
        + len(event.event_id or "")
        + len(event.session_id or "")
    )
    return 4 * (count + sum(map(len, event.categories or ())))


def collect(
    record: Any,
    event_format: EventFormat,
    limits: Limits,
    now_ms: int | None,
    hash_of: Callable[[str], int],
    found: Collected,
) -> None:
    """Adds all that one record holds to what was found in its batch; raises BadEvent.

    hash_of: `hash64`, which may remember.
    """
    reading = read_record(record, event_format, limits, now_ms)
    rows = [compact_event(event, hash_of) for event in reading.events]
    if reading.bad or reading.dropped or len(rows) != 1:
        found.take(record, rows)
        found.rejects += rejects_of(record, reading)
        found.dropped.update(reading.dropped)
    else:
        found.rows += rows
        found.records.append(record)


def rejects_of(record: Any, reading: Reading) -> list[Reject]:
    """Returns a reject for each document of a record that could not be read."""
    partial = bool(reading.events or reading.dropped)
    return [
        Reject(
            record.offset,
            bad.fault.reason,
            bad.fault.error,
            str(bad.fault),
            DocumentRecord(record.key, bad.value, record.headers, record.offset, record.timestamp),
            document=number,
            partial=partial,
        )
        for number, bad in enumerate(reading.bad)
    ]

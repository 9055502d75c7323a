"""Reads a record of any format, and judges its events as the contract judges its own.

It is `contracts.event.parse_event` for other shapes: the same limits, the key that must be the
user, times that must not be ahead, an origin in place of a missing event_id. A document is good if
all its events are. Pure: the caller hands its clock over.
"""

from __future__ import annotations

from typing import Any, Final, NamedTuple

from stream.contracts.control import is_control
from stream.contracts.event import (
    ControlRecordError,
    Event,
    Limits,
    check_event,
    future_fault,
    key_fault,
    origin_of,
    parse_event,
    unreadable,
)
from stream.contracts.faults import BadEvent, Reject, UnreadableBytes
from stream.contracts.times import FIRST_TIME_MS
from stream.formats.documents import read_documents
from stream.formats.event_format import (
    NO_BEHAVIOUR,
    TOMBSTONES,
    EventFormat,
    Headers,
    Reading,
)
from stream.formats.framed.readers import FramedFormat

AS_WRITTEN: Final = 2
MORE_BYTES: Final = 512
"""No text of an event has more bytes than so many times its document, and these: levels of a
category are joined by " > ", an id gets the name of a table or its place. Constants come on top."""


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
    if keyed and isinstance(event_format, FramedFormat):
        event = _event_at_once(record, event_format, limits, now_ms)
        if event is not None:
            return Reading((event,))
    return _read_in_full(record, event_format, limits, now_ms, keyed, taken_ms)


def _read_in_full(
    record: Any,
    event_format: EventFormat,
    limits: Limits,
    now_ms: int | None,
    keyed: bool,
    taken_ms: int | None,
) -> Reading:
    value, headers = record.value, record.headers or ()
    if value is None and event_format.name in TOMBSTONES and not is_control(headers):
        return Reading(dropped={NO_BEHAVIOUR: 1})
    missing = value is None or (keyed and record.key is None) or type(value) is UnreadableBytes
    if missing or len(value) > limits.max_value_bytes:
        raise unreadable(record, limits)
    if headers and is_control(headers):
        raise ControlRecordError("bad-control", "the record is a control and no event")
    received_ms = record.timestamp if record.timestamp >= FIRST_TIME_MS else None
    clock_ms = now_ms if received_ms is None else received_ms
    latest_ms = None if clock_ms is None else clock_ms + limits.max_future_s * 1000

    constants, most_text = getattr(event_format, "constant_bytes", 0), limits.max_text_bytes

    def judge(event: Event, size: int) -> None:
        if keyed and event.user_id.encode() != record.key:
            raise key_fault(record.key, event.user_id)
        most = AS_WRITTEN * size + MORE_BYTES + constants
        time_ms = check_event(event, limits, most if most <= most_text else _most_bytes(event))
        if event.dwell_ms is not None and event.dwell_ms < 0:
            raise BadEvent("out-of-range", f"dwell_ms is {event.dwell_ms}; it must be 0 or more")
        if latest_ms is not None and time_ms > latest_ms:
            raise future_fault(time_ms, clock_ms or 0, received_ms is None, limits)

    moment_ms = taken_ms if received_ms is None else received_ms
    reading = read_documents(event_format, value, headers, moment_ms, judge)
    if headers and (origin := origin_of(headers)) is not None:
        several = len(reading.events) > 1
        for place, event in enumerate(reading.events):
            event.event_id = event.event_id or (f"{origin}#{place}" if several else origin)
    return reading


def _event_at_once(
    record: Any, event_format: FramedFormat, limits: Limits, now_ms: int | None
) -> Event | None:
    """Returns the one event of the contract in a framed value; None: look at it in full.

    It is what most such values are, and is read by the contract's own parser at half the cost.
    """
    value = record.value
    if not event_format.of_contract or type(value) is not bytes:
        return None
    if len(value) > limits.max_value_bytes:
        return None
    try:
        document = event_format.readers.document_of(value)
        plain = DocumentRecord(
            record.key, document, record.headers, record.offset, record.timestamp
        )
        return parse_event(plain, limits, now_ms)
    except BadEvent:
        return None


def _most_bytes(event: Event) -> int:
    """Returns more bytes than any text of an event has; a character has at most four."""
    texts = (event.item_id, event.title, event.query, event.event_id, event.session_id)
    count = len(event.user_id) + len(event.action)
    for text in texts:
        if text is not None:
            count += len(text)
    return 4 * (count + sum(map(len, event.categories or ())))


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

"""Reads the body of a request: its documents, and the records that they become.

What is written is what workers read. Where they read the contract, a document may be of any format:
each of its events becomes a record of the contract, keyed by its user. Where workers read another
format (`serve` has their --event-format and --mapping), a document is written as it came, keyed by
its user, and the format is the only one that is taken: they would read no other.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Final
from urllib.parse import unquote_to_bytes

import msgspec

from stream.config import CONTRACT, MAPPING, OWNERS_FORMATS, Settings
from stream.contracts.event import Event, Limits, limits_of, parse_event
from stream.contracts.faults import BadEvent
from stream.errors import SettingsError
from stream.formats.event_format import NO_BEHAVIOUR, EventFormat, Reading
from stream.formats.records import read_record
from stream.formats.registry import CONSENTED, format_named

MOST_DOCUMENTS: Final = 1_000
MOST_BYTES: Final = 4_194_304
"""Of one request."""

LINES: Final = ("ndjson", "jsonl", "tab-separated-values")
"""Words in the type of a body that is a document a line; Snowplow's events are such lines."""

CLOUDEVENTS: Final = "cloudevents"
ATTRIBUTE: Final = "ce-"
"""Before the name of an attribute of a CloudEvent in a header of HTTP; in Kafka's it is ce_."""


class BadBodyError(Exception):
    """Says that a request holds no events."""


@dataclass(frozen=True, slots=True)
class Document:
    """Holds one document of a body, and the headers that describe it."""

    value: bytes
    headers: tuple[tuple[str, bytes], ...] = ()
    key: bytes | None = None
    timestamp: int = -1


@dataclass(frozen=True, slots=True)
class Incoming:
    """Holds a record to send."""

    key: bytes
    value: bytes
    event_ids: tuple[str | None, ...] = (None,)  # of each of its events
    headers: tuple[tuple[str, bytes], ...] = ()
    timestamp: int = -1

    def name(self) -> bytes | None:
        """Returns what its repeats share with it and no other record has; None: nothing does."""
        if None in self.event_ids:
            return None
        parts = [self.key, *(each.encode() for each in self.event_ids if each is not None)]
        return b"".join(b"%d %b " % (len(part), part) for part in parts)


@dataclass(frozen=True, slots=True)
class Found:
    """Holds what a document says: records to send, what was left out, and what cannot be read."""

    records: Sequence[Incoming] = ()
    dropped: Mapping[str, int] | None = None  # by reason
    refused: Sequence[BadEvent] = ()


Read = Callable[[Document, int], Found]
"""Reads a document, given the time now; raises BadEvent if nothing of it can be taken."""


class _Named(msgspec.Struct):
    """Reads whose event it is."""

    user_id: str


_decode_named: Final = msgspec.json.Decoder(_Named).decode
_decode_list: Final = msgspec.json.Decoder(list[msgspec.Raw]).decode
_decode_one: Final = msgspec.json.Decoder(msgspec.Raw).decode
_encode: Final = msgspec.json.Encoder().encode


class Shapes:
    """Knows what a body may be, by the name that `?format=` gives."""

    def __init__(self, settings: Settings, body_mapping: str = "") -> None:
        """Raises SettingsError if a mapping cannot be used.

        body_mapping: the file that says how bodies of `format=mapping` are read where workers read
        the contract.
        """
        self._limits, self._keyed = limits_of(settings), not settings.rekey
        self._of_topic: EventFormat | None = None
        if settings.event_format != CONTRACT:
            named = settings.event_format, settings.mapping, settings.purposes
            self._of_topic = format_named(*named)  # bodies are in no registry's wire format
        self.own = CONTRACT if self._of_topic is None else self._of_topic.name
        self._formats: dict[str, EventFormat] = {}
        self._unusable: dict[str, str] = {}  # why a format cannot be used, by its name
        if self._of_topic is None:
            for name in OWNERS_FORMATS:
                self._add(name, settings.purposes if name in CONSENTED else frozenset())
            if body_mapping:
                self._formats[MAPPING] = format_named(MAPPING, body_mapping)
        elif body_mapping:
            raise SettingsError(
                f"body_mapping is {body_mapping!r}, and workers read {self._of_topic.name}: bodies "
                "are written as they come; leave it out"
            )

    def _add(self, name: str, purposes: frozenset[str]) -> None:
        """Adds a format; one whose events name other purposes is none that can be asked for."""
        try:
            self._formats[name] = format_named(name, purposes=purposes)
        except SettingsError as error:
            self._unusable[name] = str(error)

    def named(self, name: str) -> Read:
        """Returns what reads documents of a format.

        Raises BadBodyError if workers could not read what would be written.
        """
        if name in self._unusable:
            raise BadBodyError(self._unusable[name])
        if name == self.own:
            return self._of_contract if self._of_topic is None else self._as_it_came
        if name in self._formats:
            return self._as_events(self._formats[name])
        known = ", ".join([self.own, *self._formats])
        fix = "; a mapping is named with --body-mapping" if name == MAPPING else ""
        raise BadBodyError(f"format is one of {known}: workers read {self.own}{fix}")

    def _of_contract(self, document: Document, now_ms: int) -> Found:
        return Found([by_contract(document.value, self._limits, now_ms)])

    def _as_events(self, event_format: EventFormat) -> Read:
        """Returns what makes a record of the contract of each event."""
        # what a record may hold, an event of it may; the document itself is not written
        limits = replace(self._limits, max_value_bytes=MOST_BYTES)

        def read(document: Document, now_ms: int) -> Found:
            reading = _read(document, event_format, limits, now_ms)
            records = [self._record_of(event) for event in reading.events]
            return Found(records, reading.dropped, [each.fault for each in reading.bad])

        return read

    def _record_of(self, event: Event) -> Incoming:
        value, most = _encode(event), self._limits.max_value_bytes
        if len(value) > most:
            raise BadEvent(
                "too-large",
                f"an event has {len(value)} bytes; send at most {most} (max_value_bytes)",
            )
        return Incoming(event.user_id.encode(), value, (event.event_id,))

    def _as_it_came(self, document: Document, now_ms: int) -> Found:
        """Returns the document as the one record that it becomes; none if it holds no event.

        What cannot be read beside others is written with them, and is a dead letter of its own.
        """
        assert self._of_topic is not None
        reading = _read(document, self._of_topic, self._limits, now_ms)
        refused = [each.fault for each in reading.bad]
        if not reading.events:
            return Found([], reading.dropped, refused)
        users = {event.user_id for event in reading.events}
        if self._keyed and len(users) > 1:
            raise BadEvent(
                "key-mismatch",
                f"the document holds events of {len(users)} users, and a record is keyed by one; "
                "send a document for each",
            )
        ids = tuple(event.event_id for event in reading.events)
        key = reading.events[0].user_id.encode()
        return Found(
            [Incoming(key, document.value, ids, document.headers)], reading.dropped, refused
        )


def by_contract(value: bytes, limits: Limits, now_ms: int) -> Incoming:
    """Returns the record of an event of the contract, as it came; raises BadEvent."""
    try:
        key = _decode_named(value).user_id.encode()
    except (msgspec.MsgspecError, UnicodeError, RecursionError):
        key = b""  # reading it by the contract says what is wrong
    event = parse_event(Incoming(key, value), limits, now_ms)
    return Incoming(key, value, (event.event_id,))


def _read(document: Document, event_format: EventFormat, limits: Limits, now_ms: int) -> Reading:
    reading = read_record(document, event_format, limits, now_ms, keyed=False, taken_ms=now_ms)
    if reading.events or reading.dropped or reading.bad:
        return reading
    return Reading(dropped={NO_BEHAVIOUR: 1})


def documents_of(body: bytes, headers: Mapping[str, str], name: str) -> list[Document]:
    """Returns the documents of a body: one, an array of them, or one a line.

    A CloudEvent whose attributes are headers of the request is one document with these. Raises
    BadBodyError.
    """
    if name == CLOUDEVENTS and f"{ATTRIBUTE}specversion" in headers:
        return [Document(body, tuple(_attributes(headers)))]
    content_type = headers.get("content-type", "")
    return [Document(each) for each in split_body(body, content_type)]


def split_body(body: bytes, content_type: str) -> list[bytes]:
    """Returns the documents of a body: one, an array of them, or one a line.

    Raises BadBodyError.
    """
    if any(each in content_type for each in LINES):
        found = [line for line in body.splitlines() if line.strip()]
    else:
        try:
            first = body.lstrip()[:1]
            raw = _decode_list(body) if first == b"[" else [_decode_one(body)]
        except (msgspec.MsgspecError, UnicodeError, RecursionError):
            raise BadBodyError(
                "the body is no JSON; send an event, an array of events, or one event a line as "
                "application/x-ndjson"
            ) from None
        found = [bytes(each).strip() for each in raw]
    if not found:
        raise BadBodyError("the body holds no event")
    if len(found) > MOST_DOCUMENTS:
        raise BadBodyError(f"the body holds {len(found)} events; send at most {MOST_DOCUMENTS}")
    return found


def _attributes(headers: Mapping[str, str]) -> list[tuple[str, bytes]]:
    """Returns the attributes of a CloudEvent as headers of a record, as its Kafka binding has them.

    In HTTP their values are percent-encoded.
    """
    found = [
        (f"ce_{name.removeprefix(ATTRIBUTE)}", unquote_to_bytes(value))
        for name, value in headers.items()
        if name.startswith(ATTRIBUTE)
    ]
    if content_type := headers.get("content-type"):
        found.append(("content-type", content_type.encode()))
    return found

"""Takes a value apart that holds several documents, and reads each by its format.

A value that is one document is handed to the format as it is, so single documents cost nothing.
Several are a JSON array of objects, or objects that follow each other. One that cannot be read is
given back with its own bytes; the others are read. Lines of tab-separated values are documents,
too. A value that its producer compressed is unpacked first (packed.py), and one in the wire format
of a schema registry is turned into its document (framed/).
"""

from __future__ import annotations

import json
import re
from collections import Counter
from collections.abc import Callable, Sequence
from functools import partial
from typing import Final

import msgspec

from stream.contracts.event import MAX_DEPTH, Event
from stream.contracts.faults import BadEvent
from stream.formats.event_format import (
    MAX_EVENTS,
    NO_BEHAVIOUR,
    BadDocument,
    EventFormat,
    Headers,
    Reading,
)
from stream.formats.framed.readers import FramedFormat, unframed
from stream.formats.packed import unpacked

LEAST_TABS: Final = 20
"""In a line of tab-separated values that is a document."""

DESCRIBING: Final = "ce_specversion"
"""The header, in small letters, of a value that is the data of a CloudEvent."""

Judge = Callable[[Event, int], None]
"""Raises BadEvent for an event that may not be; it is told the bytes of the event's document."""

_SPACE: Final = " \t\r\n"
_GAP: Final = re.compile(f"[{_SPACE}]*")
_BRACES: Final = bytes.maketrans(b"[]", b"{}")
_NO_MARKS: Final = bytes(each for each in range(256) if each not in b'{}[]"')
_array: Final = msgspec.json.Decoder(list[msgspec.Raw]).decode
_raw: Final = msgspec.json.Decoder(msgspec.Raw).decode
_decoder: Final = json.JSONDecoder(parse_int=float)  # an integer of any length


def read_documents(
    event_format: EventFormat,
    value: bytes,
    headers: Headers,
    received_ms: int | None,
    judge: Judge = lambda event, size: None,
) -> Reading:
    """Returns what all documents of a value say; raises BadEvent if none can be told apart.

    A document alone that cannot be read is raised too, and one is not read if `judge` raises
    BadEvent for one of its events.
    """
    event_format, value = unframed(event_format, value)
    value = unpacked(value)
    _ensure_sound(value)

    if headers and _describe(headers):
        return _read(event_format, judge, headers, received_ms, value)
    if not value.lstrip().startswith(b"["):
        try:
            return _read(event_format, judge, headers, received_ms, value)
        except BadEvent as error:
            documents = _split(value)
            if len(documents) < 2:
                raise error from None
    else:
        documents = _split(value)
        if not documents:
            raise BadEvent("not-json", "the value is no JSON array of objects; send objects")
    return each_document(documents, partial(_read, event_format, judge, headers, received_ms))


def users_named(event_format: EventFormat, value: bytes, headers: Headers) -> set[str]:
    """Returns the ids of all users whom the documents of a value name, read as events or not.

    The value is taken apart as `read_documents` does. It never raises: in what is damaged it finds
    what can be found.
    """
    inner = event_format.inner if isinstance(event_format, FramedFormat) else event_format
    try:
        inner, value = unframed(event_format, value)
        value = unpacked(value)
    except BadEvent:
        pass  # it is not what it begins as, and may hold a name all the same
    if not value.isascii():
        value = value.decode(errors="replace").encode()
    documents = [value] if (headers and _describe(headers)) or _is_object(value) else _split(value)
    found = set[str]()
    for document in documents or [value]:
        found.update(inner.users_named(document, headers))
    return found


def is_one_document(value: bytes) -> bool:
    """Returns whether a value is sound and may be one document: an object, or a line of a table.

    It may still be one that cannot be read, and then several.
    """
    if not (value.startswith(b"{") or value[:1].isalnum()):
        return False
    try:
        _ensure_sound(value)
    except BadEvent:
        return False
    return True


def _read(
    event_format: EventFormat,
    judge: Judge,
    headers: Headers,
    received_ms: int | None,
    document: bytes,
) -> Reading:
    """Returns what one document says, whose events `judge` lets pass; raises BadEvent."""
    reading = event_format.read(document, headers, received_ms)
    events, size = reading.events, len(document)
    if len(events) > MAX_EVENTS:
        raise _too_many(len(events))
    for event in events:
        judge(event, size)
    return reading


def _ensure_sound(value: bytes) -> None:
    """Raises BadEvent for what decoders do not look at: depth, and text that is never read."""
    if value.count(b"[") + value.count(b"{") > MAX_DEPTH and nests_deeper(value, MAX_DEPTH):
        raise BadEvent(
            "too-deep", f"arrays and objects nest deeper than {MAX_DEPTH}; flatten the event"
        )
    if not value.isascii():
        try:
            value.decode()
        except UnicodeDecodeError as error:
            what = f"byte {error.start} is not UTF-8 ({error.reason}); encode the value as UTF-8"
            raise BadEvent("not-utf8", what, type(error).__name__) from None


def _is_object(value: bytes) -> bool:
    """Returns whether a value is one JSON object."""
    try:
        return value.lstrip().startswith(b"{") and bool(_raw(value))
    except (msgspec.MsgspecError, RecursionError):
        return False


def _describe(headers: Headers) -> bool:
    """Returns whether headers describe the value, which then is one document: CloudEvents' do."""
    return any(name.lower() == DESCRIBING for name, _ in headers)


def nests_deeper(value: bytes, most: int) -> bool:
    """Returns whether arrays and objects nest deeper than `most`, which is right for sound JSON.

    It costs little: what is left of a value without its strings and texts is short.
    """
    if b"\\" in value:
        value = value.replace(b"\\\\", b"").replace(b'\\"', b"")
    marks = value.translate(_BRACES, _NO_MARKS)
    marks = b"".join(marks.split(b'"')[::2])
    for _ in range(most):
        if not marks:
            return False
        marks = marks.replace(b"{}", b"")
    return b"{}" in marks  # what else is left is not closed, which the reader says


def _split(value: bytes) -> list[bytes]:
    """Returns the documents of a value, none if they cannot be told apart.

    A line that begins an object is a document of its own where all lines do, so a broken one
    breaks no other; so is a line of many columns. Else objects may follow each other anyhow.
    """
    if value.lstrip().startswith(b"["):
        try:
            return [bytes(each) for each in _array(value)]
        except (msgspec.MsgspecError, RecursionError):
            return []
    lines = [line for line in value.splitlines() if line.strip()]
    if len(lines) > 1 and (
        all(line.lstrip().startswith(b"{") for line in lines)
        or all(line.count(b"\t") >= LEAST_TABS for line in lines)
    ):
        return lines
    return _in_a_row(value.decode())


def _in_a_row(text: str) -> list[bytes]:
    """Returns objects that follow each other with nothing but space between them."""
    text = text.strip(_SPACE)
    found, at = list[bytes](), 0
    while at < len(text):
        try:
            _, end = _decoder.raw_decode(text, at)
        except (ValueError, RecursionError):
            return []
        if text[at] != "{":
            return []
        found.append(text[at:end].encode())
        gap = _GAP.match(text, end)
        at = gap.end() if gap else end
    return found


def each_document(documents: Sequence[bytes], read: Callable[[bytes], Reading]) -> Reading:
    """Returns what several documents say; one that cannot be read is kept with its own bytes.

    A body of none says nothing, and counts as that.
    """
    if not documents:
        return Reading(dropped={NO_BEHAVIOUR: 1})
    if len(documents) > MAX_EVENTS:
        raise _too_many(len(documents))
    events: list[Event] = []
    dropped: Counter[str] = Counter()
    bad: list[BadDocument] = []
    for place, document in enumerate(documents):
        try:
            found = read(document)
        except BadEvent as fault:
            bad.append(BadDocument(place, document, fault))
            continue
        events += found.events
        dropped.update(found.dropped)
        bad += (BadDocument(place, each.value, each.fault) for each in found.bad)
    return _bounded(Reading(events, dropped, bad))


def _bounded(reading: Reading) -> Reading:
    if len(reading.events) > MAX_EVENTS:
        raise _too_many(len(reading.events))
    return reading


def _too_many(count: int) -> BadEvent:
    return BadEvent(
        "too-large", f"the value holds {count} events; send at most {MAX_EVENTS} in one record"
    )

"""Takes values apart that hold several documents, and judges what each says, for the audit.

It is a second reading of what stream/formats/documents.py and records.py do, with Python's own
library. A `Shape` says what one document means; all else is the same for every shape.
"""

from __future__ import annotations

import json
import re
import zlib
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from typing import Any, Final, Protocol

import cramjam

from stream.audit.event_rules import MAX_DEPTH, MIN_TIME_MS, Limits, sound_json, valid_fields

MOST_EVENTS: Final = 1_000
"""Of one record."""

TOMBSTONES: Final = ("debezium",)
"""Shapes of topics in which a null value follows each deletion."""

MOST_UNPACKED: Final = 4 << 20
"""Bytes of a value that its producer compressed, before it did."""

_STRING: Final = re.compile(rb'"(?:[^"\\]|\\.)*"?', re.DOTALL)
_BRACES: Final = bytes.maketrans(b"[]", b"{}")
_SPACES: Final = " \t\r\n"
scan: Final = json.JSONDecoder(parse_int=float).raw_decode  # of integers of any length


class NotReadableError(Exception):
    """Says that a document, or a value of several, is a dead letter."""


@dataclass(slots=True)
class Meant:
    """Holds what a record means: its events, what it leaves out, and what cannot be read of it."""

    events: list[dict[str, Any]] = field(default_factory=list)
    dropped: int = 0
    bad: list[tuple[int, bytes]] = field(default_factory=list)  # documents: place and bytes


Headers = Iterable[tuple[str, bytes | None]]

Shape = Callable[[bytes, Headers, int | None], Meant]
"""Says what one document means, given the headers of its record and when the broker took it.

It raises NotReadableError."""


class Framing(Protocol):
    """Knows the documents inside a schema registry's frames."""

    def document_of(self, value: bytes) -> bytes:
        """Returns the document in a value; raises NotReadableError."""


@dataclass(frozen=True, slots=True)
class FramedShape:
    """Stands for a shape whose values may have frames around their documents."""

    inner: Shape
    frames: Framing


def meant_by(
    shape: Shape | FramedShape,
    key: bytes | None,
    value: bytes | None,
    timestamp_ms: int,
    headers: Headers,
    limits: Limits,
    now_ms: int | None,
) -> Meant | None:
    """Returns what a record means by its shape; None if the whole record is a dead letter."""
    says: Shape
    frames: Framing | None
    if isinstance(shape, FramedShape):
        says, frames = shape.inner, shape.frames
    else:
        says, frames = shape, None
    if value is None and getattr(says, "__name__", "") in TOMBSTONES:
        return Meant(dropped=1)
    if key is None or value is None or len(value) > limits.value_bytes:
        return None
    received_ms = timestamp_ms if timestamp_ms >= MIN_TIME_MS else None

    def judged(document: bytes) -> Meant:
        meant = says(document, headers, received_ms)
        sound = all(
            valid_fields(event, key, timestamp_ms, limits, now_ms) for event in meant.events
        )
        if not sound or len(meant.events) > MOST_EVENTS:
            raise NotReadableError
        return meant

    try:
        value = _unpacked(value if frames is None else frames.document_of(value))
        _ensure_sound(value)
        described = any(name.lower() == "ce_specversion" for name, _ in headers)
        return judged(value) if described else _each_meant(value, judged)
    except NotReadableError:
        return None


def _each_meant(value: bytes, judged: Callable[[bytes], Meant]) -> Meant:
    """Returns what the documents of a value mean, be it one; raises NotReadableError."""
    if value.lstrip().startswith(b"["):
        return together(some_elements(value), judged)
    try:
        return judged(value)
    except NotReadableError:
        documents = _following(value)
        if len(documents) < 2:
            raise
        return together(documents, judged)


def together(documents: list[bytes], read: Callable[[bytes], Meant]) -> Meant:
    """Returns what several documents mean; those that cannot be read stand for themselves.

    None at all are left out as one. Raises NotReadableError if they are too many for one record.
    """
    if not documents:
        return Meant(dropped=1)
    if len(documents) > MOST_EVENTS:
        raise NotReadableError
    found = Meant()
    for place, document in enumerate(documents):
        try:
            one = read(document)
        except NotReadableError:
            found.bad.append((place, document))
            continue
        found.events += one.events
        found.dropped += one.dropped
        found.bad += ((place, value) for _, value in one.bad)
    if len(found.events) > MOST_EVENTS:
        raise NotReadableError
    return found


def _unpacked(value: bytes) -> bytes:
    """Returns a value as it was before its producer compressed it; raises NotReadableError."""
    if value[:3] == b"\x1f\x8b\x08":
        whole, rest = b"", value
        while rest:
            member = zlib.decompressobj(31)
            try:
                whole += member.decompress(rest, MOST_UNPACKED + 1)
            except zlib.error:
                raise NotReadableError from None
            if len(whole) > MOST_UNPACKED or not member.eof:
                raise NotReadableError
            rest = member.unused_data
        return whole
    if value[:4] == b"\x28\xb5\x2f\xfd":
        if not _ends(value):
            raise NotReadableError  # the library would read the beginning as if it were all
        memory = bytearray(MOST_UNPACKED)
        try:
            return bytes(memory[: cramjam.zstd.decompress_into(value, memory)])
        except cramjam.DecompressionError:
            raise NotReadableError from None
    return value


def _ends(value: bytes) -> bool:
    """Returns whether frames of zstd are there to their ends, by the sizes that they give."""
    at = 0
    while at < len(value):
        flags = value[at + 4 : at + 5]
        if value[at : at + 4] != b"\x28\xb5\x2f\xfd" or not flags:
            return False
        single, size = flags[0] >> 5 & 1, flags[0] >> 6
        at += 5 + (1 - single) + (0, 1, 2, 4)[flags[0] & 3]
        at += 2**size if size else single
        last = 0
        while not last:
            header = int.from_bytes(value[at : at + 3], "little")
            if at + 3 > len(value):
                return False
            last, at = header & 1, at + 3 + (1 if header >> 1 & 3 == 1 else header >> 3)
        at += flags[0] & 4
    return at == len(value)


def _ensure_sound(value: bytes) -> None:
    """Raises NotReadableError for what is no UTF-8, or nests too deep."""
    try:
        value.decode()
    except UnicodeDecodeError:
        raise NotReadableError from None
    marks = re.sub(rb"[^{}\[\]]", b"", _STRING.sub(b"", value)).translate(_BRACES)
    for _ in range(MAX_DEPTH):
        marks = marks.replace(b"{}", b"")
    if b"{}" in marks:
        raise NotReadableError


def some_elements(value: bytes) -> list[bytes]:
    """Returns the elements of a record that is an array; an empty one says nothing."""
    found = elements(value)
    if not found:
        raise NotReadableError
    return found


def elements(value: bytes) -> list[bytes]:
    """Returns the elements of a JSON array as they are written; raises NotReadableError."""
    text = value.decode().strip(_SPACES)
    found, at = list[bytes](), 1
    try:
        if not isinstance(sound_json(value), list):
            raise NotReadableError
        while True:
            at = behind_space(text, at)
            if not found and text[at] == "]":
                break
            _, end = scan(text, at)
            found.append(text[at:end].encode())
            at = behind_space(text, end)
            if text[at] == "]":
                break
            at += 1  # the comma
    except (ValueError, RecursionError):
        raise NotReadableError from None
    return found


def _following(value: bytes) -> list[bytes]:
    """Returns objects that follow each other, a line each or anyhow; none if that is not so."""
    lines = [line for line in value.splitlines() if line.strip()]
    objects = all(line.lstrip().startswith(b"{") for line in lines)
    if len(lines) > 1 and (objects or all(line.count(b"\t") >= 20 for line in lines)):
        return lines
    text, found, at = value.decode().strip(_SPACES), list[bytes](), 0
    while at < len(text):
        try:
            _, end = scan(text, at)
        except (ValueError, RecursionError):
            return []
        if text[at] != "{":
            return []
        found.append(text[at:end].encode())
        at = behind_space(text, end)
    return found


def behind_space(text: str, at: int) -> int:
    while at < len(text) and text[at] in _SPACES:
        at += 1
    return at

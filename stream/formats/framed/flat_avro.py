"""Reads flat records of Avro as events of the contract, with nothing in between.

Most topics of Avro hold such: texts and numbers that may be null, and a list of texts. They are
read here in a quarter of the time that fastavro and JSON take. What is not plainly an event, by its
schema or by its bytes, is None: it is read as a document (avro.py), which says what it is and what
is wrong with it. Limits and times are judged behind both, by the contract's own rules.

Source: Apache Avro 1.12 specification, "Binary encoding".
"""

from __future__ import annotations

from struct import Struct, error
from typing import Any, Final

from stream.contracts.event import Event
from stream.formats.framed.frame import MOST_FLAT_BYTES, MOST_SYMBOL, EventReader, event_of

NULL, TEXT, BYTES, LONG, MICROS, FLOAT, DOUBLE, BOOLEAN, TEXTS = range(9)
_KINDS: Final = {
    "null": NULL,
    "string": TEXT,
    "bytes": BYTES,
    "int": LONG,
    "long": LONG,
    "float": FLOAT,
    "double": DOUBLE,
    "boolean": BOOLEAN,
}
_NUMBERS: Final = {NULL, LONG, FLOAT, DOUBLE}
_FIELDS: Final[dict[str, set[int]]] = {
    "user_id": {TEXT},
    "action": {TEXT},
    "time": {TEXT, LONG, MICROS},
    "item_id": {NULL, TEXT},
    "title": {NULL, TEXT},
    "categories": {NULL, TEXTS},
    "query": {NULL, TEXT},
    "event_id": {NULL, TEXT},
    "session_id": {NULL, TEXT},
    "dwell_ms": _NUMBERS,
    "value": _NUMBERS,
}
"""What each field of an event may be of, in their order."""

_PLACES: Final = {name: place for place, name in enumerate(_FIELDS)}
_ELSEWHERE: Final = len(_FIELDS)
"""The place of what is no field of an event: it is read as well, so that bad bytes show."""

_MORE: Final = 0x80
_MOST_BITS: Final = 63
_float: Final = Struct("<f").unpack_from
_double: Final = Struct("<d").unpack_from

_Kind = int | tuple[str, ...]
"""One of the numbers above, or the symbols of an enum."""

Plan = list[tuple[dict[int, _Kind] | None, _Kind, int]]
"""Of each field of a record: what its branches are by their first byte, None where it has none; the
kind where it has none; and its place."""


def flat_reader(schema: Any) -> EventReader | None:
    """Returns what reads records of a parsed schema; None: they are not flat, or no events."""
    if not isinstance(schema, dict) or schema.get("type") != "record":
        return None
    plan: Plan = []
    for field in schema["fields"]:
        union = isinstance(field["type"], list)
        kinds = [_kind(each) for each in (field["type"] if union else [field["type"]])]
        known = [each for each in kinds if each is not None]
        fitting = _FIELDS.get(field["name"])
        if len(known) < len(kinds) or (fitting and not {_shown(each) for each in known} <= fitting):
            return None
        branches = {2 * branch: kind for branch, kind in enumerate(known)} if union else None
        plan.append((branches, known[0], _PLACES.get(field["name"], _ELSEWHERE)))
    if not {"user_id", "action", "time"} <= {field["name"] for field in schema["fields"]}:
        return None

    def read(payload: bytes) -> Event | None:
        if len(payload) > MOST_FLAT_BYTES:
            return None
        values: list[Any] = [None] * (_ELSEWHERE + 1)
        try:
            end = _read(payload, plan, values)
        except (LookupError, UnicodeDecodeError, error):
            return None
        return event_of(values[:_ELSEWHERE]) if end == len(payload) else None

    return read


def _kind(schema: Any) -> _Kind | None:
    """Returns what a type is read as, None where it is not flat."""
    if isinstance(schema, str):
        return _KINDS.get(schema)
    if not isinstance(schema, dict):
        return None
    kind, logical = schema["type"], str(schema.get("logicalType", ""))
    if kind == "enum":
        symbols = tuple(schema["symbols"])
        return symbols if max(map(len, symbols), default=0) <= MOST_SYMBOL else None
    if kind == "array":
        return TEXTS if _kind(schema["items"]) == TEXT else None
    if logical:
        return MICROS if kind == "long" and logical.endswith("-timestamp-micros") else None
    return _kind(kind)


def _shown(kind: _Kind) -> int:
    """Returns what a value is in a document: an enum is a text."""
    return TEXT if isinstance(kind, tuple) else kind


def _read(payload: bytes, plan: Plan, values: list[Any]) -> int:
    """Puts the values of a record into their places, and returns where it ends.

    Raises LookupError, UnicodeDecodeError or struct.error for bytes that are unusual or wrong.
    """
    at = 0
    for branches, kind, place in plan:
        if branches is not None:
            kind = branches[payload[at]]
            at += 1
        if kind in (TEXT, BYTES):
            size = payload[at]
            at += 1
            if size >= _MORE:
                size, at = _varint(payload, at - 1)
            if size & 1:
                raise IndexError
            end = at + (size >> 1)
            if kind == TEXT:
                values[place] = payload[at:end].decode()
            at = end
        elif kind == NULL:
            values[place] = None
        elif kind == DOUBLE:
            (values[place],) = _double(payload, at)
            at += 8
        else:
            values[place], at = _other(payload, at, kind)
    return at


def _other(payload: bytes, at: int, kind: _Kind) -> tuple[Any, int]:
    """Returns a value of a kind, and where it ends."""
    if kind in (LONG, MICROS):
        number, at = _varint(payload, at)
        number = number >> 1 ^ -(number & 1)
        return number if kind == LONG else number // 1_000, at
    if kind == TEXTS:
        return _texts(payload, at)
    if kind == FLOAT:
        return _float(payload, at)[0], at + 4
    if kind == BOOLEAN:
        return (False, True)[payload[at]], at + 1
    assert isinstance(kind, tuple)
    number, at = _varint(payload, at)
    return kind[_half(number)], at


def _texts(payload: bytes, at: int) -> tuple[list[str], int]:
    """Returns the texts of an array, and where it ends."""
    found = []
    count, at = _varint(payload, at)
    while count:
        for _ in range(_half(count)):
            size, at = _varint(payload, at)
            end = at + _half(size)
            if end > len(payload):
                raise IndexError
            found.append(payload[at:end].decode())
            at = end
        count, at = _varint(payload, at)
    return found, at


def _varint(payload: bytes, at: int) -> tuple[int, int]:
    """Returns a number as it is written, before its sign is taken out, and where it ends."""
    byte = payload[at]
    number, shift = byte & 0x7F, 7
    while byte >= _MORE:
        at += 1
        byte = payload[at]
        number |= (byte & 0x7F) << shift
        shift += 7
    if number >> _MOST_BITS + 1:
        raise IndexError
    return number, at + 1


def _half(number: int) -> int:
    """Returns a size, a count or a place, which are never negative."""
    if number & 1:
        raise IndexError
    return number >> 1

"""Reads flat messages of Protobuf as events of the contract, with nothing in between.

A message is flat if its fields are texts, numbers and lists of them; its time may be a Timestamp.
What is not plainly an event is None: it is read as a document (protobuf.py), which says what it is
and what is wrong with it. Limits and times are judged behind both, by the contract's own rules.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Final

from stream.contracts.event import Event
from stream.contracts.times import MAX_TIME_MS
from stream.formats.framed.frame import MOST_SYMBOL, is_sound

MessageEventReader = Callable[[Any], Event | None]
"""Returns the event that a message is; None: only its document says what it is."""

Convert = Callable[[Any], Any]
"""Returns what an event has of the value of a field; raises LookupError for an unusual one."""

_FIELDS: Final = Event.__struct_fields__
_NUMBERS: Final = ("dwell_ms", "value")
_NEEDED: Final = 3
"""The first fields of an event, which must be given."""

_TIMESTAMP: Final = "google.protobuf.Timestamp"


def flat_reader(descriptor: Any) -> MessageEventReader | None:
    """Returns what reads messages of a type; None: they are not flat, or no events."""
    takes: dict[int, tuple[int, Convert]] = {}  # by the number of a field: its place in an event
    for field in descriptor.fields:
        if not _is_flat(field):
            return None
        if field.name in _FIELDS:
            convert = _convert(field)
            if convert is None:
                return None
            takes[field.number] = _FIELDS.index(field.name), convert

    def read(message: Any) -> Event | None:
        values: list[Any] = [None] * len(_FIELDS)
        try:
            for field, value in message.ListFields():
                taken = takes.get(field.number)
                if taken is not None:
                    place, convert = taken
                    values[place] = convert(value)
        except LookupError:
            return None
        if None in values[:_NEEDED]:
            return None
        event = Event(*values)
        return event if is_sound(event) else None

    return read


def _is_flat(field: Any) -> bool:
    """Returns whether a field adds no depth to a document, and little length."""
    if field.message_type is not None:
        return not field.is_repeated and bool(field.message_type.full_name == _TIMESTAMP)
    return field.enum_type is None or not field.is_repeated


def _convert(field: Any) -> Convert | None:
    """Returns what takes a field of the contract from its value, None where its type is unusual."""
    name, is_text = field.name, field.type == field.TYPE_STRING
    if field.is_repeated or name == "categories":
        return _texts if is_text and field.is_repeated and name == "categories" else None
    if field.message_type is not None:
        return _moment if name == "time" else None
    if name == "time":
        return _text if is_text else _itself if field.type in _whole(field) else None
    if name in _NUMBERS:
        fitting = (*_whole(field), field.TYPE_DOUBLE, field.TYPE_FLOAT)
        return _itself if field.type in fitting else None
    if field.enum_type is not None:
        names = {key: each.name for key, each in field.enum_type.values_by_number.items()}
        return names.__getitem__ if max(map(len, names.values())) <= MOST_SYMBOL else None
    return _text if is_text else None


def _whole(field: Any) -> tuple[int, ...]:
    """Returns the types of whole numbers."""
    return (
        field.TYPE_INT32,
        field.TYPE_INT64,
        field.TYPE_UINT32,
        field.TYPE_UINT64,
        field.TYPE_SINT32,
        field.TYPE_SINT64,
        field.TYPE_FIXED32,
        field.TYPE_FIXED64,
        field.TYPE_SFIXED32,
        field.TYPE_SFIXED64,
    )


def _itself(value: Any) -> Any:
    return value


def _text(value: Any) -> str:
    """Returns a text; one of proto2 that is no UTF-8 is bytes."""
    if type(value) is not str:
        raise LookupError
    return value


def _texts(values: Any) -> list[str]:
    return [_text(each) for each in values]


def _moment(value: Any) -> int:
    """Returns the milliseconds of a Timestamp, as its text has them."""
    if not (0 <= value.seconds <= MAX_TIME_MS // 1000 and 0 <= value.nanos < 1_000_000_000):
        raise LookupError
    return int(value.seconds * 1_000 + value.nanos // 1_000_000)

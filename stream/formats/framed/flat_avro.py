"""Reads flat records of Avro as events of the contract, with nothing in between.

Most topics of Avro hold such: texts and numbers that may be null, and a list of texts. They are
read here in a quarter of the time that fastavro and JSON take. What is not plainly an event, by its
schema or by its bytes, is None: it is read as a document (avro.py), which says what it is and what
is wrong with it. Limits and times are judged behind both, by the contract's own rules.

Source: Apache Avro 1.12 specification, "Binary encoding".
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from struct import Struct, error
from textwrap import indent
from typing import Any, Final, NamedTuple

from stream.contracts.event import Event
from stream.formats.framed.frame import MOST_FLAT_BYTES, MOST_SYMBOL, EventReader, is_sound

NULL, TEXT, BYTES, LONG, MICROS, FLOAT, DOUBLE, BOOLEAN, TEXTS, ENUM = range(10)
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
_SIZED: Final = """\
size = payload[at]
at += 1
if size & 0x81:
    size, at = size_at(payload, at - 1)
end = at + (size >> 1)
{value} = payload[at:end]DECODED
at = end
"""
_CODE: Final = {
    NULL: "{value} = None\n",
    TEXT: _SIZED.replace("DECODED", ".decode()"),
    BYTES: _SIZED.replace("DECODED", ""),
    LONG: "{value}, at = number_at(payload, at)\n",
    MICROS: "{value}, at = number_at(payload, at)\n{value} //= 1_000\n",
    FLOAT: "({value},) = float_at(payload, at)\nat += 4\n",
    DOUBLE: "({value},) = double_at(payload, at)\nat += 8\n",
    BOOLEAN: "{value} = (False, True)[payload[at]]\nat += 1\n",
    TEXTS: "{value}, at = texts_at(payload, at)\n",
    ENUM: "size, at = size_at(payload, at)\n{value} = {symbols}[size >> 1]\n",
}
"""Lines that read a value of each kind, from which the reader of a schema is made."""

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

OTHER: Final = "other"
_MORE: Final = 0x80
_MOST_BITS: Final = 64


class Kind(NamedTuple):
    """Holds what a type is read as."""

    number: int
    symbols: tuple[str, ...] = ()  # of an enum

    @property
    def shown(self) -> int:
        """Returns what a value is in a document: an enum is a text."""
        return TEXT if self.number == ENUM else self.number


class FlatField(NamedTuple):
    """Holds what a field of a flat record is."""

    name: str  # of the contract; OTHER: it is none of an event, and is read so that bad bytes show
    kinds: Sequence[Kind]
    union: bool


def flat_fields(schema: Any) -> list[FlatField] | None:
    """Returns the fields of a parsed schema; None: its records are not flat, or no events."""
    if not isinstance(schema, dict) or schema.get("type") != "record":
        return None
    names = [field["name"] for field in schema["fields"]]
    if not {"user_id", "action", "time"} <= set(names):
        return None
    fields: list[FlatField] = []
    for name, field in zip(names, schema["fields"], strict=True):
        union = isinstance(field["type"], list)
        kinds = [_kind(each) for each in (field["type"] if union else [field["type"]])]
        known = [each for each in kinds if each is not None]
        fitting = _FIELDS.get(name)
        if not known or len(known) < len(kinds):
            return None
        if fitting and not {each.shown for each in known} <= fitting:
            return None
        fields.append(FlatField(name if fitting else OTHER, known, union))
    return fields


def flat_reader(fields: Sequence[FlatField]) -> EventReader:
    """Returns what reads records with these fields."""
    code = _Code()
    for field in fields:
        code.add(*field)
    names = {field.name for field in fields}
    values = ", ".join(name if name in names else "None" for name in _FIELDS)
    read_event = code.function(f"return at, Event({values})\n")

    def read(payload: bytes) -> Event | None:
        if len(payload) > MOST_FLAT_BYTES:
            return None
        try:
            end, event = read_event(payload)
        except (LookupError, UnicodeDecodeError, error):
            return None
        return event if end == len(payload) and is_sound(event) else None

    return read


class _Code:
    """Writes the function that reads records of one schema, which costs half of looking it up.

    It is made of the lines above and of the names of the contract; nothing of a schema is in it.
    """

    def __init__(self) -> None:
        self._lines = "at = 0\n"
        self._names: dict[str, Any] = {
            "Event": Event,
            "size_at": _size_at,
            "number_at": _number_at,
            "texts_at": _texts_at,
            "float_at": Struct("<f").unpack_from,
            "double_at": Struct("<d").unpack_from,
        }

    def add(self, value: str, kinds: Sequence[Kind], union: bool) -> None:
        """Adds the lines that read the value of a field into a variable."""
        if not union:
            self._lines += self._of(value, kinds[0])
            return
        self._lines += "branch = payload[at]\nat += 1\n"
        for place, kind in enumerate(kinds):
            self._lines += f"{'elif' if place else 'if'} branch == {2 * place}:\n"
            self._lines += indent(self._of(value, kind), "    ")
        self._lines += "else:\n    raise IndexError\n"

    def _of(self, value: str, kind: Kind) -> str:
        symbols = f"symbols_{len(self._names)}"
        self._names[symbols] = kind.symbols
        return _CODE[kind.number].format(value=value, symbols=symbols)

    def function(self, end: str) -> Callable[[bytes], tuple[int, Event]]:
        """Returns the function, which raises LookupError and the like for unusual bytes."""
        source = f"def read(payload):\n{indent(self._lines + end, '    ')}"
        exec(source, self._names)
        read: Callable[[bytes], tuple[int, Event]] = self._names["read"]
        return read


def _kind(schema: Any) -> Kind | None:
    """Returns what a type is read as, None where it is not flat."""
    if isinstance(schema, str):
        return Kind(_KINDS[schema]) if schema in _KINDS else None
    if not isinstance(schema, dict):
        return None
    kind, logical = schema["type"], str(schema.get("logicalType", ""))
    if kind == "enum":
        symbols = tuple(schema["symbols"])
        return Kind(ENUM, symbols) if max(map(len, symbols)) <= MOST_SYMBOL else None
    if kind == "array":
        return Kind(TEXTS) if _kind(schema["items"]) == Kind(TEXT) else None
    if logical:
        is_micros = kind == "long" and logical.endswith("-timestamp-micros")
        return Kind(MICROS) if is_micros else None
    return _kind(kind)


def _number_at(payload: bytes, at: int) -> tuple[int, int]:
    """Returns a whole number, and where it ends."""
    byte = payload[at]
    number, shift = byte & 0x7F, 7
    while byte >= _MORE:
        at += 1
        byte = payload[at]
        number |= (byte & 0x7F) << shift
        shift += 7
    if number >> _MOST_BITS:
        raise IndexError
    return number >> 1 ^ -(number & 1), at + 1


def _size_at(payload: bytes, at: int) -> tuple[int, int]:
    """Returns twice a size, a count or a place, which are never negative, and where it ends."""
    number, at = _number_at(payload, at)
    if number < 0:
        raise IndexError
    return 2 * number, at


def _texts_at(payload: bytes, at: int) -> tuple[list[str], int]:
    """Returns the texts of an array, and where it ends."""
    found = []
    count, at = _size_at(payload, at)
    while count:
        for _ in range(count >> 1):
            size = payload[at]
            at += 1
            if size & 0x81:
                size, at = _size_at(payload, at - 1)
            end = at + (size >> 1)
            found.append(payload[at:end].decode())
            at = end
        count, at = _size_at(payload, at)
    return found, at

"""Makes readers of Avro: bytes and their writer's schema in, the JSON document out.

fastavro reads the bytes. What a document shows of Avro's types: a record and a map are objects, an
enum is its symbol, a union the value of its branch; bytes are base64, a decimal is a number. Every
timestamp is whole Unix milliseconds, whatever unit its schema names; a local one is text without a
zone, and a date is text.

A schema is refused if a few bytes could stand for endless data: a type that holds itself, and an
array of what takes no bytes.

Source: Apache Avro 1.12 specification, "Binary encoding" and "Logical types".
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Mapping
from datetime import date, datetime, timedelta
from io import BytesIO
from typing import Any, Final
from uuid import UUID

import msgspec

from stream.contracts.faults import BadEvent
from stream.formats.framed.flat_avro import flat_fields, flat_reader
from stream.formats.framed.flat_columns import column_reader
from stream.formats.framed.frame import MOST_FLAT_BYTES, Reader, RegisteredSchema, unusable

_PRIMITIVES: Final = (
    "null",
    "boolean",
    "int",
    "long",
    "float",
    "double",
    "bytes",
    "string",
)
_EPOCH: Final = datetime(1970, 1, 1)
_OWN: Final = "interest-stream-"
"""Before the names of logical types as they are read here: fastavro has readers of its own."""


def _decimal(value: bytes, schema: Any, _reader: Any = None) -> float:
    return float(int.from_bytes(value, "big", signed=True) / 10 ** int(schema.get("scale", 0)))


def _local(units_per_s: int) -> Callable[..., str]:
    def read(value: int, _schema: Any = None, _reader: Any = None) -> str:
        seconds, rest = divmod(value, units_per_s)
        moment = _EPOCH + timedelta(seconds=seconds, microseconds=rest * 1_000_000 // units_per_s)
        return moment.isoformat()

    return read


_READ: Final[Mapping[str, Callable[..., Any]]] = {
    "long-timestamp-micros": lambda value, *_: value // 1_000,
    "long-timestamp-nanos": lambda value, *_: value // 1_000_000,
    "long-local-timestamp-millis": _local(1_000),
    "long-local-timestamp-micros": _local(1_000_000),
    "long-local-timestamp-nanos": _local(1_000_000_000),
    "int-date": lambda value, *_: (date(1970, 1, 1) + timedelta(days=value)).isoformat(),
    "bytes-decimal": _decimal,
    "fixed-decimal": _decimal,
    "fixed-uuid": lambda value, *_: str(UUID(bytes=value)),
}
"""Reads each logical type that is not shown as it is stored, by its type and name."""


def avro_reader(schema: RegisteredSchema) -> Reader:
    """Returns what reads the values of an Avro schema; raises BadEvent if it cannot be used."""
    from fastavro import parse_schema, schemaless_reader
    from fastavro.read import LOGICAL_READERS

    for name, read_ in _READ.items():
        kind, _, logical = name.partition("-")
        LOGICAL_READERS[f"{kind}-{_OWN}{logical}"] = read_
    named: dict[str, Any] = {}
    try:
        for each in _texts(schema):
            parsed = parse_schema(_own_types(json.loads(each)), named_schemas=named)
        _ensure_bounded(parsed, named, ())
    except BadEvent:
        raise
    except Exception as error:  # of wrong schemas fastavro raises a dozen kinds
        raise unusable("Avro schema", error) from None
    encode = msgspec.json.Encoder().encode

    def read(payload: bytes) -> bytes:
        # a byte more than there are: whatever would be read beyond the end is noticed there
        stream = BytesIO(payload + b"\0")
        try:
            document = schemaless_reader(stream, parsed, None)
            if stream.tell() == len(payload):
                return encode(document)
        except Exception as error:  # whatever bytes lead to
            raise _mismatch(str(error) or "they end too early", type(error).__name__) from None
        over = len(payload) - stream.tell()
        raise _mismatch(f"{over} are left over" if over > 0 else "they end too early")

    fields = flat_fields(parsed) if len(schema.text) <= MOST_FLAT_BYTES else None
    if fields is None:
        return Reader(read)
    return Reader(read, flat_reader(fields), column_reader(fields))


def _mismatch(what: str, error: str = "BadEvent") -> BadEvent:
    return BadEvent(
        "schema-mismatch",
        f"the bytes are not what their Avro schema says: {what}; send them with the id of the "
        "schema that they were written with",
        error,
    )


def _texts(schema: RegisteredSchema) -> Iterator[str]:
    """Yields the texts of what a schema refers to, then its own: a name is known before its use."""
    for _, each in schema.references:
        yield from _texts(each)
    yield schema.text


def _own_types(schema: Any) -> Any:
    """Returns a schema in which each logical type is read as this module says."""
    if isinstance(schema, list):
        return [_own_types(each) for each in schema]
    if not isinstance(schema, dict):
        return schema
    found = {
        name: _own_types(each) if name in ("type", "items", "values", "fields") else each
        for name, each in schema.items()
    }
    logical = found.pop("logicalType", None)
    if isinstance(logical, str) and f"{schema.get('type')}-{logical}" in _READ:
        found["logicalType"] = _OWN + logical
    return found


def _ensure_bounded(schema: Any, named: Mapping[str, Any], inside: tuple[str, ...]) -> bool:
    """Returns whether a value of a schema takes at least a byte.

    Raises BadEvent where few bytes could stand for endless data.
    """
    if isinstance(schema, list):
        for each in schema:
            _ensure_bounded(each, named, inside)
        return True
    if isinstance(schema, str):
        if schema in _PRIMITIVES:
            return schema != "null"
        return _ensure_bounded(named[schema], named, inside)
    kind = schema["type"]
    if kind in ("record", "error"):
        return _is_bounded_record(schema, named, inside)
    if kind == "array" and not _ensure_bounded(schema["items"], named, inside):
        raise BadEvent("bad-schema", "it has an array of what takes no bytes; send a number")
    if kind == "map":
        _ensure_bounded(schema["values"], named, inside)
    if kind == "fixed":
        return int(schema["size"]) > 0
    return kind in ("array", "map", "enum") or _ensure_bounded(kind, named, inside)


def _is_bounded_record(schema: Any, named: Mapping[str, Any], inside: tuple[str, ...]) -> bool:
    name = schema["name"]
    if name in inside:
        raise BadEvent("bad-schema", f"the type {name} holds itself; send it flat")
    within = (*inside, name)
    takes = [_ensure_bounded(each["type"], named, within) for each in schema["fields"]]
    return any(takes)

"""Makes readers of Protobuf: bytes and the registry's descriptor in, the JSON document out.

No compiled class is needed: the descriptor of the file comes with the schema
(schema_registry/protos.py), and Google's library makes the message of it. A document has the field
names of the .proto file. 64-bit integers are numbers, enums their names, bytes base64; a Timestamp
is RFC 3339 in UTC, a wrapper its value, a Struct its object. A field that was not set is left out,
and so is one of proto3 that has the zero of its type.

Sources: Protocol Buffers, "Encoding" and "ProtoJSON format"; Confluent, "Wire format", for the
message indexes before the bytes.
"""

from __future__ import annotations

from base64 import b64decode, b64encode
from collections.abc import Iterator
from functools import cache
from importlib import import_module
from typing import Any, Final

import msgspec

from stream.contracts.event import Event
from stream.contracts.faults import BadEvent
from stream.formats.framed.flat_protobuf import MessageEventReader, flat_reader
from stream.formats.framed.frame import MOST_FLAT_BYTES, Reader, RegisteredSchema, unusable

MOST_INDEXES: Final = 64
"""Of nested messages before a value; files nest a few."""

WELL_KNOWN: Final = ("any", "duration", "empty", "field_mask", "struct", "timestamp", "wrappers")
"""Files of google.protobuf that every program has."""

_WRAPPERS: Final = frozenset(
    f"google.protobuf.{name}Value"
    for name in ("Double", "Float", "Int64", "UInt64", "Int32", "UInt32", "Bool", "String", "Bytes")
)
_AS_JSON: Final = frozenset(
    f"google.protobuf.{name}"
    for name in ("Timestamp", "Duration", "Struct", "Value", "ListValue", "FieldMask")
)
"""Messages that Google's JSON mapping shows as one value, and so does a document."""


def protobuf_reader(schema: RegisteredSchema) -> Reader:
    """Returns what reads the values of a Protobuf schema; raises BadEvent if it cannot be used."""
    from google.protobuf.message import DecodeError
    from google.protobuf.message_factory import GetMessageClass

    try:
        file = _file_of(schema)
    except Exception as error:  # of wrong descriptors the library raises several kinds
        raise unusable("Protobuf file", error) from None
    encode = msgspec.json.Encoder().encode
    is_short = len(schema.text) <= MOST_FLAT_BYTES

    @cache
    def message_at(indexes: tuple[int, ...]) -> tuple[Any, MessageEventReader | None]:
        found, *inner = (list(file.message_types_by_name.values())[indexes[0]], *indexes[1:])
        for each in inner:
            found = found.nested_types[each]
        return GetMessageClass(found), flat_reader(found) if is_short else None

    def read(payload: bytes) -> bytes:
        try:
            indexes, at = message_indexes(payload)
            message = message_at(indexes)[0]()
            message.MergeFromString(payload[at:])
            return encode(_object(message))
        except BadEvent:
            raise
        except (DecodeError, IndexError, ValueError) as error:
            raise _mismatch(str(error), type(error).__name__) from None

    def event(payload: bytes) -> Event | None:
        if len(payload) > MOST_FLAT_BYTES:
            return None
        try:
            indexes, at = message_indexes(payload)
            kind, event_of = message_at(indexes)
            return None if event_of is None else event_of(kind.FromString(payload[at:]))
        except (BadEvent, DecodeError, IndexError, ValueError):
            return None

    return Reader(read, event)


def message_indexes(payload: bytes) -> tuple[tuple[int, ...], int]:
    """Returns which message of its file a payload is, and where the message begins.

    A path goes from a message to one that is declared in it. Raises BadEvent.
    """
    first, second = payload[:1], payload[1:2]
    if first == b"\0":
        return (0,), 1  # the first message of the file, which most are
    if first == b"\2" and second < b"\x80" and second and second[0] & 1 == 0:
        return (second[0] >> 1,), 2  # another one
    numbers = _zigzags(payload)
    count, at = next(numbers)
    if count == 0:
        return (0,), at
    if not 0 < count <= MOST_INDEXES:
        raise _mismatch(f"{count} message indexes before the message")
    found = []
    for _ in range(count):
        number, at = next(numbers)
        if number < 0:
            raise _mismatch(f"the message index {number}")
        found.append(number)
    return tuple(found), at


def _zigzags(payload: bytes) -> Iterator[tuple[int, int]]:
    """Yields numbers as Protobuf's sint32 has them, each with the place behind it."""
    value = shift = 0
    for at, byte in enumerate(payload):
        value |= (byte & 0x7F) << shift
        shift += 7
        if byte < 0x80:
            yield value >> 1 ^ -(value & 1), at + 1
            value = shift = 0
        elif shift > 63:
            break
    raise _mismatch("the message indexes before it end too early")


def _file_of(schema: RegisteredSchema) -> Any:
    """Returns the descriptor of a file, with what it imports."""
    from google.protobuf import descriptor_pb2
    from google.protobuf.descriptor_pool import DescriptorPool

    pool = DescriptorPool()
    for each in _well_known():
        pool.AddSerializedFile(each.serialized_pb)

    def add(name: str, given: RegisteredSchema) -> None:
        for inner, each in given.references:
            add(inner, each)
        proto = descriptor_pb2.FileDescriptorProto()
        proto.MergeFromString(b64decode(given.text, validate=True))
        proto.name = name
        pool.Add(proto)

    add("value.proto", schema)
    return pool.FindFileByName("value.proto")


def _well_known() -> list[Any]:
    """Returns the files that come with Protobuf and that no registry holds."""
    return [import_module(f"google.protobuf.{name}_pb2").DESCRIPTOR for name in WELL_KNOWN]


def _object(message: Any) -> Any:
    """Returns what a message says, as JSON will have it."""
    name = message.DESCRIPTOR.full_name
    if name in _WRAPPERS:
        return _plain(message.DESCRIPTOR.fields_by_name["value"], message.value)
    if name in _AS_JSON:
        from google.protobuf.json_format import MessageToDict

        return MessageToDict(message)
    return {field.name: _field(field, value) for field, value in message.ListFields()}


def _field(field: Any, value: Any) -> Any:
    if field.message_type is not None and field.message_type.GetOptions().map_entry:
        inner = field.message_type.fields_by_name["value"]
        return {_key(each): _plain(inner, value[each]) for each in value}
    if field.is_repeated:
        return [_plain(field, each) for each in value]
    return _plain(field, value)


def _key(key: Any) -> str:
    return str(key).lower() if isinstance(key, bool) else str(key)


def _plain(field: Any, value: Any) -> Any:
    """Returns one value of a field."""
    if field.message_type is not None:
        return _object(value)
    if field.enum_type is not None:
        known = field.enum_type.values_by_number.get(value)
        return value if known is None else known.name
    return b64encode(value).decode() if isinstance(value, bytes) else value


def _mismatch(what: str, error: str = "BadEvent") -> BadEvent:
    return BadEvent(
        "schema-mismatch",
        f"the bytes are not what their Protobuf schema says: {what}; send them with the id of the "
        "schema that they were written with",
        error,
    )

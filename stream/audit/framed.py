"""Reads values in a schema registry's wire format, for the audit.

The frame, Avro and JSON are read by code of the audit's own. Two things are shared with the
workers: the client that fetches a schema by its id, which reads no value; and, for Protobuf,
Google's library, whose own JSON is read here and the workers' is not.
"""

from __future__ import annotations

import json
from base64 import b64decode
from collections.abc import Callable, Iterable
from typing import Any, Final

from stream.audit.avro import Bytes, Names
from stream.audit.documents import Headers, Meant, NotReadableError
from stream.audit.event_rules import contract_event

Read = Callable[[bytes], bytes]


class Frames:
    """Knows what the ids of schemas stand for, and reads values by them."""

    def __init__(self) -> None:
        self._schemas: dict[int, Read | None] = {}

    def missing(self, records: Iterable[Any]) -> set[int]:
        """Returns the ids that records name and that are not known."""
        found = {_id(each.value) for each in records if _is_framed(each.value)}
        return {each for each in found if each not in self._schemas}

    def learn(self, schema_id: int, schema: Any) -> None:
        """Notes what an id stands for; None: the registry has no such schema."""
        try:
            self._schemas[schema_id] = None if schema is None else _READ[schema.kind](schema)
        except Exception:  # of a schema that is none: no value of it can be read
            self._schemas[schema_id] = None

    def forget(self, schema_id: int) -> None:
        """Lets an id be asked for again."""
        self._schemas.pop(schema_id, None)

    def document_of(self, value: bytes) -> bytes:
        """Returns the JSON that a value stands for; raises NotReadableError."""
        if not value.startswith(b"\0"):
            return value
        read = self._schemas[_id(value)] if _is_framed(value) else None
        if read is None:
            raise NotReadableError
        document = read(value[5:])
        if len(document) > MOST_BYTES:
            raise NotReadableError
        return document


MOST_BYTES: Final = 4 << 20
"""Of the document that a value stands for."""


def contract(document: bytes, headers: Headers, received_ms: int | None) -> Meant:
    """Returns what an object of the contract means."""
    event = contract_event(document)
    if event is None:
        raise NotReadableError
    return Meant([event])


def _is_framed(value: Any) -> bool:
    return isinstance(value, bytes) and len(value) > 4 and value[0] == 0


def _id(value: bytes) -> int:
    return int.from_bytes(value[1:5], "big")


def _texts(schema: Any) -> list[str]:
    """Returns the texts of what a schema refers to, then its own."""
    return [text for _, each in schema.references for text in _texts(each)] + [schema.text]


def _avro(schema: Any) -> Read:
    names = Names()
    for text in _texts(schema):
        own = json.loads(text)
        names.add(own)
    names.least_bytes(own)

    def read(payload: bytes) -> bytes:
        try:
            return json.dumps(Bytes(payload, names).whole(own)).encode()
        except (ValueError, KeyError, RecursionError):
            raise NotReadableError from None

    return read


def _json_schema(schema: Any) -> Read:
    return bytes


def _protobuf(schema: Any) -> Read:
    from google.protobuf import (
        descriptor_pb2,
        descriptor_pool,
        json_format,
        message,
        message_factory,
    )

    # the files that come with Protobuf are in the library's own pool
    from google.protobuf import (  # isort: skip
        any_pb2 as _any,
        duration_pb2 as _duration,
        empty_pb2 as _empty,
        field_mask_pb2 as _mask,
        struct_pb2 as _struct,
        timestamp_pb2 as _timestamp,
        wrappers_pb2 as _wrappers,
    )

    pool = descriptor_pool.DescriptorPool()
    for each in (_any, _duration, _empty, _mask, _struct, _timestamp, _wrappers):
        pool.AddSerializedFile(each.DESCRIPTOR.serialized_pb)
    file = None
    for name, text in _named_texts("audited.proto", schema):
        proto = descriptor_pb2.FileDescriptorProto.FromString(b64decode(text, validate=True))
        proto.name = name
        pool.Add(proto)
        file = proto

    def read(payload: bytes) -> bytes:
        try:
            path, rest = _path(payload)
            found, name = file, ""
            types: Any = found.message_type if found is not None else ()
            names = [file.package] if file is not None and file.package else []
            for each in path:
                names.append(types[each].name)
                types = types[each].nested_type
            name = ".".join(names)
            kind = message_factory.GetMessageClass(pool.FindMessageTypeByName(name))
            given = kind.FromString(rest)
            shown = json_format.MessageToDict(given, preserving_proto_field_name=True)
            return json.dumps(_numbers(shown, kind.DESCRIPTOR)).encode()
        except (message.DecodeError, IndexError, KeyError, ValueError, json_format.Error):
            raise NotReadableError from None

    return read


def _named_texts(name: str, schema: Any) -> list[tuple[str, str]]:
    inner = [each for named, other in schema.references for each in _named_texts(named, other)]
    return list(dict([*inner, (name, schema.text)]).items())


def _path(payload: bytes) -> tuple[list[int], bytes]:
    """Returns the place of a message among those of its file, and the message."""
    numbers, at = list[int](), 0
    count: int | None = None
    while count is None or len(numbers) < count:
        value = shift = 0
        while True:
            byte = payload[at]
            at += 1
            value |= (byte & 0x7F) << shift
            shift += 7
            if byte < 0x80:
                break
            if shift > 63:
                raise IndexError
        value = value >> 1 ^ -(value & 1)
        if value < 0:
            raise IndexError
        if count is None:
            count = value
            if count > 64:
                raise IndexError
        else:
            numbers.append(value)
    return (numbers or [0]), payload[at:]


_LONGS: Final = (3, 4, 6, 16, 18)  # int64, uint64, fixed64, sfixed64, sint64: JSON has them as text


def _numbers(shown: Any, kind: Any) -> Any:
    """Returns Google's JSON of a message with 64-bit integers as numbers."""
    if kind.full_name in ("google.protobuf.Int64Value", "google.protobuf.UInt64Value"):
        return int(shown)
    if kind.full_name.startswith("google.protobuf."):
        return shown
    found: dict[str, Any] = {}
    for field in kind.fields:
        if field.name not in shown:
            continue
        value, of = shown[field.name], field
        is_map = field.message_type is not None and field.message_type.GetOptions().map_entry
        if is_map:
            of = field.message_type.fields_by_name["value"]
            found[field.name] = {name: _number(each, of) for name, each in value.items()}
        elif isinstance(value, list) and field.is_repeated:
            found[field.name] = [_number(each, of) for each in value]
        else:
            found[field.name] = _number(value, of)
    return found


def _number(value: Any, field: Any) -> Any:
    if field.message_type is not None:
        return _numbers(value, field.message_type)
    if field.type in _LONGS:
        return int(value)
    # Google's JSON has words for these, and JSON has not
    return None if value in ("NaN", "Infinity", "-Infinity") and field.type in (1, 2) else value


_READ: Final[dict[str, Callable[[Any], Read]]] = {
    "AVRO": _avro,
    "JSON": _json_schema,
    "PROTOBUF": _protobuf,
}

"""Makes values in a schema registry's wire format: events of the contract, Avro and Protobuf."""

from __future__ import annotations

import io
from base64 import b64encode
from collections.abc import Iterable
from typing import Any, Final

from fastavro import parse_schema, schemaless_writer
from google.protobuf import descriptor_pb2
from google.protobuf.descriptor_pool import DescriptorPool
from google.protobuf.message_factory import GetMessageClass

EVENT: Final[dict[str, Any]] = {
    "type": "record",
    "name": "Event",
    "namespace": "shop",
    "fields": [
        {"name": "user_id", "type": "string"},
        {"name": "action", "type": "string"},
        {"name": "time", "type": {"type": "long", "logicalType": "timestamp-millis"}},
        {"name": "item_id", "type": ["null", "string"], "default": None},
        {"name": "title", "type": ["null", "string"], "default": None},
        {
            "name": "categories",
            "type": ["null", {"type": "array", "items": "string"}],
            "default": None,
        },
        {"name": "event_id", "type": ["null", "string"], "default": None},
        {"name": "value", "type": ["null", "double"], "default": None},
    ],
}
"""An event of the contract as a producer of Avro would declare it."""

EVOLVED: Final[dict[str, Any]] = {
    **EVENT,
    "fields": [
        {"name": "campaign", "type": ["null", "string"], "default": None},
        *EVENT["fields"][:3],
        {"name": "dwell_ms", "type": ["null", "long"], "default": None},
        *EVENT["fields"][3:7],
    ],
}
"""A later version: fields more, a field less, in another order."""


def avro(schema: Any, document: Any) -> bytes:
    """Returns a document as Avro."""
    out = io.BytesIO()
    schemaless_writer(out, parse_schema(schema, {}), document)
    return out.getvalue()


_TYPES: Final = descriptor_pb2.FieldDescriptorProto
PROTO_FIELDS: Final = (
    ("user_id", _TYPES.TYPE_STRING),
    ("action", _TYPES.TYPE_STRING),
    ("time", _TYPES.TYPE_INT64),
    ("item_id", _TYPES.TYPE_STRING),
    ("value", _TYPES.TYPE_DOUBLE),
    ("categories", _TYPES.TYPE_STRING),
)


def event_proto() -> descriptor_pb2.FileDescriptorProto:
    """Returns a file with a message `Other` and an `Event` of the contract, in that order."""
    file = descriptor_pb2.FileDescriptorProto(name="event.proto", syntax="proto3")
    file.message_type.add(name="Other")
    labels = {"categories": _TYPES.LABEL_REPEATED}
    add_fields(
        file.message_type.add(name="Event"),
        [(name, kind, labels.get(name, _TYPES.LABEL_OPTIONAL), "") for name, kind in PROTO_FIELDS],
    )
    return file


def add_fields(message: Any, fields: Iterable[tuple[str, Any, Any, str]]) -> None:
    """Adds fields to a message type: the name, type and label of each, and the name of its type."""
    for number, (name, kind, label, of) in enumerate(fields, 1):
        message.field.add(name=name, number=number, type=kind, label=label, type_name=of or None)


EVENT_PROTO: Final = """syntax = "proto3";

message Other {}

message Event {
  string user_id = 1;
  string action = 2;
  int64 time = 3;
  string item_id = 4;
  double value = 5;
  repeated string categories = 6;
}
"""
"""The same as a registry holds it."""


def serialized(file: descriptor_pb2.FileDescriptorProto) -> str:
    """Returns a file as a registry gives it."""
    return b64encode(file.SerializeToString()).decode()


def proto_event(fields: dict[str, Any]) -> bytes:
    """Returns an event as Protobuf, behind the place of `Event` in its file."""
    pool = DescriptorPool()
    pool.Add(event_proto())
    message = GetMessageClass(pool.FindMessageTypeByName("Event"))
    return b"\x02\x02" + bytes(message(**fields).SerializeToString())

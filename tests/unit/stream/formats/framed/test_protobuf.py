"""Reads Protobuf without compiled classes, and agrees with the audit's own reading."""

from __future__ import annotations

from typing import Any

import orjson
import pytest
from google.protobuf import descriptor_pb2, timestamp_pb2, wrappers_pb2
from google.protobuf.descriptor_pool import DescriptorPool
from google.protobuf.message_factory import GetMessageClass

from stream.audit.documents import NotReadableError
from stream.audit.framed import Frames
from stream.contracts.faults import BadEvent
from stream.formats.framed.frame import PROTOBUF, RegisteredSchema, framed
from stream.formats.framed.protobuf import message_indexes, protobuf_reader
from tests.support.framed import add_fields, event_proto, serialized

FIELDS = descriptor_pb2.FieldDescriptorProto


def registered(file: Any, *references: tuple[str, RegisteredSchema]) -> RegisteredSchema:
    return RegisteredSchema(PROTOBUF, serialized(file), references)


def message(file: Any, name: str, *others: Any) -> Any:
    """An empty message of a file."""
    pool = DescriptorPool()
    for each in (timestamp_pb2, wrappers_pb2):
        pool.AddSerializedFile(each.DESCRIPTOR.serialized_pb)
    for each in (*others, file):
        pool.Add(each)
    return GetMessageClass(pool.FindMessageTypeByName(name))()


def both(schema: RegisteredSchema, payload: bytes) -> Any:
    """What the workers read, after a look that the audit reads the same."""
    frames = Frames()
    frames.learn(7, schema)
    document = orjson.loads(protobuf_reader(schema)(payload))
    assert orjson.loads(frames.document_of(framed(7, payload))) == document
    return document


def test_an_event_of_the_contract_is_read_as_it_was_written() -> None:
    file = event_proto()
    given = message(file, "Event")
    fields = {"user_id": "ü", "action": "view", "time": 1_800_000_000_123, "item_id": "x"}
    for name, value in fields.items():
        setattr(given, name, value)
    given.categories.extend(["a", "b"])
    # index 1 of the file's messages, as Confluent's serializer writes it
    found = both(registered(file), b"\x02\x02" + given.SerializeToString())
    assert found == {**fields, "categories": ["a", "b"]}


def test_each_kind_of_field_is_shown_as_the_page_says() -> None:
    file = descriptor_pb2.FileDescriptorProto(name="a.proto", syntax="proto3")
    file.dependency.extend(
        ["google/protobuf/timestamp.proto", "google/protobuf/wrappers.proto", "lib/item.proto"]
    )
    item = descriptor_pb2.FileDescriptorProto(name="lib/item.proto", package="lib", syntax="proto3")
    item.message_type.add(name="Item").field.add(
        name="sku", number=1, type=FIELDS.TYPE_STRING, label=FIELDS.LABEL_OPTIONAL
    )
    colour = file.enum_type.add(name="Colour")
    colour.value.add(name="NONE", number=0)
    colour.value.add(name="RED", number=1)
    outer = file.message_type.add(name="Outer")
    inner = outer.nested_type.add(name="Inner")
    entry = inner.nested_type.add(name="CountsEntry")
    entry.options.map_entry = True
    many, one = FIELDS.LABEL_REPEATED, FIELDS.LABEL_OPTIONAL
    add_fields(entry, [("key", FIELDS.TYPE_STRING, one, ""), ("value", FIELDS.TYPE_INT64, one, "")])
    add_fields(
        inner,
        [
            ("when", FIELDS.TYPE_MESSAGE, one, ".google.protobuf.Timestamp"),
            ("big", FIELDS.TYPE_MESSAGE, one, ".google.protobuf.Int64Value"),
            ("items", FIELDS.TYPE_MESSAGE, many, ".lib.Item"),
            ("colours", FIELDS.TYPE_ENUM, many, ".Colour"),
            ("counts", FIELDS.TYPE_MESSAGE, many, ".Outer.Inner.CountsEntry"),
            ("raw", FIELDS.TYPE_BYTES, one, ""),
            ("number", FIELDS.TYPE_UINT64, one, ""),
            ("ratio", FIELDS.TYPE_DOUBLE, one, ""),
        ],
    )
    given = message(file, "Outer.Inner", item)
    given.when.FromJsonString("2027-01-15T08:00:00.123Z")
    given.big.value = -(2**63)
    given.items.add(sku="a")
    given.items.add(sku="b")
    given.colours.extend([1, 7])
    given.counts["k"] = 2**40
    given.raw, given.number, given.ratio = b"\0\xff", 2**64 - 1, float("nan")
    schema = registered(file, ("lib/item.proto", registered(item)))
    found = both(schema, b"\x04\x00\x00" + given.SerializeToString())
    assert found == {
        "when": "2027-01-15T08:00:00.123Z",
        "big": -(2**63),
        "items": [{"sku": "a"}, {"sku": "b"}],
        "colours": ["RED", 7],
        "counts": {"k": 2**40},
        "raw": "AP8=",
        "number": 2**64 - 1,
        "ratio": None,
    }


def test_the_first_message_has_a_short_path() -> None:
    assert message_indexes(b"\x00rest") == ((0,), 1)
    assert message_indexes(b"\x04\x02\x00rest") == ((1, 0), 3)


@pytest.mark.parametrize(
    "payload", [b"", b"\x02", b"\x01", b"\x02\x01", b"\x02\x7f", b"\xff" * 12, b"\x02\x02\x0a\xff"]
)
def test_bytes_that_are_not_as_their_schema_says_are_refused_by_both(payload: bytes) -> None:
    schema, frames = registered(event_proto()), Frames()
    frames.learn(7, schema)
    with pytest.raises(BadEvent) as caught:
        protobuf_reader(schema)(payload)
    assert caught.value.reason == "schema-mismatch"
    with pytest.raises(NotReadableError):
        frames.document_of(framed(7, payload))


@pytest.mark.parametrize("text", ["", "no base64!", 'syntax = "proto3";', "AP8="])
def test_what_is_no_descriptor_is_refused(text: str) -> None:
    schema = RegisteredSchema(PROTOBUF, text)
    with pytest.raises(BadEvent) as caught:
        protobuf_reader(schema)(b"\0")
    assert caught.value.reason in ("bad-schema", "schema-mismatch")

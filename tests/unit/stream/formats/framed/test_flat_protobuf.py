"""Reads flat Protobuf at once as what its document says, or leaves it to the document."""

from __future__ import annotations

import random
from typing import Any

import pytest
from google.protobuf import descriptor_pb2

from stream.contracts.event import Event
from stream.formats.framed.frame import Reader
from stream.formats.framed.protobuf import protobuf_reader
from tests.support.framed import add_fields, event_proto, proto_event
from tests.unit.stream.formats.framed.test_flat_avro import as_document, timed
from tests.unit.stream.formats.framed.test_protobuf import message, registered

FIELDS = descriptor_pb2.FieldDescriptorProto
ONE, MANY = FIELDS.LABEL_OPTIONAL, FIELDS.LABEL_REPEATED


def all_kinds(*more: tuple[str, Any, Any, str]) -> descriptor_pb2.FileDescriptorProto:
    """Returns a file whose one message has every kind of field that is read at once, and more."""
    file = descriptor_pb2.FileDescriptorProto(name="all.proto", syntax="proto2")
    file.dependency.extend(["google/protobuf/timestamp.proto", "google/protobuf/wrappers.proto"])
    action = file.enum_type.add(name="Action")
    for number, name in enumerate(("view", "click")):
        action.value.add(name=name, number=number)
    kinds = [
        ("user_id", FIELDS.TYPE_STRING, ONE, ""),
        ("action", FIELDS.TYPE_ENUM, ONE, ".Action"),
        ("time", FIELDS.TYPE_MESSAGE, ONE, ".google.protobuf.Timestamp"),
        ("item_id", FIELDS.TYPE_STRING, ONE, ""),
        ("value", FIELDS.TYPE_FLOAT, ONE, ""),
        ("dwell_ms", FIELDS.TYPE_SINT64, ONE, ""),
        ("categories", FIELDS.TYPE_STRING, MANY, ""),
        ("raw", FIELDS.TYPE_BYTES, ONE, ""),
        ("flags", FIELDS.TYPE_BOOL, MANY, ""),
        *more,
    ]
    add_fields(file.message_type.add(name="Event"), kinds)
    return file


def reader_of(file: Any) -> Reader:
    return protobuf_reader(registered(file))


def drawn(file: Any, random_: random.Random) -> bytes:
    given = message(file, "Event")
    given.user_id = random_.choice(("", "u", "é" * 40))
    given.action = random_.choice((0, 1))
    given.time.seconds = random_.choice((0, -5, 1_800_000_000, 253_402_300_799))
    given.time.nanos = random_.choice((0, 999_999_999, 123_456_789))
    if random_.random() < 0.5:
        given.item_id = random_.choice(("", "x"))
    given.value = random_.choice((0.1, float("nan"), float("-inf")))
    given.dwell_ms = random_.choice((0, -1, 2**53 + 1))
    given.categories.extend(random_.choice(([], ["a", ""])))
    given.raw, _ = b"\xff", given.flags.extend([True, False])
    for name in ("user_id", "action", "time", "value", "dwell_ms"):
        if random_.random() < 0.1:
            given.ClearField(name)
    return b"\x00" + bytes(given.SerializeToString())


def test_an_event_is_what_its_document_says() -> None:
    file, random_, at_once = all_kinds(), random.Random(3), 0
    read = reader_of(file)
    assert read.event is not None
    for _ in range(400):
        payload = drawn(file, random_)
        broken = bytearray(payload)
        broken[random_.randrange(len(broken))] = random_.randrange(256)
        for each in (payload, bytes(broken), payload[:-1]):
            event = read.event(each)
            if event is not None:
                at_once += 1
                assert timed(event) == as_document(read, each), each
    assert at_once > 50


def test_the_usual_is_read_at_once() -> None:
    event = {"user_id": "u", "action": "view", "time": 1_800_000_000_123, "item_id": "x"}
    read = reader_of(event_proto()).event
    assert read is not None
    assert read(proto_event({**event, "categories": ["a"]})) == Event(
        **event,  # type: ignore[arg-type]
        categories=["a"],
    )
    assert read(b"\x00") is None  # of the message `Other`


@pytest.mark.parametrize(
    "more",
    [
        ("title", FIELDS.TYPE_BYTES, ONE, ""),
        ("query", FIELDS.TYPE_STRING, MANY, ""),
        ("extra", FIELDS.TYPE_MESSAGE, ONE, ".Event"),
        ("session_id", FIELDS.TYPE_INT64, ONE, ""),
        ("tags", FIELDS.TYPE_ENUM, MANY, ".Action"),
        ("event_id", FIELDS.TYPE_MESSAGE, ONE, ".google.protobuf.StringValue"),
    ],
    ids=lambda more: more[0],
)
def test_what_is_not_flat_is_left_to_the_document(more: tuple[str, Any, Any, str]) -> None:
    file = all_kinds(more)
    given = message(file, "Event")
    given.user_id, given.action, given.time.seconds, given.item_id = "u", 0, 1_800_000_000, "x"
    read = reader_of(file)
    payload = b"\x00" + bytes(given.SerializeToString())
    assert read.event is not None
    assert read.event(payload) is None
    assert isinstance(as_document(read, payload), Event)

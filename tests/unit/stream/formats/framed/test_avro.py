"""Reads Avro as documents, refuses what is none, and agrees with the audit's own reading."""

from __future__ import annotations

import datetime
import decimal
import json
import random
import uuid
from typing import Any

import orjson
import pytest

from stream.audit.documents import NotReadableError
from stream.audit.framed import Frames
from stream.contracts.faults import BadEvent
from stream.formats.framed.avro import avro_reader
from stream.formats.framed.frame import AVRO, RegisteredSchema, framed
from tests.support.framed import EVENT, EVOLVED, avro


def registered(schema: Any, *references: tuple[str, RegisteredSchema]) -> RegisteredSchema:
    return RegisteredSchema(AVRO, json.dumps(schema), references)


def both(schema: RegisteredSchema, payload: bytes) -> Any:
    """What the workers read, after a look that the audit reads the same."""
    frames = Frames()
    frames.learn(7, schema)
    document = orjson.loads(avro_reader(schema)(payload))
    assert orjson.loads(frames.document_of(framed(7, payload))) == document
    return document


def shown(kind: Any, value: Any) -> Any:
    schema = {"type": "record", "name": "R", "fields": [{"name": "f", "type": kind}]}
    return both(registered(schema), avro(schema, {"f": value}))["f"]


def test_an_event_of_the_contract_is_read_as_it_was_written() -> None:
    event = {
        "user_id": "ü",
        "action": "view",
        "time": 1_800_000_000_123,
        "item_id": "x",
        "title": None,
        "categories": ["a", "b"],
        "event_id": None,
        "value": 2.5,
    }
    assert both(registered(EVENT), avro(EVENT, event)) == event


def test_a_later_version_is_read_by_its_own_schema() -> None:
    event = {"user_id": "u", "action": "view", "time": 1, "dwell_ms": 4, "campaign": "c"}
    found = both(registered(EVOLVED), avro(EVOLVED, event))
    assert {name: each for name, each in found.items() if each is not None} == event


UTC = datetime.UTC
MOMENT = datetime.datetime(2027, 1, 15, 8, 0, 0, 123_456, UTC)
LOGICAL = [
    ({"type": "long", "logicalType": "timestamp-millis"}, MOMENT, 1_800_000_000_123),
    ({"type": "long", "logicalType": "timestamp-micros"}, MOMENT, 1_800_000_000_123),
    (
        {"type": "long", "logicalType": "timestamp-nanos"},
        1_800_000_000_123_456_789,
        1_800_000_000_123,
    ),
    (
        {"type": "long", "logicalType": "local-timestamp-millis"},
        1_500,
        "1970-01-01T00:00:01.500000",
    ),
    ({"type": "long", "logicalType": "local-timestamp-micros"}, 2_000_000, "1970-01-01T00:00:02"),
    ({"type": "int", "logicalType": "date"}, datetime.date(2027, 1, 15), "2027-01-15"),
    ({"type": "int", "logicalType": "time-millis"}, datetime.time(0, 0, 2), 2_000),
    (
        {"type": "bytes", "logicalType": "decimal", "precision": 9, "scale": 2},
        decimal.Decimal("-19.99"),
        -19.99,
    ),
    (
        {"type": "string", "logicalType": "uuid"},
        uuid.UUID(int=7),
        "00000000-0000-0000-0000-000000000007",
    ),
    ({"type": "string", "logicalType": "of-somebody"}, "as it is", "as it is"),
    ("bytes", b"\x00\xff", "AP8="),
    ({"type": "fixed", "name": "F", "size": 2}, b"\x00\xff", "AP8="),
    ({"type": "enum", "name": "E", "symbols": ["A", "B"]}, "B", "B"),
    ({"type": "map", "values": "long"}, {"k": -1}, {"k": -1}),
    (["null", "boolean", "string"], True, True),
    ("float", 0.5, 0.5),
    ("double", float("nan"), None),
    ("double", float("inf"), None),
    ("long", -(2**63), -(2**63)),
]


@pytest.mark.parametrize(("kind", "value", "wanted"), LOGICAL, ids=range(len(LOGICAL)))
def test_each_type_is_shown_as_the_page_says(kind: Any, value: Any, wanted: Any) -> None:
    assert shown(kind, value) == wanted


def test_a_name_of_another_subject_is_known() -> None:
    item = {"type": "record", "name": "shop.Item", "fields": [{"name": "sku", "type": "string"}]}
    event = {
        "type": "record",
        "name": "Event",
        "namespace": "shop",
        "fields": [{"name": "item", "type": "Item"}, {"name": "other", "type": "shop.Item"}],
    }
    schema = registered(event, ("shop.Item", registered(item)))
    assert both(schema, b"\x02a\x02b") == {"item": {"sku": "a"}, "other": {"sku": "b"}}


def test_bytes_that_are_not_as_their_schema_says_are_refused_by_both() -> None:
    event = {"user_id": "u", "action": "view", "time": 1, "title": "long enough to be cut"}
    whole = avro(EVENT, event)
    read, frames, random_ = avro_reader(registered(EVENT)), Frames(), random.Random(7)
    frames.learn(7, registered(EVENT))
    reasons = set[str]()

    def audited(payload: bytes) -> Any:
        try:
            return orjson.loads(frames.document_of(framed(7, payload)))
        except NotReadableError:
            return None

    def worked(payload: bytes) -> Any:
        try:
            return orjson.loads(read(payload))
        except BadEvent as fault:
            reasons.add(fault.reason)
            return None

    for end in range(len(whole)):
        assert worked(whole[:end]) is None
        assert audited(whole[:end]) is None
    assert worked(whole + b"\0") is None
    assert audited(whole + b"\0") is None
    for _ in range(3_000):
        broken = bytearray(whole)
        for _ in range(random_.randrange(1, 4)):
            broken[random_.randrange(len(broken))] = random_.randrange(256)
        assert worked(bytes(broken)) == audited(bytes(broken)), bytes(broken)
    assert reasons == {"schema-mismatch"}


ENDLESS = [
    {"type": "array", "items": "null"},
    {"type": "array", "items": {"type": "record", "name": "Nothing", "fields": []}},
    {
        "type": "record",
        "name": "Node",
        "fields": [{"name": "next", "type": ["null", "Node"]}],
    },
]


@pytest.mark.parametrize("schema", [*ENDLESS, {"type": "nonsense"}, "Missing", 7, {}], ids=range(7))
def test_a_schema_that_cannot_be_used_is_refused_by_both(schema: Any) -> None:
    with pytest.raises(BadEvent) as caught:
        avro_reader(registered(schema))
    assert caught.value.reason == "bad-schema"
    frames = Frames()
    frames.learn(7, registered(schema))
    with pytest.raises(NotReadableError):
        frames.document_of(framed(7, b"\x02"))

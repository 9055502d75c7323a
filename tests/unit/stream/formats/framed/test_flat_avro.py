"""Reads flat Avro at once as what its document says, or leaves it to the document."""

from __future__ import annotations

import json
import random
from contextlib import suppress
from typing import Any

import msgspec
import pytest

from stream.contracts.event import Event, Limits, check_event
from stream.contracts.faults import BadEvent
from stream.contracts.times import parse_time
from stream.formats.framed.avro import avro_reader
from stream.formats.framed.frame import AVRO, Reader, RegisteredSchema
from tests.support.framed import EVENT, EVOLVED, avro

MICROS = {"type": "long", "logicalType": "timestamp-micros"}
ALL: dict[str, Any] = {
    "type": "record",
    "name": "All",
    "fields": [
        {"name": "raw", "type": "bytes"},
        {"name": "user_id", "type": "string"},
        {"name": "time", "type": [MICROS, "string"]},
        {"name": "action", "type": {"type": "enum", "name": "A", "symbols": ["view", "click"]}},
        {"name": "query", "type": ["string", "null"]},
        {"name": "session_id", "type": ["null", "string"]},
        {"name": "dwell_ms", "type": ["null", "float", "int"]},
        {"name": "value", "type": ["double", "long"]},
        {"name": "new", "type": "boolean"},
        {"name": "ratios", "type": ["null", "double", "int"]},
        {"name": "categories", "type": {"type": "array", "items": "string"}},
    ],
}


def reader_of(schema: Any) -> Reader:
    return avro_reader(RegisteredSchema(AVRO, json.dumps(schema)))


def as_document(read: Reader, payload: bytes) -> Event | str:
    """What the document of a payload says, or why it is refused."""
    try:
        return timed(msgspec.json.decode(read(payload), type=Event))
    except (BadEvent, msgspec.MsgspecError) as fault:
        return str(fault)


def timed(event: Event) -> Event:
    """An event whose time is a number, where it is a time."""
    with suppress(BadEvent):
        event.time = parse_time(event.time) if isinstance(event.time, str) else event.time
    return event


def drawn(schema: Any, random_: random.Random) -> dict[str, Any]:
    """Values for the fields of the schemas here."""
    number = random_.choice((0, 1, 63, 64, 2**31 - 1, -1))
    text = random_.choice(("", "u", "é" * 40, "x" * 200, 'a"\\\x00'))
    ratio = random_.choice((0.0, -0.0, 2.5, -1.0, float("nan"), float("inf"), 1e300))
    picked: dict[str, Any] = {
        "raw": b"\x00\xff", "user_id": text, "item_id": random_.choice((None, text)),
        "time": 1_800_000_000_123, "action": random_.choice(("view", "click")),
        "query": random_.choice((None, text)), "session_id": random_.choice((None, text)),
        "title": random_.choice((None, text)), "event_id": random_.choice((None, text)),
        "dwell_ms": random_.choice((None, number, 1.5)), "value": random_.choice((number, ratio)),
        "new": random_.choice((True, False)), "ratios": random_.choice((None, ratio, number)),
        "categories": random_.choice(([], ["a"], ["a", text] * 70)), "campaign": None,
    }  # fmt: skip
    if schema is ALL:
        picked["time"] = random_.choice((number * 10**9, "2026-01-01T00:00:00Z", "soon"))
    if schema is EVOLVED:
        picked["dwell_ms"] = random_.choice((None, number))
    return {each["name"]: picked[each["name"]] for each in schema["fields"]}


@pytest.mark.parametrize("schema", [EVENT, EVOLVED, ALL], ids=["event", "evolved", "all"])
def test_an_event_is_what_its_document_says(schema: Any) -> None:
    read, random_, at_once = reader_of(schema), random.Random(3), 0
    assert read.event is not None
    for _ in range(150):
        payload = avro(schema, drawn(schema, random_))
        broken = bytearray(payload)
        broken[random_.randrange(len(broken))] = random_.randrange(256)
        for each in (payload, bytes(broken), payload[:-1], payload + b"\0"):
            event = read.event(each)
            if event is not None:
                at_once += 1
                assert timed(event) == as_document(read, each), each
    assert at_once > 100


def test_the_usual_is_read_at_once() -> None:
    read = reader_of(EVENT)
    event = {"user_id": "u", "action": "view", "time": 1_800_000_000_123, "item_id": "x"}
    assert read.event is not None
    found = read.event(avro(EVENT, event | {"categories": ["a"], "value": 2.5}))
    wanted = Event(**event, categories=["a"], value=2.5)  # type: ignore[arg-type]
    assert found == wanted
    check_event(wanted, Limits())


@pytest.mark.parametrize(
    "changed",
    [
        {"name": "time", "type": "double"},
        {"name": "user_id", "type": ["null", "string"]},
        {"name": "action", "type": {"type": "enum", "name": "A", "symbols": ["x" * 300]}},
        {"name": "categories", "type": {"type": "array", "items": ["null", "string"]}},
        {"name": "value", "type": "string"},
        {"name": "title", "type": "bytes"},
        {"name": "more", "type": {"type": "map", "values": "string"}},
        {"name": "day", "type": {"type": "int", "logicalType": "date"}},
    ],
    ids=lambda field: str(field["name"]),
)
def test_what_is_not_flat_is_left_to_the_document(changed: dict[str, Any]) -> None:
    fields = [each for each in EVENT["fields"] if each["name"] != changed["name"]]
    assert reader_of({**EVENT, "fields": [*fields, changed]}).event is None
    assert reader_of({**EVENT, "fields": EVENT["fields"][1:]}).event is None
    assert reader_of({"type": "array", "items": EVENT}).event is None

"""Makes the same events in each way of writing them."""

from __future__ import annotations

import json
import time
from collections.abc import Sequence
from typing import Any, NamedTuple

import msgspec

from stream.bench.formats import MAPPED, rewritten
from stream.bench.load import random_events
from stream.config import CONTRACT, MAPPING
from stream.formats.contract_format import ContractFormat
from stream.formats.event_format import EventFormat
from stream.formats.framed.frame import RegisteredSchema, framed
from stream.formats.framed.readers import FramedFormat, SchemaReaders
from stream.formats.mappings.mapping_file import parse_mapping
from stream.formats.mappings.mapping_format import MappingFormat
from stream.formats.registry import format_named
from tests.support.framed import EVENT, avro, event_proto, proto_event, serialized

USERS = 300
"""Of the events that are decoded; how many there are matters to a worker, not to reading."""

ITEMS = [f"item-{number:04d}" for number in range(500)]

FULL_MAPPING = """\
[event]
user_id = ["user.id", "anonymous_id"]
action = ["event", { constant = "view" }]
time = { path = "ts", unit = "s" }
item_id = ["lines[].sku", "product.sku"]
title = 'product."full.name"'
categories = { path = "category", split = " > " }
event_id = "message_id"
dwell_ms = { path = "seconds", unit = "s" }

[actions]
product_view = "view"
addtocart = "add_to_cart"

[[drop]]
path = "consent.personalization"
not_in = [true]
reason = "consent"
"""
"""The mapping of docs/operate/your-topic.md, which says all that a mapping can."""


class Record(NamedTuple):
    """Holds a record as a worker reads it."""

    key: bytes
    value: bytes
    headers: Any
    timestamp: int
    offset: int = 0


class Way(NamedTuple):
    """Holds the same events in one way of writing them, and what reads it."""

    records: list[Record]
    event_format: EventFormat | None  # None: the contract, read by its own parser


def written_ways(names: Sequence[str], count: int, users: int = USERS) -> dict[str, Way]:
    """Returns the same views of items as the contract, in each format, and as mappings read."""
    now_ms, events = int(time.time() * 1000), list(random_events(count, users, ITEMS, seed=1))

    def records(name: str) -> list[Record]:
        return [
            Record(key, value, (), now_ms, offset)
            for offset, (key, value) in enumerate(rewritten(iter(events), name))
        ]

    ways = {name: Way(records(name), format_named(name)) for name in names}
    shape = MappingFormat(parse_mapping(MAPPED, "bench.toml"))
    full = MappingFormat(parse_mapping(FULL_MAPPING, "full.toml"))
    return {
        CONTRACT: Way(records(CONTRACT), None),
        **ways,
        MAPPING: Way(records(MAPPING), shape),
        "mapping, all of its means": Way([in_full(each) for each in records(MAPPING)], full),
    }


def in_full(record: Record) -> Record:
    """Returns a record of a mapping with more in it."""
    given = json.loads(record.value)
    given |= {"message_id": f"m-{record.offset}", "category": "Outdoor > Camping", "seconds": 4.5}
    given |= {"lines": None, "consent": {"personalization": True}, "ts": given["ts"] / 1000}
    return record._replace(value=json.dumps(given).encode())


def framed_shape() -> FramedFormat:
    """Returns the contract behind a registry that knows the schemas of `framed_ways`."""
    readers = SchemaReaders()
    readers.learn(1, RegisteredSchema("AVRO", json.dumps(EVENT)))
    readers.learn(2, RegisteredSchema("JSON", "{}"))
    readers.learn(3, RegisteredSchema("PROTOBUF", serialized(event_proto())))
    return FramedFormat(ContractFormat(), readers)


def framed_ways(count: int, users: int = USERS) -> dict[str, Way]:
    """Returns the same events of the contract as JSON and in each way of a registry."""
    now_ms, shape = int(time.time() * 1000), framed_shape()
    found: dict[str, list[Record]] = {CONTRACT: [], "Avro": [], "JSON Schema": [], "Protobuf": []}
    for number in range(count):
        user = f"user-{number % users}"
        event = {
            "user_id": user,
            "action": "view",
            "time": now_ms,
            "item_id": f"item-{number % 500:04d}",
            "value": 19.5,
            "categories": ["Outdoor", "Camping"],
        }
        text = msgspec.json.encode(event)
        values = (
            text,
            framed(1, avro(EVENT, event)),
            framed(2, text),
            framed(3, proto_event(event)),
        )
        for way, value in zip(found, values, strict=True):
            found[way].append(Record(user.encode(), value, (), now_ms, number))
    return {
        name: Way(records, None if name == CONTRACT else shape) for name, records in found.items()
    }

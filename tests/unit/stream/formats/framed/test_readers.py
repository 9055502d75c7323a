"""Reads records whose values name a schema: with formats, with mappings, and without a frame."""

from __future__ import annotations

import gzip
import json
from types import SimpleNamespace
from typing import Any, Final

import orjson
import pytest

from stream.config import Settings
from stream.contracts.event import Limits
from stream.contracts.faults import BadEvent, UnreadableBytes
from stream.formats.contract_format import ContractFormat
from stream.formats.framed.frame import AVRO, JSON_SCHEMA, RegisteredSchema, framed
from stream.formats.framed.readers import FramedFormat, SchemaReaders
from stream.formats.mappings.mapping_file import parse_mapping
from stream.formats.mappings.mapping_format import MappingFormat
from stream.formats.records import read_record
from stream.formats.registry import foreign_format, source_format
from stream.pipeline.decode import Decoder
from tests.support.framed import EVENT, avro

NOW_MS: Final = 1_800_000_000_000
FIELDS: Final = {"user_id": "u", "action": "view", "time": NOW_MS, "item_id": "x"}


def record(value: bytes | None, **parts: Any) -> Any:
    given = {"key": b"u", "headers": [], "offset": 7, "timestamp": NOW_MS, **parts}
    return SimpleNamespace(value=value, **given)


@pytest.fixture
def readers() -> SchemaReaders:
    found = SchemaReaders()
    found.learn(1, RegisteredSchema(AVRO, json.dumps(EVENT)))
    found.learn(2, RegisteredSchema(JSON_SCHEMA, "{}"))
    found.learn(3, None)
    found.learn(4, RegisteredSchema("THRIFT", ""))
    return found


def reason(readers: SchemaReaders, value: bytes) -> str:
    with pytest.raises(BadEvent) as caught:
        read_record(record(value), FramedFormat(ContractFormat(), readers), Limits())
    return caught.value.reason


def test_avro_json_and_values_without_a_frame_are_the_same_event(readers: SchemaReaders) -> None:
    text = orjson.dumps(FIELDS)
    event_format = FramedFormat(ContractFormat(), readers)
    values = (framed(1, avro(EVENT, FIELDS)), framed(2, text), text, gzip.compress(text))
    events = [read_record(record(each), event_format, Limits()).events for each in values]
    assert [each.item_id for found in events for each in found] == ["x"] * 4
    assert events[0] == events[1] == events[2] == events[3]


def test_a_mapping_reads_the_document(readers: SchemaReaders) -> None:
    mapping = '[event]\nuser_id = "user_id"\naction = "action"\ntime = "time"\nitem_id = "title"\n'
    shape = FramedFormat(MappingFormat(parse_mapping(mapping, "shape.toml")), readers)
    value = framed(1, avro(EVENT, {**FIELDS, "title": "a title"}))
    (event,) = read_record(record(value), shape, Limits()).events
    assert event.item_id == "a title"


def test_an_array_of_records_is_several_events(readers: SchemaReaders) -> None:
    several = {"type": "array", "items": EVENT}
    readers.learn(5, RegisteredSchema(AVRO, json.dumps(several)))
    value = framed(5, avro(several, [FIELDS, {**FIELDS, "item_id": "y"}]))
    shape = FramedFormat(ContractFormat(), readers)
    reading = read_record(record(value), shape, Limits())
    assert [each.item_id for each in reading.events] == ["x", "y"]


def test_each_fault_has_its_reason(readers: SchemaReaders) -> None:
    assert reason(readers, framed(3, b"")) == "unknown-schema"
    assert reason(readers, framed(4, b"")) == "bad-schema"
    assert reason(readers, framed(1, b"\x02u")) == "schema-mismatch"
    assert reason(readers, b"\0\0\0") == "schema-mismatch"
    assert reason(readers, framed(2, b"no json")) == "not-json"
    assert reason(readers, framed(1, avro(EVENT, {**FIELDS, "action": ""}))) == "missing-field"


def test_what_nobody_has_learned_is_no_fault_of_the_record(readers: SchemaReaders) -> None:
    with pytest.raises(LookupError, match="schema 9"):
        read_record(record(framed(9, b"")), FramedFormat(ContractFormat(), readers), Limits())


def test_what_records_need_is_told(readers: SchemaReaders) -> None:
    values = [
        framed(9, b"x"),
        framed(1, b""),
        b"{}",
        b"",
        None,
        b"\0\0",
        UnreadableBytes(b"\0" * 9),
    ]
    assert readers.missing(map(record, values)) == {9}
    readers.learn(9, None)
    assert readers.missing(map(record, values)) == set()
    readers.forget(9)
    assert readers.missing(map(record, values)) == {9}


def test_without_a_registry_the_letter_says_so() -> None:
    batch = Decoder(Limits()).decode("t", 0, [record(framed(1, b"\x02u"))])
    (reject,) = batch.rejects
    assert reject.reason == "not-json"
    assert "--schema-registry" in reject.message


def test_the_settings_name_it() -> None:
    given = foreign_format(Settings(schema_registry="http://127.0.0.1:8081"))
    assert isinstance(given, FramedFormat)
    assert given.name == "contract"
    assert foreign_format(Settings()) is None
    # what --rekey forwards has no frame
    assert source_format(Settings(schema_registry="http://127.0.0.1:8081", rekey=True)) is None

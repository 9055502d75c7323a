"""Reads records of schemas column by column as they are read one by one."""

from __future__ import annotations

import json
import random
from types import SimpleNamespace
from typing import Any, Final

import pytest

from models.compact import hash64
from stream.contracts.event import Limits
from stream.formats.columns.reading import PlainReader
from stream.formats.contract_format import ContractFormat
from stream.formats.framed.frame import (
    AVRO,
    JSON_SCHEMA,
    PAYLOAD_AT,
    PROTOBUF,
    RegisteredSchema,
    framed,
)
from stream.formats.framed.readers import FramedFormat, SchemaReaders
from stream.pipeline.decode import Decoder
from tests.support.framed import (
    EVENT,
    EVOLVED,
    PROTO_FIELDS,
    avro,
    event_proto,
    proto_event,
    serialized,
)
from tests.unit.stream.formats.columns.test_reading import one_by_one, told
from tests.unit.stream.formats.framed.test_flat_avro import ALL, drawn
from tests.unit.stream.formats.test_records import NOW_MS

AVRO_SCHEMAS: Final[dict[int, Any]] = {1: EVENT, 2: EVOLVED, 3: ALL}
JSON_ID, PROTOBUF_ID, NO_ID = 4, 5, 6


def shape() -> FramedFormat:
    readers = SchemaReaders()
    for number, schema in AVRO_SCHEMAS.items():
        readers.learn(number, RegisteredSchema(AVRO, json.dumps(schema)))
    readers.learn(JSON_ID, RegisteredSchema(JSON_SCHEMA, "{}"))
    readers.learn(PROTOBUF_ID, RegisteredSchema(PROTOBUF, serialized(event_proto())))
    readers.learn(NO_ID, None)
    return FramedFormat(ContractFormat(), readers)


def usual(number: int, random_: random.Random) -> dict[str, Any]:
    """An event of the contract as producers send them."""
    return {
        "user_id": random_.choice(("u", "ü")),
        "action": "view",
        "time": NOW_MS - random_.randrange(10**10),
        "item_id": random_.choice((None, "item-1", "é" * 70)),
        "title": random_.choice((None, "Zelt", "x" * 600)),
        "value": random_.choice((None, 19.5, -1.0)),
        "categories": random_.choice((None, [], ["Outdoor", "Zelte ü"], ["a"] * 17)),
        "event_id": random_.choice((None, f"e{number}")),
    }


def value_of(schema_id: int, event: dict[str, Any], random_: random.Random | None) -> bytes:
    """An event as the schema has it, or, by chance, what the tests of Avro draw for the schema."""
    given = {name: value for name, value in event.items() if value is not None}
    if schema_id == JSON_ID:
        return json.dumps(given).encode()
    if schema_id == PROTOBUF_ID:
        return proto_event({name: given[name] for name, _ in PROTO_FIELDS if name in given})
    schema = AVRO_SCHEMAS[schema_id]
    names = [each["name"] for each in schema["fields"]]
    if random_ is None or (schema is not ALL and random_.random() < 0.7):
        return avro(schema, {name: event.get(name) for name in names})
    return avro(schema, drawn(schema, random_))


def damaged(value: bytes, random_: random.Random) -> bytes:
    place = random_.randrange(PAYLOAD_AT, len(value))
    return random_.choice(
        (
            value[:place],
            value + b"\0",
            value[:place] + bytes([random_.randrange(256)]) + value[place + 1 :],
            value[:place] + value[place + 1 :],
        )
    )


def records(schema_id: int, count: int, random_: random.Random) -> list[Any]:
    """Records of one schema mostly; some are damaged, some of another kind."""
    found = []
    for number in range(count):
        event = usual(number, random_)
        value = framed(schema_id, value_of(schema_id, event, random_))
        if random_.random() < 0.3:
            value = damaged(value, random_)
        if random_.random() < 0.1:
            other = random_.choice((*AVRO_SCHEMAS, JSON_ID, PROTOBUF_ID))
            value = framed(other, value_of(other, event, random_))
        if random_.random() < 0.05:
            value = random_.choice((json.dumps(event).encode(), b"\0", b"", framed(NO_ID, b"x")))
        key = random_.choice((event["user_id"].encode(),) * 9 + (b"another",))
        found.append(
            SimpleNamespace(key=key, value=value, headers=(), timestamp=NOW_MS, offset=3 * number)
        )
    return found


@pytest.mark.parametrize("schema_id", [*AVRO_SCHEMAS, JSON_ID, PROTOBUF_ID])
def test_columns_say_what_the_reading_of_each_record_says(
    schema_id: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    drawn_ = records(schema_id, 400, random.Random(schema_id))
    for limits, given in ((Limits(), drawn_), (Limits(max_text_bytes=100), drawn_[:100])):
        decoder = Decoder(limits, event_format=shape())
        expected = told(one_by_one(decoder, given, NOW_MS, monkeypatch))
        found = told(decoder.decode("clicks", 3, given, NOW_MS))
        for what, value in expected.items():
            assert found[what] == value, what
        assert expected["rejects"]
        assert expected["users"]


@pytest.mark.parametrize("schema_id", [1, 2, JSON_ID, PROTOBUF_ID])
def test_sound_records_need_no_reading_of_their_own(schema_id: int) -> None:
    event = usual(0, random.Random(0)) | {"item_id": "ü", "title": "Zelt", "categories": ["a", "b"]}
    value = framed(schema_id, value_of(schema_id, event, None))
    key = event["user_id"].encode()
    given = [
        SimpleNamespace(key=key, value=value, headers=(), timestamp=NOW_MS, offset=number)
        for number in range(200)
    ]
    found = PlainReader(shape(), Limits(), hash64).read(given, NOW_MS)
    assert found is not None
    assert not found.rest
    assert len(found.batch.users) == len(given)

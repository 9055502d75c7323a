"""Reads what Confluent's own serializers write, from the registry that they register at."""

from __future__ import annotations

import asyncio
import json
from types import SimpleNamespace
from typing import Any

import pytest
from confluent_kafka.schema_registry import SchemaRegistryClient
from confluent_kafka.schema_registry.avro import AvroSerializer
from confluent_kafka.serialization import MessageField, SerializationContext

from stream.config import Settings
from stream.contracts.event import Limits
from stream.formats.framed.readers import FramedFormat
from stream.formats.records import read_record
from stream.formats.registry import foreign_format
from stream.schema_registry.schemas import schemas_of
from tests.support.framed import EVENT, EVOLVED
from tests.support.schema_registry import schema_registry

FIELDS = {"user_id": "ü", "action": "view", "time": 1_800_000_000_000, "item_id": "x"}


@pytest.mark.parametrize("schema", [EVENT, EVOLVED], ids=["first", "later"])
def test_an_event_of_the_avro_serializer_is_an_event(schema: dict[str, Any]) -> None:
    with schema_registry() as registry, SchemaRegistryClient({"url": registry.url}) as client:
        serialize = AvroSerializer(client, json.dumps(schema))
        value = serialize(dict(FIELDS), SerializationContext("clicks", MessageField.VALUE))
        event_format = foreign_format(Settings(schema_registry=registry.url))
        assert isinstance(event_format, FramedFormat)
        record = SimpleNamespace(
            key="ü".encode(), value=value, headers=(), offset=0, timestamp=FIELDS["time"]
        )

        async def run() -> None:
            schemas = schemas_of(event_format, Settings(schema_registry=registry.url))
            assert await schemas.know([record])
            await schemas.close()

        asyncio.run(run())
        (event,) = read_record(record, event_format, Limits()).events
    assert {name: getattr(event, name) for name in FIELDS} == FIELDS

"""Registers the schema of updates, and gives readers JSON whatever was published."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Sequence
from types import SimpleNamespace
from typing import Any

import orjson
import pytest

from stream.config import Settings
from stream.errors import RegistryError, SettingsError
from stream.formats.framed.frame import framed
from stream.formats.framed.updates import update_schema
from stream.schema_registry.updates import PlainValues, registered_encoder
from tests.support.schema_registry import schema_registry

UPDATE = {
    "schema": "interest-update/1",
    "update_id": "t-0-7-0123456789abcdef",
    "user_id": "u",
    "time": 1_800_000_000_000,
    "published_at": 1_800_000_000_001,
    "source": {"topic": "t", "partition": 0, "offset": 7},
    "model": {"name": "m", "version": "1", "fingerprint": "0123456789abcdef"},
    "events_seen": 3,
    "interests": [{"interest": "A", "probability": 1, "trend": "new", "change": -0.5}],
    "items": [],
    "because": [{"item_id": "x", "action": "view", "time": 1, "weight": 0.25}],
}


def record(value: bytes | None) -> Any:
    return SimpleNamespace(
        topic="updates", partition=0, offset=7, timestamp=1, key=b"u", value=value, headers=()
    )


def plain(settings: Settings, records: Sequence[Any]) -> Sequence[Any]:
    async def run() -> Sequence[Any]:
        values = PlainValues(settings)
        try:
            return await values.of(records)
        finally:
            await values.close()

    return asyncio.run(run())


@pytest.mark.parametrize("update_format", ["avro", "json-schema"])
def test_what_is_published_is_read_as_it_was(update_format: str) -> None:
    with schema_registry() as registry:
        settings = Settings(schema_registry=registry.url, update_format=update_format)
        encode = asyncio.run(registered_encoder(settings))
        assert encode is not None
        value = encode(orjson.dumps(UPDATE))
        assert value[:1] == b"\0"
        # a second worker registers nothing new
        assert asyncio.run(registered_encoder(settings)) is not None
        assert registry.subjects.keys() == {"interest-updates-value"}
        assert len(registry.schemas) == 1
        (schema,) = registry.schemas
        assert json.loads(schema["schema"]) == json.loads(update_schema(update_format))
        broken = framed(1, b"\xff")
        given = [record(value), record(orjson.dumps(UPDATE)), record(None), record(broken)]
        found = plain(settings, given)
    assert [orjson.loads(each.value) for each in found[:2]] == [UPDATE, UPDATE]
    assert found[2].value is None
    assert found[3].value == broken, "whoever reads it says that it is no update"
    assert (found[0].offset, found[0].key) == (7, b"u")


def test_json_needs_no_registry() -> None:
    assert asyncio.run(registered_encoder(Settings())) is None
    records = [record(framed(1, b"x"))]
    assert plain(Settings(), records) is records
    with pytest.raises(SettingsError, match="update_format is avro"):
        Settings(update_format="avro")


def test_a_worker_does_not_start_with_a_schema_that_is_nowhere() -> None:
    with schema_registry(away=True) as registry:
        settings = Settings(schema_registry=registry.url, update_format="avro")
        with pytest.raises(RegistryError, match="HTTP 503"):
            asyncio.run(registered_encoder(settings))

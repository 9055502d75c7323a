"""Waits for a registry as long as it takes, and for an unknown schema a moment only."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Callable
from types import SimpleNamespace
from typing import Any

import pytest

from stream.config import Settings
from stream.formats.framed.frame import framed
from stream.formats.framed.readers import SchemaReaders
from stream.schema_registry import schemas
from stream.schema_registry.schemas import Schemas
from tests.support.framed import EVENT, avro
from tests.support.schema_registry import Registry, schema_registry

EVENT_VALUE = avro(EVENT, {"user_id": "u", "action": "view", "time": 1})


@pytest.fixture(autouse=True)
def _short(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(schemas, "PAUSES_S", (0.0, 0.01))
    monkeypatch.setattr(schemas, "UNKNOWN_PAUSES_S", (0.0, 0.0, 0.0))
    monkeypatch.setattr(schemas, "LOOK_S", 0.01)


def records(*ids: int) -> list[Any]:
    return [SimpleNamespace(value=framed(each, EVENT_VALUE)) for each in ids]


def with_registry(act: Callable[[Registry, SchemaReaders, Schemas], Any]) -> None:
    async def run(registry: Registry) -> None:
        readers = SchemaReaders()
        found = Schemas(Settings(schema_registry=registry.url), readers)
        try:
            await act(registry, readers, found)
        finally:
            await found.close()

    with schema_registry() as registry:
        asyncio.run(run(registry))


def test_each_schema_is_asked_for_once() -> None:
    async def act(registry: Registry, readers: SchemaReaders, found: Schemas) -> None:
        one, two = registry.register("a", EVENT), registry.register("b", '"string"')
        for _ in range(3):
            assert await found.know(records(one, two, one))
        assert len(registry.asked) == 2
        assert json.loads(readers.document_of(records(one)[0].value))["user_id"] == "u"

    with_registry(act)


def test_a_registry_that_is_away_is_waited_for(caplog: pytest.LogCaptureFixture) -> None:
    async def act(registry: Registry, readers: SchemaReaders, found: Schemas) -> None:
        one = registry.register("a", EVENT)
        registry.away = True
        waiting = asyncio.ensure_future(found.know(records(one)))
        while len(registry.asked) < 5:  # noqa: ASYNC110  # another thread counts them
            await asyncio.sleep(0.01)
        assert not waiting.done()
        assert "HTTP 503" in found.trouble
        registry.away = False
        assert await waiting
        assert not found.trouble
        assert readers.missing(records(one)) == set()

    with_registry(act)
    told = [each.message for each in caplog.records if "503" in each.message]
    assert len(told) == 1, "it is said once a minute, not at each attempt"
    assert "nothing is skipped" in told[0]
    assert "the schema registry answers again" in caplog.text


def test_what_nobody_wants_any_more_is_not_waited_for() -> None:
    async def act(registry: Registry, readers: SchemaReaders, found: Schemas) -> None:
        registry.away = True
        assert not await found.know(records(1), lambda: len(registry.asked) < 3)
        assert not found.trouble
        assert readers.missing(records(1)) == {1}

    with_registry(act)


def test_a_schema_that_is_known_a_moment_later_is_read() -> None:
    async def act(registry: Registry, readers: SchemaReaders, found: Schemas) -> None:
        one = registry.register("a", EVENT)
        registry.unknown_times = 3
        assert await found.know(records(one))
        assert json.loads(readers.document_of(records(one)[0].value))["user_id"] == "u"

    with_registry(act)


def test_an_unknown_schema_is_asked_for_again_after_a_while(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    async def act(registry: Registry, readers: SchemaReaders, found: Schemas) -> None:
        assert await found.know(records(1))
        asked = len(registry.asked)
        assert asked == 4
        registry.register("a", EVENT)
        assert await found.know(records(1))
        assert len(registry.asked) == asked, "not for each batch"
        monkeypatch.setattr(schemas, "time", SimpleNamespace(monotonic=lambda: 1e12))
        assert await found.know(records(1))
        assert json.loads(readers.document_of(records(1)[0].value))["user_id"] == "u"

    with_registry(act)

"""Checks workers whose values name schemas: registry away, schemas evolved, unknown and bad.

The registry is that of tests/support/schema_registry.py, because it can be away when a test needs
it.
"""

from __future__ import annotations

import random
import time
from typing import Any

import orjson
import pytest

from stream.formats.framed.frame import framed
from tests.support.framed import EVENT, EVENT_PROTO, EVOLVED, avro, proto_event
from tests.support.pipelines import Pipeline, wait_until
from tests.support.schema_registry import schema_registry
from tests.support.topics import read, send

pytestmark = pytest.mark.kafka

RECORDS = 200
JSON_EVENT = {"$schema": "http://json-schema.org/draft-07/schema#", "type": "object"}


def test_nothing_is_lost_whatever_the_registry_does(
    pipeline: Pipeline, monkeypatch: pytest.MonkeyPatch
) -> None:
    settings, random_, now_ms = pipeline.settings, random.Random(0), int(time.time() * 1000)
    with schema_registry() as registry:
        monkeypatch.setenv("INTEREST_STREAM_SCHEMA_REGISTRY", registry.url)
        first = registry.register("clicks-value", EVENT)
        later = registry.register("clicks-value", EVOLVED)
        text = registry.register("text-value", JSON_EVENT, "JSON")
        proto = registry.register("proto-value", EVENT_PROTO, "PROTOBUF")
        unknown = 1_000_000
        records = []
        for number in range(RECORDS):
            user, way = f"user-{random_.randrange(20)}", number % 5
            event = {
                "user_id": user,
                "action": "view",
                "time": now_ms,
                "item_id": f"item-{random_.randrange(500)}",
            }
            values = (
                framed(first, avro(EVENT, event)),
                framed(later, avro(EVOLVED, event)),
                framed(text, orjson.dumps(event)),
                framed(proto, proto_event(event)),
                orjson.dumps(event),
            )
            records.append((user.encode(), values[way]))
        lost = (b"user-1", framed(unknown, avro(EVENT, {**event, "user_id": "user-1"})))
        bad = (b"user-1", framed(first, b"\x02no event"))

        # the registry is away: the worker says so, applies nothing and lets nothing go
        worker = pipeline.start("--null-model", "--update-format", "avro")
        registry.away = True
        send(settings, settings.events_topic, *records, lost, bad)
        wait_until(
            lambda: "schema registry" in worker.get("/readyz")[1], "it says what it waits for"
        )
        assert worker.get("/readyz")[0] == 503
        assert worker.get("/livez")[0] == 200
        assert "nothing is skipped" in worker.log
        assert pipeline.committed() < RECORDS, "but values without a frame that came alone"
        assert read(settings, settings.dead_letters_topic) == []

        # it comes back, and all is applied
        registry.away = False
        pipeline.wait_applied()
        letters = read(settings, settings.dead_letters_topic)
        reasons = sorted(dict(each.headers)["is.dlq.reason"] for each in letters)
        assert reasons == [b"schema-mismatch", b"unknown-schema"]

        # the audit reads the same; what the registry did not know then is a letter for ever
        registry.also[f"/schemas/ids/{unknown}"] = first
        report = pipeline.audit()
        assert report["clean"]
        assert report["events"]["applied"] == RECORDS
        assert report["dead_letters"] == 2

        # updates are Avro; whoever reads them sees JSON, and profiles are the same
        updates = read(settings, settings.updates_topic)
        assert {each.value[:1] for each in updates} == {b"\0"}
        told = pipeline.run("tail", "--from-beginning", "--json", "--limit", str(len(updates)))
        assert told.returncode == 0, told.stderr
        newest: dict[str, Any] = {}
        for update in map(orjson.loads, told.stdout.splitlines()):
            before = newest.get(update["user_id"])
            if before is None or before["source"]["offset"] <= update["source"]["offset"]:
                newest[update["user_id"]] = update
        kept = [each.value for each in read(settings, settings.profiles_topic) if each.value]
        profiles = {each["user_id"]: each for each in map(orjson.loads, kept)}
        assert newest == profiles
        assert any(f"{settings.updates_topic}-value" in each for each in registry.asked)

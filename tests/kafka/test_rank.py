"""Checks that `rank` equals the worker.

The same histories through Kafka and from a file lead to the same updates.
"""

from __future__ import annotations

import asyncio
import json
from pathlib import Path
from typing import Any

import orjson
import pytest
from aiokafka import AIOKafkaProducer

from stream.simulation.population import events
from tests.support.pipelines import Pipeline
from tests.support.topics import read

pytestmark = pytest.mark.kafka

TOLERANCE = 1e-3
"""Of probabilities, scores and weights: batches of other sizes round otherwise."""


async def _produce(pipeline: Pipeline, values: list[dict[str, Any]]) -> None:
    async with AIOKafkaProducer(
        bootstrap_servers=pipeline.settings.bootstrap, enable_idempotence=True
    ) as producer:
        for event in values:
            await producer.send(
                pipeline.settings.events_topic, orjson.dumps(event), key=event["user_id"].encode()
            )


def _updates(pipeline: Pipeline) -> list[dict[str, Any]]:
    """Everything on the updates topic."""
    found = read(pipeline.settings, pipeline.settings.updates_topic)
    return [orjson.loads(record.value) for record in found]


def same(live: list[dict[str, Any]], offline: list[dict[str, Any]], value: str) -> None:
    """Equal numbers in equal order; equal names wherever two neighbours are not as good as tied."""
    numbers = [[each[value] for each in side] for side in (live, offline)]
    assert numbers[0] == pytest.approx(numbers[1], abs=TOLERANCE)
    for place, (mine, theirs) in enumerate(zip(live, offline, strict=True)):
        near = [numbers[0][other] for other in (place - 1, place + 1) if 0 <= other < len(live)]
        clear = all(abs(mine[value] - other) > 2 * TOLERANCE for other in near) and place + 1 < len(
            live
        )
        if clear:  # the last one may be tied with the first that is not named
            rest = {key for key in mine if key not in (value, "change")}
            assert {key: mine[key] for key in rest} == {key: theirs[key] for key in rest}


def test_rank_says_what_the_worker_says(pipeline: Pipeline, tmp_path: Path) -> None:
    """The worker carries each user's state over many batches of 50 events.

    `rank` sees a history at once.
    """
    stream = [
        each.event
        for each in events(
            users=40, count=1_500, seed=17, start_ms=1_760_000_000_000, step_ms=10_000
        )
    ]
    stream += stream[-1:]  # the same event_id again counts once, here and there
    asyncio.run(_produce(pipeline, stream))
    worker = pipeline.start("--max-batch-events", "50", "--precision", "float32")
    pipeline.wait_applied()
    assert worker.stop() == 0
    live: dict[str, dict[str, Any]] = {}
    for update in _updates(pipeline):
        held = live.get(update["user_id"])
        if held is None or update["source"]["offset"] > held["source"]["offset"]:
            live[update["user_id"]] = update

    histories: dict[str, list[dict[str, Any]]] = {}
    for event in stream:
        histories.setdefault(event["user_id"], []).append(event)
    lines = (
        json.dumps({"user_id": user, "events": of_user}) for user, of_user in histories.items()
    )
    (tmp_path / "histories.jsonl").write_text("\n".join(lines), encoding="utf-8")
    done = pipeline.run(
        "rank",
        "--demo-model",
        "--precision",
        "float32",
        "--histories",
        str(tmp_path / "histories.jsonl"),
    )
    assert done.returncode == 0, done.stderr
    offline = {update["user_id"]: update for update in map(json.loads, done.stdout.splitlines())}

    assert live.keys() == offline.keys() == histories.keys()
    assert sum(update["events_seen"] for update in live.values()) == len(stream) - 1
    for user, mine in live.items():
        theirs = offline[user]
        for key in ("schema", "model", "time", "events_seen"):
            assert mine[key] == theirs[key]
        same(mine["interests"], theirs["interests"], "probability")
        same(mine["items"], theirs["items"], "score")
        same(mine["because"], theirs["because"], "weight")

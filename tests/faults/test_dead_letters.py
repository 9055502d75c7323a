"""Sends dead letters again once their cause is mended.

Each counts once, and what is bad for ever does not go round.
"""

from __future__ import annotations

import asyncio
import json
import time
from typing import Any

import orjson
import pytest

from tests.support.pipelines import Pipeline, wait_until
from tests.support.topics import send_record

pytestmark = pytest.mark.kafka

LONG, BROKEN = 12, 5


async def produce(pipeline: Pipeline) -> None:
    """Sends sound events of 500 bytes, which a worker with such a limit refuses.

    Some are such as no worker takes, and one is null throughout.
    """
    from aiokafka import AIOKafkaProducer

    topic, now_ms = pipeline.settings.events_topic, int(time.time() * 1000)
    async with AIOKafkaProducer(bootstrap_servers=pipeline.settings.bootstrap) as producer:
        for number in range(LONG):
            user = f"user-{number}"
            event = {
                "user_id": user,
                "action": "view",
                "time": now_ms,
                "item_id": "item-1",
                "title": "x" * 500,
            }
            await (
                await send_record(
                    producer, topic, user.encode(), orjson.dumps(event), [("trace", b"%d" % number)]
                )
            )
        for number in range(BROKEN - 1):
            await (await send_record(producer, topic, b"user-%d" % number, b"{", []))
        await (await send_record(producer, topic, None, None, []))


def replay(pipeline: Pipeline, *arguments: str) -> dict[str, Any]:
    done = pipeline.run("dead-letters", "replay", "--json", *arguments)
    assert done.returncode == 0, done.stderr
    answer: dict[str, Any] = json.loads(done.stdout)
    return answer


def test_each_is_replayed_once_and_counts_once(pipeline: Pipeline) -> None:
    strict = pipeline.start("--max-value-bytes", "200")
    asyncio.run(produce(pipeline))
    pipeline.wait_applied()
    assert strict.metric("events_total", result="applied") == 0
    assert strict.stop() == 0
    listed = pipeline.run("dead-letters", "list", "--json", "--limit", "3")
    assert json.loads(listed.stdout)["reasons"] == {
        "too-large": LONG,
        "not-json": BROKEN - 1,
        "null-value": 1,
    }, listed

    worker = pipeline.start()
    dry = replay(pipeline, "--reason", "too-large", "--dry-run")
    assert (dry["chosen"], dry["sent"]) == (LONG, 0)
    assert replay(pipeline, "--reason", "too-large")["sent"] == LONG
    wait_until(
        lambda: worker.metric("events_total", result="applied") == LONG,
        "the replayed events are applied",
    )
    assert replay(pipeline)["sent"] == BROKEN  # the others; those sent before are left out
    wait_until(
        lambda: worker.metric("events_total", result="invalid") == BROKEN,
        "they are parked again",
    )
    pipeline.wait_applied()
    assert replay(pipeline)["sent"] == 0  # neither the first nor what came of the second
    assert worker.metric("events_total", result="applied") == LONG

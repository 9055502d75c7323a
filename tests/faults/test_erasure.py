"""A user who was erased stays gone: kills, late profiles, old events sent again (real Kafka)."""

from __future__ import annotations

import asyncio
import signal
import time
from typing import Any

import orjson
import pytest
from aiokafka import AIOKafkaProducer
from aiokafka.errors import ProducerFenced
from aiokafka.partitioner import DefaultPartitioner

from stream.contracts.control import Control, encode_control
from stream.contracts.state_record import Record, decode_record
from stream.kafka.fence import Fence, FencedBatch, raise_fence
from stream.kafka.record_batches import pack
from tests.support import topics
from tests.support.pipelines import SHORT_SESSION_S, Pipeline

pytestmark = pytest.mark.kafka

USER = b"user-of-this-test"
PARTITION = DefaultPartitioner()(USER, list(range(4)), list(range(4)))


def events(count: int, first: int = 0, own_ms: int | None = None) -> list[tuple[bytes, bytes]]:
    moment = int(time.time() * 1000) if own_ms is None else own_ms
    return [
        (
            USER,
            orjson.dumps(
                {
                    "user_id": USER.decode(),
                    "action": "view",
                    "time": moment,
                    "item_id": f"item-{first + number}",
                }
            ),
        )
        for number in range(count)
    ]


def send_control(pipeline: Pipeline, kind: str) -> None:
    async def run() -> None:
        key, value, headers = encode_control(
            Control(kind, USER.decode(), "r-1", int(time.time() * 1000))  # type: ignore[arg-type]
        )
        async with AIOKafkaProducer(bootstrap_servers=pipeline.settings.bootstrap) as producer:
            await producer.send_and_wait(
                pipeline.settings.events_topic, value, key=key, headers=headers
            )

    asyncio.run(run())


async def former_owner(pipeline: Pipeline, fence: Fence | None) -> Fence:
    """Writes a late profile as a former owner would, or only becomes one."""
    settings = pipeline.settings
    async with AIOKafkaProducer(
        bootstrap_servers=settings.bootstrap, enable_idempotence=True
    ) as producer:
        if fence is None:
            return await raise_fence(producer.client, f"{settings.app_id}-states-{PARTITION}", 60)
        (section,) = pack([USER], [b"{}"], 0, "none")
        batch = FencedBatch(section, fence.beside())
        await (await producer.send_batch(batch, settings.profiles_topic, partition=PARTITION))
    return fence


def last(pipeline: Pipeline, topic: str) -> Any:
    return [each for each in topics.read(pipeline.settings, topic) if each.key == USER][-1].value


def state(pipeline: Pipeline) -> Record:
    return decode_record(last(pipeline, pipeline.settings.changelog_topic))


def test_a_user_who_was_erased_stays_gone(pipeline: Pipeline) -> None:
    settings, old = pipeline.settings, int(time.time() * 1000) - 60_000
    pipeline.session_s = SHORT_SESSION_S
    fence = asyncio.run(former_owner(pipeline, None))
    worker = pipeline.start(failpoints="after_updates=kill@2")
    pipeline.produce(500, users=50)
    topics.send(settings, settings.events_topic, *events(8, own_ms=old))
    assert worker.wait() == -signal.SIGKILL

    # the control is read together with events that a killed worker has published and not stored
    send_control(pipeline, "erase")
    topics.send(settings, settings.events_topic, *events(4, own_ms=old))
    second = pipeline.start()
    pipeline.wait_applied()
    marker = state(pipeline)
    assert (marker.is_marker, len(marker.memory), int(marker.header["count"])) == (True, 0, 0)
    assert last(pipeline, settings.profiles_topic) is None
    pipeline.audit()

    # a former owner's late profile is refused; one that had come in before this fence is taken back
    with pytest.raises(ProducerFenced):
        asyncio.run(former_owner(pipeline, fence))
    assert second.stop() == 0
    topics.produce(settings, settings.profiles_topic, PARTITION, [(USER, b"{}")])
    third = pipeline.start()
    assert last(pipeline, settings.profiles_topic) is None

    # old events sent again are dropped, also after a new one, which begins a blank state
    topics.send(settings, settings.events_topic, *events(5, own_ms=old))
    topics.send(settings, settings.events_topic, *events(1, first=100))
    topics.send(settings, settings.events_topic, *events(5, own_ms=old))
    pipeline.wait_applied()
    found = state(pipeline)
    assert (int(found.header["count"]), found.erased_ms) == (1, marker.erased_ms)
    assert orjson.loads(last(pipeline, settings.profiles_topic))["events_seen"] == 1
    assert third.metric("events_total", result="erased") == 10
    assert pipeline.audit()["events"]["erased"] == 14

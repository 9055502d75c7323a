"""`--publish`: fewer updates, and the last state of every user still comes out."""

from __future__ import annotations

import asyncio
from collections.abc import Callable

import orjson
import pytest
from aiokafka import AIOKafkaConsumer, TopicPartition

from stream.contracts.state_record import decode_record
from tests.support.pipelines import Pipeline, wait_until

pytestmark = pytest.mark.kafka

USERS = 20


def updates(pipeline: Pipeline) -> tuple[int, dict[bytes, int]]:
    """How many there are, and of each user the source offset of the last one."""
    return asyncio.run(
        last(
            pipeline,
            pipeline.settings.updates_topic,
            lambda value: orjson.loads(value)["source"]["offset"],
        )
    )


def states(pipeline: Pipeline) -> dict[bytes, int]:
    """Of each user the source offset applied last."""
    return asyncio.run(
        last(
            pipeline,
            pipeline.settings.changelog_topic,
            lambda value: int(decode_record(value).header["offset"]),
        )
    )[1]


async def last(
    pipeline: Pipeline, topic: str, offset_of: Callable[[bytes], int]
) -> tuple[int, dict[bytes, int]]:
    """How many records of a topic have a key, and of each key the offset in its last one."""
    consumer = AIOKafkaConsumer(
        bootstrap_servers=pipeline.settings.bootstrap, auto_offset_reset="earliest"
    )
    await consumer.start()
    try:
        partitions = [TopicPartition(topic, each) for each in range(4)]
        consumer.assign(partitions)
        ends = await consumer.end_offsets(partitions)
        count, found = 0, dict[bytes, int]()
        while any([await consumer.position(each) < ends[each] for each in partitions]):
            for records in (await consumer.getmany(timeout_ms=200)).values():
                for record in records:
                    if record.key:  # a changelog also has the empty records of its fences
                        count, found[record.key] = count + 1, offset_of(record.value)
        return count, found
    finally:
        await consumer.stop()


def test_what_an_interval_withheld_comes_when_the_worker_stops(pipeline: Pipeline) -> None:
    worker = pipeline.start(
        "--publish", "interval", "--publish-interval-s", "3600", "--max-batch-events", "50"
    )
    pipeline.produce(1_500, users=USERS)
    pipeline.wait_applied()
    assert updates(pipeline)[0] == USERS, "one each, the first"
    assert worker.metric("updates_withheld_total") > 0
    assert worker.stop() == 0
    assert updates(pipeline) == (2 * USERS, states(pipeline))
    pipeline.audit()


def test_what_an_interval_withheld_comes_when_it_is_over(pipeline: Pipeline) -> None:
    worker = pipeline.start(
        "--publish", "interval", "--publish-interval-s", "2", "--max-batch-events", "50"
    )
    pipeline.produce(1_500, users=USERS)
    pipeline.wait_applied()
    assert worker.metric("updates_withheld_total") > 0
    expected = states(pipeline)
    assert len(expected) == USERS
    wait_until(
        lambda: updates(pipeline)[1] == expected, "each user's last update came", interval_s=0.5
    )


def test_unchanged_interests_are_not_told_again(pipeline: Pipeline) -> None:
    worker = pipeline.start(
        "--publish",
        "changed",
        "--publish-threshold",
        "1",
        "--max-batch-events",
        "50",
        "--null-model",
    )
    pipeline.produce(1_500, users=USERS)
    pipeline.wait_applied()
    assert updates(pipeline)[0] == USERS, "the null model always says the same"
    assert worker.metric("updates_withheld_total") > 0
    pipeline.audit()

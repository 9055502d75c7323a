"""The poison corpus among good events, through a real worker: neighbours untouched, each bad record parked with its bytes."""

from __future__ import annotations

import asyncio
import random
from hashlib import sha256
from typing import Any

import orjson
import pytest
from aiokafka import AIOKafkaConsumer, AIOKafkaProducer, TopicPartition

from stream.dead_letters import KEPT_BYTES, PREFIX, PREVIOUS
from tests.contracts import faults, header_texts
from tests.faults.harness import Pipeline
from tests.poison import CORPUS, STRANGE, TIME_MS, Poison, named_user

pytestmark = [pytest.mark.kafka, pytest.mark.timeout(180)]

USERS = 40
SHARE = 0.1
Place = tuple[int, int]
"""Partition and offset in the events topic."""


async def produce_mixed(pipeline: Pipeline) -> dict[Place, Poison]:
    """The corpus and the sound events that look like it, in random order among plain ones, which are nine tenths of all."""
    chance = random.Random(1)
    plain: list[Poison | bytes] = [
        orjson.dumps(
            {"user_id": f"user-{number % USERS}", "action": "view", "time": TIME_MS, "item_id": f"item-{number}"}
        )
        for number in range(round(len(CORPUS) / SHARE))
    ]
    records = [*plain, *CORPUS, *STRANGE.values()]
    chance.shuffle(records)
    deliveries = []
    async with AIOKafkaProducer(bootstrap_servers=pipeline.settings.bootstrap, linger_ms=5) as producer:
        for record in records:
            key, value, headers = (
                (record.key, record.value, list(record.headers))
                if isinstance(record, Poison)
                else (named_user(record), record, [])
            )
            deliveries.append((record, await send(producer, pipeline.settings.events_topic, key, value, headers)))
        placed = [(record, await sent) for record, sent in deliveries]
    return {(found.partition, found.offset): record for record, found in placed if isinstance(record, Poison)}


async def send(producer: Any, topic: str, key: bytes | None, value: bytes | None, headers: list[Any]) -> Any:
    """The future of a delivery. A record of its own batch where both are null, which `send` refuses and Kafka does not."""
    if key is not None or value is not None:
        return await producer.send(topic, value, key=key, headers=headers)
    batch = producer.create_batch()
    batch.append(timestamp=None, key=None, value=None)
    return await producer.send_batch(batch, topic, partition=0)


async def read_all(pipeline: Pipeline, topic: str) -> list[Any]:
    """Every record of a topic."""
    async with AIOKafkaConsumer(bootstrap_servers=pipeline.settings.bootstrap, enable_auto_commit=False) as consumer:
        partitions = [TopicPartition(topic, each) for each in range(4)]
        consumer.assign(partitions)
        await consumer.seek_to_beginning()
        ends, found = await consumer.end_offsets(partitions), []
        while any([await consumer.position(each) < ends[each] for each in partitions]):
            for records in (await consumer.getmany(timeout_ms=500)).values():
                found += records
        return found


def test_poison_is_parked_and_its_neighbours_do_not_notice(pipeline: Pipeline) -> None:
    bad = asyncio.run(produce_mixed(pipeline))
    pipeline.start("--max-batch-events", "100")
    pipeline.wait_applied()
    report = pipeline.audit()
    assert report["invalid"] == report["dead_letters"] == len(CORPUS)
    assert report["events"]["applied"] == round(len(CORPUS) / SHARE) + len(STRANGE)
    updates = asyncio.run(read_all(pipeline, pipeline.settings.updates_topic))
    assert not [fault for each in updates for fault in faults("update-1", orjson.loads(each.value))]
    assert {f"user-{number}".encode() for number in range(USERS)} < {each.key for each in updates}

    letters = asyncio.run(read_all(pipeline, pipeline.settings.dead_letters_topic))
    assert len(letters) == len(CORPUS)
    for letter in letters:
        told = header_texts(letter.headers)
        original = bad.pop((int(told["is.dlq.partition"]), int(told["is.dlq.offset"])))
        assert not faults("dead-letter-1", told), original.name
        assert told["is.dlq.reason"] == original.reason, original.name
        assert told["is.dlq.topic"] == pipeline.settings.events_topic
        assert_original(letter, original, told)
    assert not bad


def assert_original(letter: Any, original: Poison, told: dict[str, str]) -> None:
    """Key, value and headers are the original's bytes, or, of a value too large to keep, its start, size and sum."""
    assert letter.key == original.key, original.name
    if f"{PREFIX}value-sha256" in told:
        assert original.value is not None
        assert letter.value == original.value[:KEPT_BYTES]
        assert told[f"{PREFIX}value-bytes"] == str(len(original.value))
        assert told[f"{PREFIX}value-sha256"] == sha256(original.value).hexdigest()
    else:
        assert letter.value == original.value, original.name
    own = [(name, value) for name, value in letter.headers if not name.startswith(PREFIX) or name.startswith(PREVIOUS)]
    assert own == [(name.replace(PREFIX, PREVIOUS), value) for name, value in original.headers], original.name


def test_a_partition_of_nothing_but_poison_stops_the_worker_before_it_is_emptied(pipeline: Pipeline) -> None:
    async def flood() -> None:
        async with AIOKafkaProducer(bootstrap_servers=pipeline.settings.bootstrap, linger_ms=5) as producer:
            for number in range(300):
                await producer.send(pipeline.settings.events_topic, b"garbage %d" % number, key=b"somebody")

    asyncio.run(flood())
    worker = pipeline.start("--max-consecutive-dead-letters", "50", "--max-batch-events", "20", ready=False)
    assert worker.process.wait(60) == 1
    assert "51 bad records in a row" in worker.log
    assert "max_consecutive_dead_letters" in worker.log
    assert len(asyncio.run(read_all(pipeline, pipeline.settings.dead_letters_topic))) <= 50

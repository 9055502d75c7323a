"""Sends the poison corpus among good events through a real worker.

Neighbours are untouched, and each bad record is parked with its bytes.
"""

from __future__ import annotations

import asyncio
import random
from hashlib import sha256
from typing import Any

import orjson
import pytest
from aiokafka import AIOKafkaProducer

from stream.contracts.dead_letter import KEPT_BYTES, PREFIX, PREVIOUS
from tests.support.contracts import faults, header_texts
from tests.support.pipelines import Pipeline
from tests.support.poison import CORPUS, STRANGE, TIME_MS, Poison, named_user
from tests.support.topics import read, send_record

pytestmark = pytest.mark.kafka

USERS = 40
SHARE = 0.1
Place = tuple[int, int]
"""Partition and offset in the events topic."""


async def produce_mixed(pipeline: Pipeline) -> dict[Place, Poison]:
    """Sends the corpus and the sound events that look like it, in random order among plain ones.

    Those are nine tenths of all.
    """
    chance = random.Random(1)
    plain: list[Poison | bytes] = [
        orjson.dumps(
            {
                "user_id": f"user-{number % USERS}",
                "action": "view",
                "time": TIME_MS,
                "item_id": f"item-{number}",
            }
        )
        for number in range(round(len(CORPUS) / SHARE))
    ]
    records = [*plain, *CORPUS, *STRANGE.values()]
    chance.shuffle(records)
    deliveries = []
    async with AIOKafkaProducer(
        bootstrap_servers=pipeline.settings.bootstrap, linger_ms=5
    ) as producer:
        for record in records:
            key, value, headers = (
                (record.key, record.value, list(record.headers))
                if isinstance(record, Poison)
                else (named_user(record), record, [])
            )
            deliveries.append(
                (
                    record,
                    await send_record(
                        producer, pipeline.settings.events_topic, key, value, headers
                    ),
                )
            )
        placed = [(record, await sent) for record, sent in deliveries]
    return {
        (found.partition, found.offset): record
        for record, found in placed
        if isinstance(record, Poison)
    }


def test_poison_is_parked_and_its_neighbours_do_not_notice(pipeline: Pipeline) -> None:
    bad = asyncio.run(produce_mixed(pipeline))
    pipeline.start("--max-batch-events", "100")
    pipeline.wait_applied()
    report = pipeline.audit()
    assert report["invalid"] == report["dead_letters"] == len(CORPUS)
    assert report["events"]["applied"] == round(len(CORPUS) / SHARE) + len(STRANGE)
    updates = read(pipeline.settings, pipeline.settings.updates_topic)
    assert not [fault for each in updates for fault in faults("update-1", orjson.loads(each.value))]
    assert {f"user-{number}".encode() for number in range(USERS)} < {each.key for each in updates}

    letters = read(pipeline.settings, pipeline.settings.dead_letters_topic)
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
    """Checks that key, value and headers are the original's bytes.

    Or, of a value too large to keep, its start, size and sum.
    """
    assert letter.key == original.key, original.name
    if f"{PREFIX}value-sha256" in told:
        assert original.value is not None
        assert letter.value == original.value[:KEPT_BYTES]
        assert told[f"{PREFIX}value-bytes"] == str(len(original.value))
        assert told[f"{PREFIX}value-sha256"] == sha256(original.value).hexdigest()
    else:
        assert letter.value == original.value, original.name
    own = [
        (name, value)
        for name, value in letter.headers
        if not name.startswith(PREFIX) or name.startswith(PREVIOUS)
    ]
    assert own == [(name.replace(PREFIX, PREVIOUS), value) for name, value in original.headers], (
        original.name
    )


def test_a_partition_of_nothing_but_poison_stops_the_worker_before_it_is_emptied(
    pipeline: Pipeline,
) -> None:
    async def flood() -> None:
        async with AIOKafkaProducer(
            bootstrap_servers=pipeline.settings.bootstrap, linger_ms=5
        ) as producer:
            for number in range(300):
                await producer.send(
                    pipeline.settings.events_topic, b"garbage %d" % number, key=b"somebody"
                )

    asyncio.run(flood())
    worker = pipeline.start(
        "--max-consecutive-dead-letters", "50", "--max-batch-events", "20", ready=False
    )
    assert worker.wait() == 1
    assert "51 bad records in a row" in worker.log
    assert "max_consecutive_dead_letters" in worker.log
    assert "somebody" not in worker.log, "a log names no user"
    assert "garbage" not in worker.log
    assert len(read(pipeline.settings, pipeline.settings.dead_letters_topic)) <= 50

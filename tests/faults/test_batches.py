"""Sends batches to a real broker that clients in other languages can send and aiokafka cannot read.

A header name that is not UTF-8, a bomb, and a batch that only Kafka's own reader can decompress:
the worker parks what is no event, applies what lies around it, and every other reader goes on, too.
"""

from __future__ import annotations

import asyncio
import time
from typing import Final

import orjson
import pytest
from aiokafka import AIOKafkaProducer

from stream.contracts.dead_letter import PREFIX
from stream.kafka.batches.checked_records import check_records
from stream.kafka.batches.decompression import ALWAYS_ALLOWED_BYTES
from tests.support.contracts import faults, header_texts
from tests.support.pipelines import Pipeline
from tests.support.raw_batches import RawBatch, batch, record, wrongly_summed_lz4
from tests.support.topics import read

pytestmark = pytest.mark.kafka

USER: Final = b"raw-1"
BAD_NAME: Final = (b"\xff\xfe-id", b"2")


def event(number: int, **more: str) -> bytes:
    words = {"action": "view", "time": int(time.time() * 1000), "item_id": f"item-{number}"}
    return orjson.dumps({"user_id": USER.decode(), **words, **more})


def batches() -> list[tuple[bytes, int]]:
    """Returns batches and how many records each holds; all are for one partition."""
    now_ms = int(time.time() * 1000)
    named = [record(place, USER, event(place), [BAD_NAME] * (place == 1)) for place in range(3)]
    bomb = record(0, USER, event(3, log="a" * ALWAYS_ALLOWED_BYTES))
    pair = record(0, USER, event(4)) + record(1, USER, event(5))
    return [
        (batch(b"".join(named), 3, time_ms=now_ms), 3),
        (batch(bomb, 1, codec=4, time_ms=now_ms), 1),
        (batch(wrongly_summed_lz4(pair), 2, codec=3, time_ms=now_ms, compressed=True), 2),
        (batch(record(0, USER, event(6)), 1, time_ms=now_ms), 1),
    ]


async def produce(pipeline: Pipeline) -> None:
    settings = pipeline.settings
    async with AIOKafkaProducer(bootstrap_servers=settings.bootstrap) as producer:
        for raw, count in batches():
            await (
                await producer.send_batch(RawBatch(raw, count), settings.events_topic, partition=0)
            )


def test_what_aiokafka_cannot_read_is_parked_and_its_neighbours_are_applied(
    pipeline: Pipeline,
) -> None:
    asyncio.run(produce(pipeline))
    worker = pipeline.start()
    pipeline.wait_applied()
    assert worker.log.count("cannot be read") == 2  # once each

    # the audit reads the same, and agrees: four events, two letters
    report = pipeline.audit()
    assert report["events"]["applied"] == 4
    assert report["invalid"] == report["dead_letters"] == 2

    check_records()
    letters = read(pipeline.settings, pipeline.settings.dead_letters_topic)
    told = [header_texts(each.headers) for each in letters]
    assert not [fault for each in told for fault in faults("dead-letter-1", each)]
    wanted = [f"{PREFIX}{name}" for name in ("first-offset", "offset", "reason")]
    assert [[each[name] for name in wanted] for each in told] == [
        ["3", "3", "batch-too-large"],
        ["4", "5", "corrupt-batch"],
    ]
    assert [len(each.value) < 20_000 and each.key is None for each in letters] == [True, True]

    # every other command gets past them as well
    counted = pipeline.run("popularity", "--once")
    assert counted.returncode == 0, counted.stderr
    listed = pipeline.run("dead-letters", "list")
    assert listed.returncode == 0, listed.stderr
    replay = pipeline.run("dead-letters", "replay", "--dry-run")
    assert "2  left out: bytes that nobody could read" in replay.stdout

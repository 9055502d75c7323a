"""--rekey: a topic keyed by session becomes one keyed by user; a forwarder that dies and repeats itself doubles nothing."""

from __future__ import annotations

import asyncio
import signal
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import orjson
import pytest
from aiokafka import AIOKafkaConsumer, AIOKafkaProducer

from tests.faults.harness import Pipeline, make_pipeline, wait_until

pytestmark = [pytest.mark.kafka, pytest.mark.timeout(120)]


@pytest.fixture
def rekeyed(kafka: Any, tmp_path: Path) -> Iterator[Pipeline]:
    yield from make_pipeline(kafka.url, kafka.unique, tmp_path, rekey=True)


async def _produce_by_session(pipeline: Pipeline, sessions: int, events: int) -> None:
    async with AIOKafkaProducer(bootstrap_servers=pipeline.settings.bootstrap) as producer:
        for session in range(sessions):
            for number in range(events):
                event = {
                    "user_id": f"user-{session % 7}",
                    "action": "view",
                    "time": 1_700_000_000_000 + number,
                    "item_id": f"item-{number}",
                }
                await producer.send(pipeline.settings.events_topic, orjson.dumps(event), key=b"session-%d" % session)
        await producer.send(pipeline.settings.events_topic, b"garbage", key=b"session-0")


def test_events_of_a_user_meet_and_count_once(rekeyed: Pipeline) -> None:
    asyncio.run(_produce_by_session(rekeyed, sessions=21, events=4))
    dying = rekeyed.start("--rekey", "--max-batch-events", "10", failpoints="after_forward=kill@3", ready=False)
    assert dying.process.wait(60) == -signal.SIGKILL
    rekeyed.start("--rekey")
    applied = 21 * 4
    wait_until(lambda: _applied(rekeyed) == applied, 40, "every event once", interval_s=0.5)
    # by the worker that died, by the next, or by both: at least once
    letters = wait_until(lambda: asyncio.run(_dead_letters(rekeyed)), 20, "the record without a user is a dead letter")
    assert {(letter.value, dict(letter.headers)["is.dlq.reason"]) for letter in letters} == {(b"garbage", b"no-user")}


async def _dead_letters(pipeline: Pipeline) -> list[Any]:
    async with AIOKafkaConsumer(
        pipeline.settings.dead_letters_topic,
        bootstrap_servers=pipeline.settings.bootstrap,
        auto_offset_reset="earliest",
    ) as consumer:
        return [record for records in (await consumer.getmany(timeout_ms=2_000)).values() for record in records]


def _applied(pipeline: Pipeline) -> int:
    """Events applied, summed over the users' states."""
    total = 0
    for user in range(7):
        done = pipeline.run("inspect", "--user", f"user-{user}", "--json")
        total += orjson.loads(done.stdout)["state"]["count"] if done.returncode == 0 else 0
    return total

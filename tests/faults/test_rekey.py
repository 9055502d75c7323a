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

from stream.dead_letters import KEPT_BYTES
from tests.faults.harness import Pipeline, make_pipeline, wait_until

pytestmark = [pytest.mark.kafka, pytest.mark.timeout(120)]


BAD = {
    **{b"garbage %d" % number: b"no-user" for number in range(30)},  # more than good ones in their batch
    b'{"note":' + b"[" * 60_000: b"no-user",
    b'{"user_id":"user-1","note":"' + b"x" * 800_000 + b'"}': b"too-large",
}
EXPECTED = {value[:KEPT_BYTES]: reason for value, reason in BAD.items()}


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
        for value in BAD:
            await producer.send(pipeline.settings.events_topic, value, key=b"session-0")


def test_events_of_a_user_meet_and_count_once(rekeyed: Pipeline) -> None:
    asyncio.run(_produce_by_session(rekeyed, sessions=21, events=4))
    dying = rekeyed.start("--rekey", "--max-batch-events", "10", failpoints="after_forward=kill@3", ready=False)
    assert dying.process.wait(60) == -signal.SIGKILL
    rekeyed.start("--rekey")
    applied = 21 * 4
    wait_until(lambda: _applied(rekeyed) == applied, 40, "every event once", interval_s=0.5)
    # by the worker that died, by the next, or by both: at least once
    wait_until(
        lambda: asyncio.run(_parked(rekeyed)) == EXPECTED, 20, "what has no user is a dead letter, with its reason"
    )


async def _parked(pipeline: Pipeline) -> dict[bytes, bytes]:
    """First bytes and reason of the dead letters."""
    async with AIOKafkaConsumer(
        pipeline.settings.dead_letters_topic,
        bootstrap_servers=pipeline.settings.bootstrap,
        auto_offset_reset="earliest",
    ) as consumer:
        fetched = (await consumer.getmany(timeout_ms=2_000)).values()
    return {letter.value[:KEPT_BYTES]: dict(letter.headers)["is.dlq.reason"] for each in fetched for letter in each}


def _applied(pipeline: Pipeline) -> int:
    """Events applied, summed over the users' states."""
    total = 0
    for user in range(7):
        done = pipeline.run("inspect", "--user", f"user-{user}", "--json")
        total += orjson.loads(done.stdout)["state"]["count"] if done.returncode == 0 else 0
    return total

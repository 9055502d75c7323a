"""Checks that --rekey turns a topic keyed by session into one keyed by user.

A forwarder that dies and repeats itself doubles nothing.
"""

from __future__ import annotations

import asyncio
import signal
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import orjson
import pytest
from aiokafka import AIOKafkaProducer

from stream.contracts.dead_letter import KEPT_BYTES
from stream.contracts.state_record import decode_record
from tests.support.pipelines import Pipeline, make_pipeline, wait_until
from tests.support.topics import read

pytestmark = pytest.mark.kafka


BAD = {
    **{
        b"garbage %d" % number: b"no-user" for number in range(30)
    },  # more than good ones in their batch
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
                await producer.send(
                    pipeline.settings.events_topic, orjson.dumps(event), key=b"session-%d" % session
                )
        for value in BAD:
            await producer.send(pipeline.settings.events_topic, value, key=b"session-0")


def test_events_of_a_user_meet_and_count_once(rekeyed: Pipeline) -> None:
    asyncio.run(_produce_by_session(rekeyed, sessions=21, events=4))
    dying = rekeyed.start(
        "--rekey", "--max-batch-events", "10", failpoints="after_forward=kill@3", ready=False
    )
    assert dying.wait() == -signal.SIGKILL
    rekeyed.start("--rekey")
    applied = 21 * 4
    wait_until(lambda: _applied(rekeyed) == applied, "every event once", interval_s=0.5)
    # by the worker that died, by the next, or by both: at least once
    wait_until(
        lambda: _parked(rekeyed) == EXPECTED,
        "what has no user is a dead letter, with its reason",
        interval_s=0.5,
    )
    done = rekeyed.run("inspect", "--user", "user-3", "--json")
    assert done.returncode == 0, done.stderr
    assert orjson.loads(done.stdout)["state"]["count"] == applied // 7


def _parked(pipeline: Pipeline) -> dict[bytes, bytes]:
    """First bytes and reason of the dead letters."""
    return {
        letter.value[:KEPT_BYTES]: dict(letter.headers)["is.dlq.reason"]
        for letter in read(pipeline.settings, pipeline.settings.dead_letters_topic)
    }


def _applied(pipeline: Pipeline) -> int:
    """Events applied, summed over the users' states."""
    records = read(pipeline.settings, pipeline.settings.changelog_topic)
    newest = {each.key: each.value for each in records if each.key}  # those of fences have none
    return sum(int(decode_record(value).header["count"]) for value in newest.values())

"""Checks that the broker refuses states of a worker whose partition has gone to another.

It does so whenever they arrive.
"""

from __future__ import annotations

import asyncio
import itertools
import signal
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import pytest
from aiokafka import AIOKafkaProducer
from aiokafka.errors import ProducerFenced

from stream.broker.folder import KafkaFolder
from stream.broker.local_kafka import LocalKafka
from stream.kafka.fence import Fence, FencedBatch, marker, raise_fence
from stream.kafka.record_batches import pack
from tests.support import topics
from tests.support.brokers import START_S, remove
from tests.support.pipelines import Pipeline, is_stopped, make_pipeline, wait_until

pytestmark = [pytest.mark.kafka, pytest.mark.slow]


@asynccontextmanager
async def owner(pipeline: Pipeline) -> AsyncIterator[tuple[AIOKafkaProducer, Fence]]:
    """A producer as a worker has one, and its fence."""
    producer = AIOKafkaProducer(
        bootstrap_servers=pipeline.settings.bootstrap, enable_idempotence=True, acks="all"
    )
    await producer.start()
    try:
        yield (
            producer,
            await raise_fence(producer.client, f"{pipeline.settings.app_id}-states-0", 60),
        )
    finally:
        await producer.stop()


async def write(producer: AIOKafkaProducer, batch: FencedBatch, pipeline: Pipeline) -> int:
    metadata = await (
        await producer.send_batch(batch, pipeline.settings.changelog_topic, partition=0)
    )
    offset: int = metadata.offset
    return offset


def states(fence: Fence, text: bytes) -> FencedBatch:
    (section,) = pack([b"user", b"other"], [text, text], 0, "none")
    return FencedBatch(section, fence)


def test_states_of_the_owner_before_are_refused(pipeline: Pipeline) -> None:
    async def run() -> None:
        async with owner(pipeline) as (first, old), owner(pipeline) as (second, new):
            assert (
                await write(first, states(old, b"before the new owner has written"), pipeline) == 0
            )
            assert await write(second, FencedBatch(marker(), new), pipeline) == 2
            with pytest.raises(ProducerFenced):
                await write(first, states(old, b"late"), pipeline)
            assert await write(second, states(new, b"its own"), pipeline) == 3
            assert await write(second, states(new, b"its next"), pipeline) == 5

    asyncio.run(run())


def test_a_fence_raised_again_by_the_same_worker_begins_anew(pipeline: Pipeline) -> None:
    async def run() -> None:
        async with owner(pipeline) as (producer, fence):
            for number in range(3):
                assert await write(producer, FencedBatch(marker(), fence), pipeline) == 3 * number
                assert await write(producer, states(fence, b"state"), pipeline) == 3 * number + 1
                fence = await raise_fence(
                    producer.client, f"{pipeline.settings.app_id}-states-0", 60
                )

    asyncio.run(run())


def test_a_worker_whose_fence_cannot_be_written_ends_and_restores_nothing(
    pipeline: Pipeline,
) -> None:
    worker = pipeline.start(failpoints="assigned=stop@1", ready=False)
    wait_until(lambda: is_stopped(worker.process.pid), "partitions assigned")
    topics.configure(pipeline.settings, pipeline.settings.changelog_topic, max_message_bytes="10")
    worker.process.send_signal(signal.SIGCONT)
    assert worker.wait() == 1
    pipeline.workers.remove(worker)  # its code is planned
    assert "refused a write: MessageSizeTooLargeError" in worker.log.splitlines()[-1]
    assert "states restored" not in worker.log
    assert "never retrieved" not in worker.log
    topics.configure(
        pipeline.settings, pipeline.settings.changelog_topic, max_message_bytes="1048588"
    )
    pipeline.produce(200)
    pipeline.start()
    pipeline.wait_applied()
    pipeline.audit()


class Unfit(KafkaFolder):
    """Runs one broker with Kafka's own default for its transaction log.

    That is three replicas, which it has not.
    """

    def write_properties(self, port: int, controller_port: int) -> None:
        super().write_properties(port, controller_port)
        with self.properties.open("a", encoding="ascii") as properties:
            properties.write("transaction.state.log.replication.factor=3\n")


def test_a_cluster_that_cannot_keep_transactional_ids_is_told_what_it_lacks(
    forks: None, tmp_path: Path, ports: list[int]
) -> None:
    broker, numbers = (
        LocalKafka(tmp_path / "kafka", ports[0], ports[1], 512, short_lived=True),
        itertools.count(),
    )
    broker.folder = Unfit(broker.data_dir)
    try:
        broker.start(START_S)
        for pipeline in make_pipeline(broker.url, lambda name: f"{name}-{next(numbers)}", tmp_path):
            worker = pipeline.start("--null-model", "--publish-timeout-s", "5", ready=False)
            assert worker.wait() == 1
            assert "transaction.state.log.replication.factor" in worker.log.splitlines()[-1]
            assert "states restored" not in worker.log
    finally:
        remove(broker)

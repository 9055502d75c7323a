"""What a worker must not start with, because it would lose or double events in silence; each refusal names what to do."""

from __future__ import annotations

import asyncio
import signal
from collections.abc import Awaitable, Callable
from dataclasses import replace
from typing import Any

import pytest
from aiokafka.admin import AIOKafkaAdminClient, NewPartitions
from aiokafka.admin.config_resource import ConfigResource, ConfigResourceType
from aiokafka.protocol.admin import DeleteGroupsRequest

from stream.topics import create_topics
from tests.faults.harness import Pipeline, wait_until

pytestmark = [pytest.mark.kafka, pytest.mark.timeout(120)]


def administer(pipeline: Pipeline, action: Callable[[AIOKafkaAdminClient], Awaitable[Any]]) -> None:
    async def run() -> None:
        admin = AIOKafkaAdminClient(bootstrap_servers=pipeline.settings.bootstrap)
        await admin.start()
        try:
            await action(admin)
        finally:
            await admin.close()

    asyncio.run(run())


def apply_some(pipeline: Pipeline) -> None:
    worker = pipeline.start()
    pipeline.produce(400, users=20)
    pipeline.wait_applied()
    assert worker.stop() == 0


def refusal(pipeline: Pipeline, *arguments: str) -> str:
    worker = pipeline.start(*arguments, ready=False)
    assert worker.process.wait(60) == 1, worker.log
    assert "Traceback" not in worker.log
    return worker.log


def recreate(pipeline: Pipeline, topic: str) -> None:
    async def delete(admin: AIOKafkaAdminClient) -> None:
        await admin.delete_topics([topic])
        while topic in await admin.list_topics():  # noqa: ASYNC110 the broker changes it
            await asyncio.sleep(0.1)

    administer(pipeline, delete)
    asyncio.run(create_topics(pipeline.settings, 4, 1))


def test_missing_topics_are_named(pipeline: Pipeline) -> None:
    topic = pipeline.settings.updates_topic
    administer(pipeline, lambda admin: admin.delete_topics([topic]))
    log = refusal(pipeline)
    assert topic in log
    assert "topics create" in log


def test_a_changelog_that_forgets_is_refused(pipeline: Pipeline) -> None:
    resource = ConfigResource(
        ConfigResourceType.TOPIC, pipeline.settings.changelog_topic, configs={"cleanup.policy": "delete"}
    )
    administer(pipeline, lambda admin: admin.alter_configs([resource]))
    log = refusal(pipeline)
    assert "cleanup.policy" in log
    assert pipeline.settings.changelog_topic in log


def test_a_lost_changelog_is_refused(pipeline: Pipeline) -> None:
    apply_some(pipeline)
    recreate(pipeline, pipeline.settings.changelog_topic)
    assert "the changelog" in refusal(pipeline)


def test_a_recreated_source_topic_is_refused(pipeline: Pipeline) -> None:
    apply_some(pipeline)
    recreate(pipeline, pipeline.settings.events_topic)
    assert "deleted and created again" in refusal(pipeline)


def test_a_recreated_source_topic_is_refused_by_its_states_too(pipeline: Pipeline) -> None:
    """The group's offsets are gone as well, so only the states know."""
    apply_some(pipeline)
    administer(pipeline, lambda admin: admin.delete_topics([pipeline.settings.events_topic]))
    administer(pipeline, lambda admin: _delete_group(admin, pipeline.settings.app_id))
    asyncio.run(create_topics(pipeline.settings, 4, 1))
    assert "states of" in refusal(pipeline)


async def _delete_group(admin: AIOKafkaAdminClient, group: str) -> None:
    coordinator = await admin.find_coordinator(group)
    answer = await admin._send_request_to_node(coordinator, DeleteGroupsRequest([group]))
    assert [code for _, code in answer.results] == [0]


def test_a_changed_number_of_partitions_is_refused(pipeline: Pipeline) -> None:
    apply_some(pipeline)
    settings = pipeline.settings
    every = (settings.events_topic, settings.updates_topic, settings.profiles_topic, settings.dead_letters_topic)
    administer(pipeline, lambda admin: admin.create_partitions({topic: NewPartitions(8) for topic in every}))
    assert "partitions" in refusal(pipeline)


def test_a_changed_number_is_refused_when_the_changelog_was_changed_too(pipeline: Pipeline) -> None:
    apply_some(pipeline)
    settings = pipeline.settings
    every = (
        settings.events_topic,
        settings.updates_topic,
        settings.profiles_topic,
        settings.dead_letters_topic,
        settings.changelog_topic,
    )
    administer(pipeline, lambda admin: admin.create_partitions({topic: NewPartitions(8) for topic in every}))
    assert "users have moved" in refusal(pipeline)


def test_a_broker_that_is_not_there_is_named(pipeline: Pipeline) -> None:
    log = refusal(pipeline, "--broker", "kafka://127.0.0.1:9")
    assert "127.0.0.1:9" in log
    assert "--broker" in log


def test_too_many_bad_records_in_a_row_stop_the_worker(pipeline: Pipeline) -> None:
    asyncio.run(_produce_garbage(pipeline, 200))
    log = refusal(pipeline, "--max-consecutive-dead-letters", "20")
    assert "bad records in a row" in log
    assert pipeline.committed() == 0


async def _produce_garbage(pipeline: Pipeline, count: int) -> None:
    from aiokafka import AIOKafkaProducer

    async with AIOKafkaProducer(bootstrap_servers=pipeline.settings.bootstrap) as producer:
        for number in range(count):
            await producer.send(pipeline.settings.events_topic, b"garbage %d" % number, key=b"user", partition=0)


def test_a_failed_write_ends_the_worker_and_commits_nothing(pipeline: Pipeline) -> None:
    """Stock Faust logs it and commits (faust hazard F2)."""
    worker = pipeline.start()
    resource = ConfigResource(
        ConfigResourceType.TOPIC,
        pipeline.settings.changelog_topic,
        configs={"cleanup.policy": "compact", "max.message.bytes": "100"},
    )
    administer(pipeline, lambda admin: admin.alter_configs([resource]))
    pipeline.produce(200, users=20)
    assert worker.process.wait(60) == 1, worker.log
    assert "refused a write" in worker.log
    assert pipeline.committed() == 0


def test_a_worker_that_was_away_too_long_does_not_write(pipeline: Pipeline) -> None:
    """A zombie: stopped past its session while another owns its partitions, then continued (hazard F4)."""
    zombie = pipeline.start("--max-batch-events", "20", failpoints="after_updates=stop@3")
    pipeline.produce(300, users=20)
    wait_until(lambda: _stopped(zombie.process.pid), 30, "the failpoint stopped the worker")
    pipeline.start()
    wait_until(lambda: all(done == end for done, end in pipeline.offsets().values()), 60, "the other worker took over")
    pipeline.produce(300, users=20, seed=2)
    pipeline.wait_applied()
    zombie.process.send_signal(signal.SIGCONT)
    assert zombie.process.wait(30) == 1, zombie.log
    assert "not ours any more" in zombie.log
    pipeline.workers.remove(zombie)
    assert pipeline.audit()["regressions"] == 0


def _stopped(pid: int) -> bool:
    with open(f"/proc/{pid}/stat", encoding="utf-8") as stat:
        return stat.read().rpartition(")")[2].split()[0] == "T"


def test_a_second_pipeline_with_the_same_app_id(pipeline: Pipeline) -> None:
    """Group and changelog would be shared: partitions of one changelog dealt out to readers of two topics."""
    worker = pipeline.start("--null-model")
    other = f"{pipeline.settings.events_topic}-other"
    asyncio.run(create_topics(replace(pipeline.settings, events_topic=other), 4, 1))
    log = refusal(pipeline, "--null-model", "--events-topic", other)
    assert "two pipelines with one --app-id" in log
    assert pipeline.settings.events_topic in log
    assert worker.stop() == 0

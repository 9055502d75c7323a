"""Checks what a worker must not start with, because it would lose or double events in silence.

Each refusal names what to do.
"""

from __future__ import annotations

import asyncio
import signal
from dataclasses import replace

import pytest
from aiokafka import TopicPartition
from aiokafka.admin import NewTopic, RecordsToDelete
from aiokafka.protocol.admin import DeleteGroupsRequest

from stream.kafka.topics import create_topics
from tests.support.pipelines import SHORT_SESSION_S, Pipeline, is_stopped, wait_until
from tests.support.topics import (
    administer,
    configure,
    delete,
    grow,
    produce,
    read,
    recreate,
    request,
)

pytestmark = pytest.mark.kafka


def apply_some(pipeline: Pipeline) -> None:
    worker = pipeline.start("--null-model")
    pipeline.produce(400, users=20)
    pipeline.wait_applied()
    assert worker.stop() == 0


def refusal(pipeline: Pipeline, *arguments: str) -> str:
    worker = pipeline.start("--null-model", *arguments, ready=False)
    assert worker.wait() == 1, worker.log
    assert "Traceback" not in worker.log
    return worker.log


def test_missing_topics_are_named(pipeline: Pipeline) -> None:
    topic = pipeline.settings.updates_topic
    delete(pipeline.settings, topic)
    log = refusal(pipeline)
    assert topic in log
    assert "topics create" in log


def test_a_changelog_that_forgets_is_refused(pipeline: Pipeline) -> None:
    configure(pipeline.settings, pipeline.settings.changelog_topic, cleanup_policy="delete")
    log = refusal(pipeline)
    assert "cleanup.policy" in log
    assert pipeline.settings.changelog_topic in log


def test_a_lost_changelog_is_refused(pipeline: Pipeline) -> None:
    apply_some(pipeline)
    recreate(pipeline.settings, pipeline.settings.changelog_topic, 4)
    assert "the changelog" in refusal(pipeline)


def test_a_recreated_source_topic_is_refused(pipeline: Pipeline) -> None:
    apply_some(pipeline)
    recreate(pipeline.settings, pipeline.settings.events_topic, 4)
    assert "deleted and created again" in refusal(pipeline)


def test_a_recreated_source_topic_is_refused_when_it_was_filled_past_old_offsets(
    pipeline: Pipeline,
) -> None:
    """Its offsets look like those of the old one, and only its id is another.

    Kafka forgets the group's offsets with the topic, and those of the changelog stay.
    """
    apply_some(pipeline)
    recreate(pipeline.settings, pipeline.settings.events_topic, 4)
    pipeline.produce(800, users=20)
    log = refusal(pipeline)
    assert f"{pipeline.settings.events_topic} was deleted and created again" in log
    assert "--app-id" in log


def test_where_no_offset_is_committed_the_log_tells_a_recreated_topic(pipeline: Pipeline) -> None:
    apply_some(pipeline)
    (answer,) = request(pipeline.settings, DeleteGroupsRequest([pipeline.settings.app_id]))
    assert [code for _, code in answer.results] == [0]
    again = pipeline.start("--null-model")  # the same topic: what was applied is skipped
    pipeline.wait_applied()
    assert again.stop() == 0
    assert pipeline.audit()["events"]["read"] == 400
    (answer,) = request(pipeline.settings, DeleteGroupsRequest([pipeline.settings.app_id]))
    recreate(pipeline.settings, pipeline.settings.events_topic, 4)
    pipeline.produce(800, users=20)
    assert "has another event at offset" in refusal(pipeline)


def test_recreated_profiles_are_refused(pipeline: Pipeline) -> None:
    apply_some(pipeline)
    recreate(pipeline.settings, pipeline.settings.profiles_topic, 4)
    assert f"{pipeline.settings.profiles_topic} was deleted" in refusal(pipeline)


def test_a_changelog_that_lost_its_first_records_is_refused(pipeline: Pipeline) -> None:
    apply_some(pipeline)
    changelog, cut = pipeline.settings.changelog_topic, RecordsToDelete(5)
    configure(pipeline.settings, changelog, cleanup_policy="delete")
    administer(
        pipeline.settings,
        lambda admin: admin.delete_records({TopicPartition(changelog, 2): cut}),
    )
    configure(pipeline.settings, changelog, min_compaction_lag_ms="3600000")
    assert f"{changelog}[2] begins at 5" in refusal(pipeline)


def test_a_source_that_grows_under_a_worker_ends_it_with_the_reason(pipeline: Pipeline) -> None:
    worker = pipeline.start("--null-model")
    topic = pipeline.settings.events_topic
    grow(pipeline.settings, [topic], 6)
    assert worker.wait() == 1, worker.log
    assert f"{topic} has 6 partitions now and had 4" in worker.log
    assert "unexpected" not in worker.log


def test_a_source_that_is_recreated_under_a_worker_ends_it(pipeline: Pipeline) -> None:
    """And what was filled in past the old offsets is not taken for old."""
    worker = pipeline.start("--null-model")
    pipeline.produce(200, users=20)
    pipeline.wait_applied()
    recreate(pipeline.settings, pipeline.settings.events_topic, 4)
    pipeline.produce(800, users=20)
    assert worker.wait() == 1, worker.log
    assert "deleted and created again" in worker.log
    assert "deleted and created again" in refusal(pipeline)


def test_dead_letters_go_to_a_partition_that_exists(pipeline: Pipeline) -> None:
    letters = pipeline.settings.dead_letters_topic
    delete(pipeline.settings, letters)
    one = NewTopic(letters, 1, 1, topic_configs={"max.message.bytes": "2097176"})
    administer(pipeline.settings, lambda admin: admin.create_topics([one]))
    worker = pipeline.start("--null-model")
    for partition in range(4):
        produce(pipeline.settings, pipeline.settings.events_topic, partition, [(b"user", b"{")])
    pipeline.wait_applied()
    assert worker.stop() == 0
    assert len(read(pipeline.settings, letters, 1)) == 4
    assert pipeline.audit()["dead_letters"] == 4


def test_a_recreated_source_topic_is_refused_by_its_states_too(pipeline: Pipeline) -> None:
    """The group's offsets are gone as well, so only the states know."""
    apply_some(pipeline)
    delete(pipeline.settings, pipeline.settings.events_topic)
    (answer,) = request(pipeline.settings, DeleteGroupsRequest([pipeline.settings.app_id]))
    assert [code for _, code in answer.results] == [0]
    asyncio.run(create_topics(pipeline.settings, 4, 1))
    assert "states of" in refusal(pipeline)


def test_a_changed_number_of_partitions_is_refused(pipeline: Pipeline) -> None:
    apply_some(pipeline)
    settings = pipeline.settings
    every = (
        settings.events_topic,
        settings.updates_topic,
        settings.profiles_topic,
        settings.dead_letters_topic,
    )
    grow(pipeline.settings, every, 8)
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
    grow(pipeline.settings, every, 8)
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
            await producer.send(
                pipeline.settings.events_topic, b"garbage %d" % number, key=b"user", partition=0
            )


def test_a_failed_write_ends_the_worker_and_commits_nothing(pipeline: Pipeline) -> None:
    """Stock Faust logs it and commits (faust hazard F2)."""
    worker = pipeline.start()
    configure(pipeline.settings, pipeline.settings.changelog_topic, max_message_bytes="100")
    pipeline.produce(200, users=20)
    assert worker.wait() == 1, worker.log
    assert "refused a write" in worker.log
    assert pipeline.committed() == 0


def test_a_worker_that_was_away_too_long_does_not_write(pipeline: Pipeline) -> None:
    """A zombie is stopped past its session while another owns its partitions, then continued.

    This is hazard F4.
    """
    pipeline.session_s = SHORT_SESSION_S
    zombie = pipeline.start("--max-batch-events", "20", failpoints="after_updates=stop@3")
    pipeline.produce(300, users=20)
    wait_until(lambda: is_stopped(zombie.process.pid), "the failpoint stopped the worker")
    pipeline.start()
    wait_until(
        lambda: all(done == end for done, end in pipeline.offsets().values()),
        "the other worker took over",
    )
    pipeline.produce(300, users=20, seed=2)
    pipeline.wait_applied()
    zombie.process.send_signal(signal.SIGCONT)
    assert zombie.wait() == 1, zombie.log
    assert "not ours any more" in zombie.log
    pipeline.workers.remove(zombie)
    assert pipeline.audit()["regressions"] == 0


def test_a_second_pipeline_with_the_same_app_id(pipeline: Pipeline) -> None:
    """Group and changelog would be shared.

    Partitions of one changelog would be dealt out to readers of two topics.
    """
    worker = pipeline.start("--null-model")
    other = f"{pipeline.settings.events_topic}-other"
    asyncio.run(create_topics(replace(pipeline.settings, events_topic=other), 4, 1))
    log = refusal(pipeline, "--events-topic", other)
    assert "two pipelines with one --app-id" in log
    assert pipeline.settings.events_topic in log
    assert worker.stop() == 0

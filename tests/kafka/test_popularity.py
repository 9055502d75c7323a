"""Live popularity on a real Kafka: counted once whatever is killed, and followed by workers whose updates say so."""

from __future__ import annotations

import asyncio
import signal
import subprocess
import sys
from collections.abc import Iterator, Mapping
from functools import partial
from pathlib import Path
from typing import Any

import orjson
import pytest
from aiokafka import AIOKafkaConsumer, AIOKafkaProducer, TopicPartition
from aiokafka.admin import RecordsToDelete

from stream.config import Settings
from stream.popularity import Snapshot, decode
from stream.topics import check_topics
from tests.contracts import faults
from tests.faults.harness import Pipeline, Worker, make_pipeline, spawn_command, wait_until
from tests.faults.test_refusals import administer, recreate
from tests.unit.stream.test_popularity import agrees

pytestmark = [pytest.mark.kafka, pytest.mark.timeout(300)]


@pytest.fixture
def pipeline(kafka: Any, tmp_path: Path) -> Iterator[Pipeline]:
    yield from make_pipeline(kafka.url, kafka.unique, tmp_path)


def start_job(pipeline: Pipeline, *arguments: str) -> Worker:
    """The job as a process, ended with the pipeline."""
    log_path = pipeline.folder / f"job-{len(pipeline.workers)}.log"
    job = Worker(spawn_command(["popularity", *arguments], pipeline.environment, log_path), log_path)
    pipeline.workers.append(job)
    return job


def published(job: Worker, least: int) -> bool:
    return job.log.count("snapshot published") >= least


def count(pipeline: Pipeline) -> Snapshot:
    """Count to the end of the topic."""
    done = pipeline.run("popularity", "--once")
    assert done.returncode == 0, done.stderr
    return shown(pipeline)


def shown(pipeline: Pipeline) -> Snapshot:
    done = pipeline.run("popularity", "--show", "--json")
    assert done.returncode == 0, done.stderr
    return decode(done.stdout.encode())


async def _read(settings: Settings, topic: str, partitions: int) -> list[Any]:
    async with AIOKafkaConsumer(bootstrap_servers=settings.bootstrap, enable_auto_commit=False) as consumer:
        places = [TopicPartition(topic, each) for each in range(partitions)]
        consumer.assign(places)
        await consumer.seek_to_beginning()
        ends, found = await consumer.end_offsets(places), []
        while any([await consumer.position(each) < ends[each] for each in places]):
            for records in (await consumer.getmany(timeout_ms=500)).values():
                found += records
        return found


def snapshots(pipeline: Pipeline) -> list[Snapshot]:
    return [decode(each.value) for each in asyncio.run(_read(pipeline.settings, pipeline.settings.popularity_topic, 1))]


def met(pipeline: Pipeline) -> list[tuple[str, int]]:
    """What the topic holds, by a reader of its own."""
    records = asyncio.run(_read(pipeline.settings, pipeline.settings.events_topic, 4))
    events = [(orjson.loads(each.value), each.timestamp) for each in records]
    return [(event["item_id"], min(event["time"], timestamp)) for event, timestamp in events]


def send(pipeline: Pipeline, topic: str, *records: tuple[bytes | None, bytes]) -> None:
    async def run() -> None:
        async with AIOKafkaProducer(bootstrap_servers=pipeline.settings.bootstrap) as producer:
            for key, value in records:
                await producer.send_and_wait(topic, value, key=key)

    asyncio.run(run())


def updates(pipeline: Pipeline) -> dict[str, dict[str, Any]]:
    """The newest of each user."""
    records = asyncio.run(_read(pipeline.settings, pipeline.settings.updates_topic, 4))
    found = [orjson.loads(each.value) for each in records]
    assert not [fault for each in found for fault in faults("update-1", each)]
    return {each["user_id"]: each for each in found}


def test_the_job_makes_its_topic_counts_and_has_nothing_to_say_twice(pipeline: Pipeline) -> None:
    settings = pipeline.settings
    empty = pipeline.run("popularity", "--once")
    assert (empty.returncode, "no event of an item" in empty.stdout) == (0, True), empty.stderr
    none = pipeline.run("popularity", "--show")
    assert (none.returncode, "no snapshot yet" in none.stderr) == (1, True)
    made = Settings(**{**vars(settings), "live_popularity": True})
    assert asyncio.run(check_topics(made, everything=True)) == []

    pipeline.produce(2_000)
    agrees(count(pipeline), met(pipeline))
    readable = pipeline.run("popularity", "--show").stdout.splitlines()
    assert len(readable) == 21
    assert "2,000 events counted, " in readable[-1]
    agrees(count(pipeline), met(pipeline))
    assert len(snapshots(pipeline)) == 1

    send(pipeline, settings.events_topic, (b"user-1", b"{broken"), (b"user-1", b'{"user_id":"user-1"}'))
    pipeline.produce(10, seed=2)
    done = pipeline.run("popularity", "--once")
    assert "10 events more, 2010 in all" in done.stderr
    assert "2 records were no events" in done.stderr


def test_a_job_that_is_killed_again_and_again_counts_every_event_once(pipeline: Pipeline) -> None:
    load = pipeline.produce_in_background(12_000, rate=2_500)
    for _ in range(3):
        before = len(snapshots(pipeline)) if pipeline.workers else 0
        job = start_job(pipeline, "--every", "0.1")
        wait_until(partial(published, job, 2), 60, "two snapshots while events come")
        job.kill()
        assert len(snapshots(pipeline)) > before
    load.join()
    last = start_job(pipeline, "--every", "3600")
    wait_until(lambda: "caught up with" in last.log, 60, "the job has caught up")
    pipeline.produce(500, seed=2)
    assert last.stop() == 0  # with what came since
    agrees(count(pipeline), met(pipeline))
    totals = [each.events for each in snapshots(pipeline)]
    assert totals == sorted(totals)
    assert totals[-1] == 12_500


def test_ctrl_c_publishes_what_was_counted_since(pipeline: Pipeline) -> None:
    pipeline.produce(100)
    job = start_job(pipeline, "--every", "3600", "-v")
    wait_until(lambda: "snapshot published" in job.log, 60, "the first snapshot")
    pipeline.produce(50, seed=2)
    job.stop(signal.SIGINT)
    assert job.process.returncode == 0
    agrees(count(pipeline), met(pipeline))


def test_events_that_retention_took_are_told_and_a_recreated_topic_is_counted_anew(pipeline: Pipeline) -> None:
    topic = pipeline.settings.events_topic
    pipeline.produce(400)
    assert count(pipeline).events == 400
    pipeline.produce(400, seed=2)
    ends = {partition: end for partition, (_, end) in pipeline.offsets().items()}
    everything = {TopicPartition(topic, each): RecordsToDelete(before_offset=end) for each, end in ends.items()}
    administer(pipeline, lambda admin: admin.delete_records(everything))
    pipeline.produce(100, seed=3)
    done = pipeline.run("popularity", "--once")
    assert done.returncode == 0, done.stderr
    assert "400 records of partition 0, 1, 2, 3 were deleted by retention" in done.stderr
    assert shown(pipeline).events == 500

    recreate(pipeline, topic)
    pipeline.produce(80, seed=4)
    done = pipeline.run("popularity", "--once")
    assert "deleted and created again; counting anew" in done.stderr
    agrees(shown(pipeline), met(pipeline))


def test_a_topic_recreated_under_a_running_job_is_told_too(pipeline: Pipeline) -> None:
    pipeline.produce(400)
    job = start_job(pipeline, "--every", "0.2")
    wait_until(lambda: "snapshot published" in job.log, 60, "the first snapshot")
    recreate(pipeline, pipeline.settings.events_topic)
    pipeline.produce(80, seed=4)
    wait_until(lambda: "counting anew" in job.log, 60, "the job sees the new topic")
    wait_until(lambda: shown(pipeline).events == 80, 60, "its events are counted")
    agrees(shown(pipeline), met(pipeline))


def test_a_job_refuses_a_topic_that_is_not_its_own(pipeline: Pipeline) -> None:
    pipeline.produce(10)
    count(pipeline)
    send(pipeline, pipeline.settings.popularity_topic, (b"other-clicks", b"{}"))
    done = pipeline.run("popularity", "--once")
    assert done.returncode == 1
    assert "holds the popularity of other-clicks" in done.stderr
    send(pipeline, pipeline.settings.popularity_topic, (pipeline.settings.events_topic.encode(), b"{}"))
    done = pipeline.run("popularity", "--once")
    assert done.returncode == 1
    assert "schema ''" in done.stderr
    done = pipeline.run("popularity", "--once", "--popularity-topic", pipeline.settings.updates_topic)
    assert "has 4 partitions, it must have 1" in done.stderr
    assert pipeline.run("popularity", "--once", "--events-topic", "nowhere").returncode == 1


def spawn_following(arguments: list[str], environment: Mapping[str, str], log_path: Path) -> subprocess.Popen[bytes]:
    """As the harness starts a command, with a null model that can follow."""
    with log_path.open("wb") as log:
        command = [sys.executable, "-m", "tests.following_model", *arguments]
        return subprocess.Popen(command, env=environment, stdout=log, stderr=subprocess.STDOUT, start_new_session=True)


def test_updates_name_the_snapshot_that_they_were_scored_with(pipeline: Pipeline) -> None:
    pipeline.spawn = spawn_following
    created = pipeline.run("topics", "create", "--live-popularity", "--json")
    assert created.returncode == 0, created.stderr
    worker = pipeline.start("--null-model", "--live-popularity")
    pipeline.produce(400)
    pipeline.wait_applied()
    assert not [each for each in updates(pipeline).values() if "popularity_as_of" in each]
    assert worker.metric("popularity_as_of_seconds") == 0

    first = count(pipeline)
    wait_until(lambda: worker.metric("popularity_as_of_seconds") == first.as_of / 1000, 30, "the worker follows")
    pipeline.produce(400, users=20, seed=2)
    pipeline.wait_applied()
    newest = updates(pipeline)
    assert {newest[f"user-{number}"]["popularity_as_of"] for number in range(20)} == {first.as_of}

    second = count(pipeline)
    assert second.as_of > first.as_of
    key = pipeline.settings.events_topic.encode()
    send(pipeline, pipeline.settings.popularity_topic, (key, b"{"), (b"other", b"{}"), (key, b'{"schema":"x/1"}'))
    late = pipeline.start("--null-model", "--live-popularity")
    wait_until(lambda: late.log.count("is left out") == 1, 30, "the unreadable snapshot is told")
    wait_until(lambda: worker.log.count("is left out") == 3, 30, "each unreadable snapshot is told")
    assert worker.metric("popularity_as_of_seconds") == second.as_of / 1000
    assert late.metric("popularity_as_of_seconds") == 0
    assert pipeline.audit()["clean"]
    assert worker.stop() == late.stop() == 0
    assert "Traceback" not in worker.log + late.log


def test_a_worker_of_any_model_goes_on_and_says_whether_it_follows(pipeline: Pipeline) -> None:
    pipeline.produce(400, users=20)
    snapshot = count(pipeline)
    worker = pipeline.start("--live-popularity")
    answer = ("scores without", "knows nothing of live popularity", "scoring with what was popular")
    wait_until(lambda: any(each in worker.log for each in answer), 60, "the worker says whether its model follows")
    follows = worker.metric("popularity_as_of_seconds") == snapshot.as_of / 1000
    pipeline.produce(400, users=20, seed=2)
    pipeline.wait_applied()
    named = {each.get("popularity_as_of") for each in updates(pipeline).values()}
    assert named == {snapshot.as_of if follows else None}
    assert worker.stop() == 0


@pytest.mark.slow
def test_a_model_that_was_trained_with_it_follows(pipeline: Pipeline, tmp_path: Path) -> None:
    """`produce --simulate` brings the items that `train --simulate` learned."""
    events = ("produce", "--simulate", "--users", "20", "--limit", "400")
    trained = pipeline.run("train", "--simulate", "60", "--epochs", "1", "--out", str(tmp_path / "model"))
    assert trained.returncode == 0, trained.stderr
    assert pipeline.run(*events).returncode == 0
    snapshot = count(pipeline)
    worker = pipeline.start("--model", str(tmp_path / "model"), "--live-popularity")
    wait_until(lambda: worker.metric("popularity_as_of_seconds") == snapshot.as_of / 1000, 60, "the worker follows")
    ends = {partition: end for partition, (_, end) in pipeline.offsets().items()}
    assert pipeline.run(*events, "--seed", "2").returncode == 0
    pipeline.wait_applied()
    since = [
        each for each in updates(pipeline).values() if each["source"]["offset"] >= ends[each["source"]["partition"]]
    ]
    assert {each.get("popularity_as_of") for each in since} == {snapshot.as_of}


def test_a_worker_that_is_to_follow_a_topic_that_is_missing_says_how_to_make_it(pipeline: Pipeline) -> None:
    worker = pipeline.start("--live-popularity", "--null-model", ready=False)
    assert worker.process.wait(60) == 1
    assert f"{pipeline.settings.popularity_topic}: topic is missing" in worker.log
    assert "'interest-stream topics create --live-popularity'" in worker.log

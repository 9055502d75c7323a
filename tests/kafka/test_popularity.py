"""Checks live popularity on a real Kafka.

Events are counted once whatever is killed, and the counts are followed by workers whose updates say
so.
"""

from __future__ import annotations

import asyncio
import signal
import time
from functools import partial
from pathlib import Path
from typing import Any

import orjson
import pytest
from aiokafka import TopicPartition
from aiokafka.admin import RecordsToDelete
from aiokafka.partitioner import DefaultPartitioner

from stream.config import Settings
from stream.kafka.topics import check_topics
from stream.popularity.counts import Snapshot, decode, encode
from tests.support import processes
from tests.support.contracts import faults
from tests.support.pipelines import Pipeline, Worker, wait_until
from tests.support.processes import spawner
from tests.support.topics import administer, read, recreate, send
from tests.unit.stream.popularity.test_counts import agrees

pytestmark = pytest.mark.kafka


@pytest.fixture(autouse=True)
def every_item(monkeypatch: pytest.MonkeyPatch) -> None:
    """Lists an item once one user met it; from how many on is checked without a broker."""
    monkeypatch.setenv("INTEREST_STREAM_POPULARITY_MIN_USERS", "1")


FOLLOWING = "tests.support.following_model:work"
"""A worker with a null model that can follow."""


def start_job(pipeline: Pipeline, *arguments: str) -> Worker:
    """The job as a process, ended with the pipeline."""
    log_path = pipeline.folder / f"job-{len(pipeline.workers)}.log"
    log_path.touch()
    job = Worker(
        processes.spawn(["popularity", *arguments], pipeline.environment, log_path), log_path
    )
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


def snapshots(pipeline: Pipeline) -> list[Snapshot]:
    return [
        decode(each.value)
        for each in read(pipeline.settings, pipeline.settings.popularity_topic, 1)
    ]


def met(pipeline: Pipeline) -> list[tuple[str, int]]:
    """What the topic holds, by a reader of its own."""
    records = read(pipeline.settings, pipeline.settings.events_topic)
    events = [(orjson.loads(each.value), each.timestamp) for each in records]
    return [(event["item_id"], min(event["time"], timestamp)) for event, timestamp in events]


def updates(pipeline: Pipeline) -> dict[str, dict[str, Any]]:
    """The newest of each user."""
    records = read(pipeline.settings, pipeline.settings.updates_topic)
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

    send(
        pipeline.settings,
        settings.events_topic,
        (b"user-1", b"{broken"),
        (b"user-1", b'{"user_id":"user-1"}'),
    )
    pipeline.produce(10, seed=2)
    done = pipeline.run("popularity", "--once")
    assert "10 events more, 2010 in all" in done.stderr
    assert "2 records were no events" in done.stderr


def test_a_job_that_is_killed_again_and_again_counts_every_event_once(pipeline: Pipeline) -> None:
    load = pipeline.produce_in_background(2_000_000, rate=500)
    for _ in range(3):
        before = len(snapshots(pipeline)) if pipeline.workers else 0
        job = start_job(pipeline, "--every", "0.1")
        wait_until(partial(published, job, 2), "two snapshots while events come")
        job.kill()
        assert len(snapshots(pipeline)) > before
    assert load.is_alive(), "void: the load had ended before the last kill"
    pipeline.stop_load()
    load.join()
    last = start_job(pipeline, "--every", "3600")
    wait_until(lambda: "caught up with" in last.log, "the job has caught up")
    pipeline.produce(500, seed=2)
    assert last.stop() == 0  # with what came since
    agrees(count(pipeline), met(pipeline))
    totals = [each.events for each in snapshots(pipeline)]
    assert totals == sorted(totals)
    assert totals[-1] == len(met(pipeline))


def test_ctrl_c_publishes_what_was_counted_since(pipeline: Pipeline) -> None:
    pipeline.produce(100)
    job = start_job(pipeline, "--every", "3600", "-v")
    wait_until(lambda: "snapshot published" in job.log, "the first snapshot")
    pipeline.produce(50, seed=2)
    job.stop(signal.SIGINT)
    assert job.process.returncode == 0
    agrees(count(pipeline), met(pipeline))


def test_no_item_is_listed_on_account_of_a_user_who_was_erased(pipeline: Pipeline) -> None:
    """The job runs while a user is erased, and is started again after it."""
    settings, least = pipeline.settings, ("--popularity-min-users", "3")
    of, partitions = DefaultPartitioner(), list(range(4))
    names = (f"user-{number}" for number in range(99))
    together = [each for each in names if of(each.encode(), partitions, partitions) == 0]
    alice, bob, carol = together[:3]  # of one partition, so that their order is that of the log

    def meets(*users: str) -> None:
        fields = {"action": "view", "time": int(time.time() * 1000), "item_id": "rare"}
        values = [orjson.dumps({"user_id": user, **fields}) for user in users]
        send(
            settings, settings.events_topic, *zip((u.encode() for u in users), values, strict=True)
        )

    def listed(events: int) -> list[str]:
        wait_until(lambda: f"{events} in all" in job.log, "all events are counted")
        return [item_id for item_id, _ in shown(pipeline).items]

    meets(alice, bob)
    job = start_job(pipeline, "--every", "0.1", *least)
    assert listed(2) == []
    assert pipeline.run("erase", "--user", alice, "--wait", "0").returncode == 0
    meets(carol)  # with bob the second who is left
    assert listed(3) == []
    meets(bob, alice)  # alice is a stranger now, and the third
    assert listed(5) == ["rare"]
    assert job.stop() == 0

    # what is published names nobody, and a restart reads nothing of before again
    assert pipeline.run("erase", "--user", bob, "--wait", "0").returncode == 0
    done = pipeline.run("popularity", "--once", *least)
    assert done.returncode == 0, done.stderr
    assert shown(pipeline).events == 5
    records = read(settings, settings.popularity_topic, 1)
    text = b"".join(each.value for each in records) + (done.stdout + job.log).encode()
    assert not [user for user in (alice, bob, carol) if user.encode() in text]
    assert "1 records were no events" not in job.log, "a request is no bad event"


def test_events_that_retention_took_are_told_and_a_recreated_topic_is_counted_anew(
    pipeline: Pipeline,
) -> None:
    topic = pipeline.settings.events_topic
    pipeline.produce(400)
    assert count(pipeline).events == 400
    pipeline.produce(400, seed=2)
    ends = {partition: end for partition, (_, end) in pipeline.offsets().items()}
    everything = {
        TopicPartition(topic, each): RecordsToDelete(before_offset=end)
        for each, end in ends.items()
    }
    administer(pipeline.settings, lambda admin: admin.delete_records(everything))
    pipeline.produce(100, seed=3)
    done = pipeline.run("popularity", "--once")
    assert done.returncode == 0, done.stderr
    assert "400 records of partition 0, 1, 2, 3 were deleted by retention" in done.stderr
    assert shown(pipeline).events == 500

    recreate(pipeline.settings, topic, 4)
    pipeline.produce(1_600, seed=4)  # past the offsets that were counted
    done = pipeline.run("popularity", "--once")
    assert "deleted and created again; counting anew" in done.stderr
    agrees(shown(pipeline), met(pipeline))


def test_a_topic_recreated_under_a_running_job_is_told_too(pipeline: Pipeline) -> None:
    pipeline.produce(400)
    job = start_job(pipeline, "--every", "0.2")
    wait_until(lambda: "snapshot published" in job.log, "the first snapshot")
    recreate(pipeline.settings, pipeline.settings.events_topic, 4)
    pipeline.produce(1_600, seed=4)
    wait_until(lambda: "counting anew" in job.log, "the job sees the new topic")
    wait_until(lambda: shown(pipeline).events == 1_600, "its events are counted")
    agrees(shown(pipeline), met(pipeline))


def test_a_job_refuses_a_topic_that_is_not_its_own(pipeline: Pipeline) -> None:
    pipeline.produce(10)
    count(pipeline)
    topic, ours = pipeline.settings.popularity_topic, pipeline.settings.events_topic
    for key, value, said in (
        (b"other-clicks", encode(shown(pipeline)), "holds the popularity of other-clicks"),
        (ours.encode(), b"{}", "schema ''"),
        (b"a-user", b"{}", "schema ''"),  # where events are, the key is a user: it is not said
    ):
        send(pipeline.settings, topic, (key, value))
        done = pipeline.run("popularity", "--once")
        assert done.returncode == 1
        assert said in done.stderr
        assert "a-user" not in done.stderr
    done = pipeline.run(
        "popularity", "--once", "--popularity-topic", pipeline.settings.updates_topic
    )
    assert "has 4 partitions, it must have 1" in done.stderr
    assert pipeline.run("popularity", "--once", "--events-topic", "nowhere").returncode == 1


def test_updates_name_the_snapshot_that_they_were_scored_with(pipeline: Pipeline) -> None:
    pipeline.spawn = spawner(FOLLOWING)
    created = pipeline.run("topics", "create", "--live-popularity", "--json")
    assert created.returncode == 0, created.stderr
    worker = pipeline.start("--null-model", "--live-popularity")
    pipeline.produce(400)
    pipeline.wait_applied()
    assert not [each for each in updates(pipeline).values() if "popularity_as_of" in each]
    assert worker.metric("popularity_as_of_seconds") == 0

    first = count(pipeline)
    wait_until(
        lambda: worker.metric("popularity_as_of_seconds") == first.as_of / 1000,
        "the worker follows",
    )
    pipeline.produce(400, users=20, seed=2)
    pipeline.wait_applied()
    newest = updates(pipeline)
    assert {newest[f"user-{number}"]["popularity_as_of"] for number in range(20)} == {first.as_of}

    second = count(pipeline)
    assert second.as_of > first.as_of
    key = pipeline.settings.events_topic.encode()
    send(
        pipeline.settings,
        pipeline.settings.popularity_topic,
        (key, b"{"),
        (b"other", b"{}"),
        (key, b'{"schema":"x/1"}'),
    )
    late = pipeline.start("--null-model", "--live-popularity")
    wait_until(lambda: late.log.count("is left out") == 1, "the unreadable snapshot is told")
    wait_until(lambda: worker.log.count("is left out") == 3, "each unreadable snapshot is told")
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
    wait_until(
        lambda: any(each in worker.log for each in answer),
        "the worker says whether its model follows",
    )
    follows = worker.metric("popularity_as_of_seconds") == snapshot.as_of / 1000
    pipeline.produce(400, users=20, seed=2)
    pipeline.wait_applied()
    named = {each.get("popularity_as_of") for each in updates(pipeline).values()}
    assert named == {snapshot.as_of if follows else None}
    assert worker.stop() == 0


@pytest.mark.slow
def test_a_model_that_was_trained_with_it_follows(
    pipeline: Pipeline, simulated_model: Path
) -> None:
    """`produce --simulate` brings the items that `train --simulate` learned."""
    events = ("produce", "--simulate", "--users", "20", "--limit", "400")
    assert pipeline.run(*events).returncode == 0
    snapshot = count(pipeline)
    worker = pipeline.start("--model", str(simulated_model), "--live-popularity")
    wait_until(
        lambda: worker.metric("popularity_as_of_seconds") == snapshot.as_of / 1000,
        "the worker follows",
    )
    ends = {partition: end for partition, (_, end) in pipeline.offsets().items()}
    assert pipeline.run(*events, "--seed", "2").returncode == 0
    pipeline.wait_applied()
    since = [
        each
        for each in updates(pipeline).values()
        if each["source"]["offset"] >= ends[each["source"]["partition"]]
    ]
    assert {each.get("popularity_as_of") for each in since} == {snapshot.as_of}


def test_a_worker_that_is_to_follow_a_topic_that_is_missing_says_how_to_make_it(
    pipeline: Pipeline,
) -> None:
    worker = pipeline.start("--live-popularity", "--null-model", ready=False)
    assert worker.wait() == 1
    assert f"{pipeline.settings.popularity_topic}: topic is missing" in worker.log
    assert "'interest-stream topics create --live-popularity'" in worker.log

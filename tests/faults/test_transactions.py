"""Checks that markers of transactions and aborted data are no events, for workers and readers."""

from __future__ import annotations

import json
import time

import pytest

from tests.support import topics, transactions
from tests.support.pipelines import Pipeline, Worker, wait_until
from tests.support.transactions import events

pytestmark = pytest.mark.kafka

STALL_S = 5


def start(pipeline: Pipeline) -> Worker:
    return pipeline.start("--null-model", "--stall-timeout-s", str(STALL_S))


def applied(worker: Worker) -> float:
    return worker.metric("events_total", result="applied")


def lives_on(worker: Worker) -> None:
    """Longer than it may stand still while there is something to do."""
    time.sleep(STALL_S + 3)
    assert worker.process.poll() is None, worker.log[-3_000:]
    wait_until(lambda: worker.get("/readyz")[0] == 200, "ready")


def test_a_topic_that_ends_in_the_marker_of_a_commit_has_no_lag(pipeline: Pipeline) -> None:
    worker = start(pipeline)
    transactions.send(pipeline.settings, (events("kept", 40), True))
    pipeline.wait_applied()  # up to the end, past the markers
    lives_on(worker)
    assert (
        sum(
            worker.metric("consumer_lag", topic=pipeline.settings.events_topic, partition=str(each))
            for each in range(4)
        )
        == 0
    )
    assert worker.stop() == 0
    found = pipeline.audit()["events"]
    assert (found["read"], found["applied"], found["repeated"]) == (40, 40, 0)


def test_what_was_aborted_is_never_applied_by_anybody(pipeline: Pipeline) -> None:
    worker = start(pipeline)
    transactions.send(
        pipeline.settings,
        (events("gone", 40), False),
        (events("kept", 12), True),
        (events("gone", 40), False),
    )
    pipeline.wait_applied()
    lives_on(worker)
    assert worker.stop() == 0
    keys = {each.key for each in topics.read(pipeline.settings, pipeline.settings.updates_topic)}
    assert keys == {f"kept-{each}".encode() for each in range(8)}
    report = pipeline.audit()
    assert (report["events"]["applied"], report["users"]["in_changelog"]) == (12, 8)
    # the commands that read to the end come to it, and count what is committed
    counted = pipeline.run("popularity", "--once")
    assert counted.returncode == 0, counted.stderr
    counted = pipeline.run("popularity", "--show", "--json")
    assert json.loads(counted.stdout)["events"] == 12
    assert pipeline.run("dead-letters", "list").returncode == 0
    assert pipeline.run("inspect", "--user", "gone-1").returncode != 0
    assert pipeline.run("inspect", "--user", "kept-1").returncode == 0


def test_nothing_of_an_open_transaction_is_applied_until_it_ends(pipeline: Pipeline) -> None:
    worker = start(pipeline)

    def nothing_happens() -> None:
        lives_on(worker)
        assert pipeline.committed() == 0
        assert topics.read(pipeline.settings, pipeline.settings.updates_topic) == []

    transactions.send(pipeline.settings, (events("kept", 40), True), while_open=nothing_happens)
    pipeline.wait_applied()
    assert worker.stop() == 0
    assert pipeline.audit()["events"]["applied"] == 40

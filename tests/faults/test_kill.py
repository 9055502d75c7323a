"""Kills, joins and leaves workers under load.

Every event is in its user's state exactly once (audit).
"""

from __future__ import annotations

import signal

import pytest

from tests.support.pipelines import SHORT_SESSION_S, Pipeline, is_stopped, wait_until
from tests.support.processes import spawn_new

pytestmark = pytest.mark.kafka


def test_kill_in_the_middle_of_a_load_and_restart(pipeline: Pipeline) -> None:
    pipeline.session_s = SHORT_SESSION_S
    worker = pipeline.start("--max-batch-events", "500")
    load = pipeline.produce_in_background(2_000_000, rate=1_000)
    wait_until(lambda: worker.metric("batches_total") > 5, "some batches are durable")
    worker.kill()
    assert load.is_alive(), "void: the load had ended before the kill"
    pipeline.start("--max-batch-events", "500")
    pipeline.stop_load()
    load.join()
    pipeline.wait_applied()
    assert pipeline.audit()["users"]["compared"] == 300


def test_the_second_worker_takes_over(pipeline: Pipeline) -> None:
    pipeline.session_s = SHORT_SESSION_S
    first = pipeline.start()
    second = pipeline.start()
    pipeline.wait_ready(first, second)
    load = pipeline.produce_in_background(2_000_000, rate=1_000)
    wait_until(
        lambda: first.metric("batches_total") > 3 and second.metric("batches_total") > 3,
        "both work",
    )
    first.kill()
    assert load.is_alive(), "void: the load had ended before the kill"
    pipeline.stop_load()
    load.join()
    pipeline.wait_applied()
    pipeline.audit()


def test_a_third_joins_and_leaves(pipeline: Pipeline) -> None:
    pipeline.start()
    pipeline.start()
    load = pipeline.produce_in_background(2_000_000, rate=500)
    third = pipeline.start()
    wait_until(
        lambda: third.metric("batches_total") > 0,
        "the third got a partition and applied something",
    )
    assert third.stop() == 0
    assert load.is_alive(), "void: the load had ended"
    pipeline.stop_load()
    load.join()
    pipeline.wait_applied()
    pipeline.audit()


def test_sigterm_under_load_leaves_nothing_to_replay(pipeline: Pipeline) -> None:
    worker = pipeline.start("--max-batch-events", "500")
    load = pipeline.produce_in_background(2_000_000, rate=1_000)
    wait_until(lambda: worker.metric("batches_total") > 5, "some batches are durable")
    assert worker.stop() == 0, worker.log
    pipeline.stop_load()
    load.join()
    second = pipeline.start()
    pipeline.wait_applied()
    assert second.metric("events_total", result="replayed") == 0
    assert second.metric("events_total", result="applied") > 0
    pipeline.audit()


def test_a_second_ctrl_c_exits_at_once(pipeline: Pipeline) -> None:
    pipeline.spawn = spawn_new  # a worker as a person starts it
    worker = pipeline.start("--shutdown-timeout-s", "600", failpoints="after_updates=stop@1")
    pipeline.produce(100)
    wait_until(lambda: is_stopped(worker.process.pid), "the failpoint stopped the worker")
    worker.process.send_signal(signal.SIGINT)
    worker.process.send_signal(signal.SIGCONT)
    worker.process.send_signal(signal.SIGINT)
    assert worker.wait() in (0, 130)

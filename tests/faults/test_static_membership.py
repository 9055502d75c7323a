"""Checks workers with an instance id.

A restart moves nothing, one of two with the same id ends, Ctrl-C leaves for good.
"""

from __future__ import annotations

import signal

import pytest

from tests.support.pipelines import Pipeline, Worker, wait_until

pytestmark = [pytest.mark.kafka, pytest.mark.slow]

LEASE = ("--heartbeat-s", "2")
"""A worker with an instance id may write for two heartbeats after one was answered.

Less would be quicker, and a machine that is busy with other tests for so long would end it. More
is over a third of the session.
"""


def works(*workers: Worker) -> None:
    before = [worker.metric("batches_total") for worker in workers]
    wait_until(
        lambda: all(
            worker.metric("batches_total") > seen
            for worker, seen in zip(workers, before, strict=True)
        ),
        "every worker applies events",
    )


def test_a_restart_moves_nothing_and_ctrl_c_leaves_for_good(pipeline: Pipeline) -> None:
    long_session = ("--session-timeout-s", "1000", "--null-model", *LEASE)  # beyond any patience
    load = pipeline.produce_in_background(2_000_000, rate=100)
    stays, restarted = (pipeline.start(*long_session, "--instance-id", name) for name in ("a", "b"))
    pipeline.wait_ready(stays, restarted)
    works(stays, restarted)
    rebalances = stays.metric("rebalances_total")
    assert restarted.stop() == 0
    assert "keeping the place of b" in restarted.log
    restarted = pipeline.start(*long_session, "--instance-id", "b")
    works(stays, restarted)
    assert stays.metric("rebalances_total") == rebalances
    assert restarted.stop(signal.SIGINT) == 0
    wait_until(
        lambda: stays.metric("rebalances_total") > rebalances,
        "the other one takes over before the session ends",
    )
    pipeline.stop_load()
    load.join()
    pipeline.wait_applied()
    pipeline.audit()


def test_the_first_of_two_with_one_id_ends_and_says_why(pipeline: Pipeline) -> None:
    load = pipeline.produce_in_background(2_000_000, rate=100)
    first = pipeline.start("--null-model", "--instance-id", "same", *LEASE)
    works(first)
    second = pipeline.start("--null-model", "--instance-id", "same", *LEASE)
    assert first.wait() == 1
    assert "FencedError: the place of instance_id same" in first.log
    works(second)
    pipeline.workers.remove(first)  # its code is planned
    pipeline.stop_load()
    load.join()
    pipeline.wait_applied()
    assert pipeline.audit()["regressions"] == 0

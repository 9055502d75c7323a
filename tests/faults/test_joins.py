"""Stock Faust's recovery can hang for ever after a rebalance: alive, "Restoring state", reading nothing. Thirty joins must not."""

from __future__ import annotations

import pytest

from tests.faults.harness import Pipeline, Worker, wait_until

pytestmark = [pytest.mark.kafka, pytest.mark.slow, pytest.mark.timeout(600)]

JOINS = 30


def assert_moves(*workers: Worker) -> None:
    before = [worker.metric("batches_total") for worker in workers]
    wait_until(
        lambda: all(worker.metric("batches_total") > seen for worker, seen in zip(workers, before, strict=True)),
        30,
        "every worker applies events",
    )


def test_thirty_starts_and_joins_without_a_hang(pipeline: Pipeline) -> None:
    load = pipeline.produce_in_background(2_000_000, rate=1_500)  # ends with the test
    old = pipeline.start()
    for _ in range(JOINS):
        new = pipeline.start()
        wait_until(lambda: old.ready() and new.ready(), 40, "both are ready after the join")  # noqa: B023
        assert_moves(old, new)
        assert old.stop() == 0
        old = new
        wait_until(old.ready, 40, "the one that stays is ready after the leave")
        assert_moves(old)
    assert load.is_alive()
    pipeline.stop_load()
    load.join(10)
    pipeline.wait_applied()
    assert pipeline.audit()["regressions"] == 0

"""Checks that thirty joins do not hang.

Stock Faust's recovery can hang for ever after a rebalance: alive, "Restoring state", reading
nothing.
"""

from __future__ import annotations

import pytest

from tests.support.pipelines import Pipeline, Worker, wait_until

pytestmark = [pytest.mark.kafka, pytest.mark.slow]

JOINS = 30


def assert_moves(*workers: Worker) -> None:
    before = [worker.metric("batches_total") for worker in workers]
    wait_until(
        lambda: all(
            worker.metric("batches_total") > seen
            for worker, seen in zip(workers, before, strict=True)
        ),
        "every worker applies events",
    )


def test_thirty_starts_and_joins_without_a_hang(pipeline: Pipeline) -> None:
    load = pipeline.produce_in_background(2_000_000, rate=300)  # ends with the test
    old = pipeline.start("--null-model")
    for _ in range(JOINS):
        new = pipeline.start("--null-model")
        pipeline.wait_ready(old, new)
        assert_moves(old, new)
        assert old.stop() == 0
        old = new
        pipeline.wait_ready(old)
        assert_moves(old)
    assert load.is_alive()
    pipeline.stop_load()
    load.join()
    pipeline.wait_applied()
    assert pipeline.audit()["regressions"] == 0

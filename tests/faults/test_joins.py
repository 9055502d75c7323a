"""Checks that joins, one after the other, do not hang.

Stock Faust's recovery can hang for ever after a rebalance: alive, "Restoring state", reading
nothing.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any

import pytest

from tests.support.brokers import Kafka
from tests.support.pipelines import Pipeline, Worker, make_pipeline, wait_until

pytestmark = [pytest.mark.kafka, pytest.mark.slow]

JOINS = 3
"""Joins of each pipeline; the fault campaign has many more (W12 of `make faults`)."""
SESSION_S = 60
"""Nobody dies here, so none is sat out; and a busy machine puts no worker out of its group."""
SIDE_BY_SIDE = 3
"""Pipelines at once: most of a join is waiting for the group."""

PATIENT = ("--null-model", "--shutdown-timeout-s", "600")
"""A worker leaves in its own time: a busy machine makes that longer than the usual limit."""


def assert_moves(*workers: Worker) -> None:
    before = [worker.metric("batches_total") for worker in workers]
    wait_until(
        lambda: all(
            worker.metric("batches_total") > seen
            for worker, seen in zip(workers, before, strict=True)
        ),
        "every worker applies events",
    )


@pytest.fixture
def pipelines(kafka: Kafka, forks: None, tmp_path: Path) -> Iterator[list[Pipeline]]:
    folders = [tmp_path / str(number) for number in range(SIDE_BY_SIDE)]
    with ExitStack() as stack:
        made = []
        for folder in folders:
            folder.mkdir()
            made.append(stack.enter_context(a_pipeline(kafka.url, kafka.unique, folder)))
        yield made


a_pipeline: Callable[..., Any] = contextmanager(make_pipeline)


def join_and_leave(pipeline: Pipeline) -> None:
    pipeline.session_s = SESSION_S
    load = pipeline.produce_in_background(2_000_000, rate=100)  # ends with the test
    old = pipeline.start(*PATIENT)
    for _ in range(JOINS):
        new = pipeline.start(*PATIENT)
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


def test_starts_and_joins_without_a_hang(pipelines: list[Pipeline]) -> None:
    with ThreadPoolExecutor(SIDE_BY_SIDE) as threads:
        for _ in threads.map(join_and_leave, pipelines):
            pass

"""Checks that thirty joins do not hang.

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

JOINS = 30
SIDE_BY_SIDE = 3
"""Pipelines that share the joins: most of a join is waiting for the group."""


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


def join_and_leave(pipeline: Pipeline, joins: int) -> None:
    load = pipeline.produce_in_background(2_000_000, rate=300)  # ends with the test
    old = pipeline.start("--null-model")
    for _ in range(joins):
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


def test_thirty_starts_and_joins_without_a_hang(pipelines: list[Pipeline]) -> None:
    with ThreadPoolExecutor(SIDE_BY_SIDE) as threads:
        joins = [JOINS // SIDE_BY_SIDE] * SIDE_BY_SIDE
        for _ in threads.map(join_and_leave, pipelines, joins):
            pass

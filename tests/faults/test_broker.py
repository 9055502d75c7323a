"""The broker goes away under load and comes back; the workers carry on by themselves."""

from __future__ import annotations

import itertools
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from stream.local_kafka import LocalKafka
from tests.faults.harness import SESSION_S, Pipeline, make_pipeline, wait_until

pytestmark = [pytest.mark.kafka, pytest.mark.timeout(240)]


@pytest.fixture
def own_kafka(tmp_path: Path, ports: list[int]) -> Iterator[LocalKafka]:
    broker = LocalKafka(tmp_path / "kafka", ports[0], ports[1], heap_mb=512)
    broker.start(timeout_s=120)
    try:
        yield broker
    finally:
        broker.stop()


@pytest.mark.parametrize("end", [LocalKafka.stop, LocalKafka.kill], ids=["stopped", "killed"])
def test_restart_under_load(own_kafka: LocalKafka, tmp_path: Path, end: Callable[[LocalKafka], None]) -> None:
    numbers = itertools.count()
    for pipeline in make_pipeline(own_kafka.url, lambda name: f"{name}-{next(numbers)}", tmp_path):
        _restart_under_load(pipeline, own_kafka, end)


def _restart_under_load(pipeline: Pipeline, broker: LocalKafka, end: Callable[[LocalKafka], None]) -> None:
    worker = pipeline.start()
    load = pipeline.produce_in_background(40_000, rate=3_000)
    wait_until(lambda: worker.metric("batches_total") > 5, 30, "some batches are durable")
    end(broker)
    broker.start(timeout_s=60)
    assert load.is_alive(), "void: the load had ended before the broker came back"
    load.join()
    pipeline.wait_applied(90)
    assert worker.process.poll() is None
    pipeline.audit()
    assert worker.stop() == 0


@pytest.mark.slow
def test_an_outage_longer_than_the_session_timeout(own_kafka: LocalKafka, tmp_path: Path) -> None:
    """Nobody answers, so nobody has put the worker out: it must wait for the group's word, and not end as a zombie would."""
    numbers = itertools.count()
    for pipeline in make_pipeline(own_kafka.url, lambda name: f"{name}-{next(numbers)}", tmp_path):
        worker = pipeline.start()
        load = pipeline.produce_in_background(60_000, rate=2_000)
        wait_until(lambda: worker.metric("batches_total") > 5, 30, "some batches are durable")  # noqa: B023
        own_kafka.kill()
        time.sleep(SESSION_S + 4)  # the outage itself
        assert worker.process.poll() is None, worker.log[-3000:]
        own_kafka.start(timeout_s=60)
        assert load.is_alive(), "void: the load had ended before the broker came back"
        load.join()
        pipeline.wait_applied(90)
        assert worker.process.poll() is None, worker.log[-3000:]
        assert pipeline.audit()["regressions"] == 0
        assert worker.stop() == 0

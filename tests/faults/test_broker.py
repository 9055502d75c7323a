"""The broker goes away under load and comes back; the workers carry on by themselves."""

from __future__ import annotations

import itertools
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from stream.broker.local_kafka import LocalKafka
from tests.support.brokers import START_S, broker_of_its_own
from tests.support.pipelines import SHORT_SESSION_S, Pipeline, Worker, make_pipeline, wait_until

pytestmark = pytest.mark.kafka


NUMBERS = itertools.count()
PATIENT = ("--publish-timeout-s", "600", "--stall-timeout-s", "600")
"""A worker waits as long as a broker may need to come back on a machine that does much else."""


@pytest.fixture(scope="module")
def kafka(forks: None, tmp_path_factory: pytest.TempPathFactory) -> Iterator[LocalKafka]:
    """One that these tests end and start again."""
    with broker_of_its_own(tmp_path_factory.mktemp("own") / "kafka") as broker:
        yield broker


@pytest.fixture
def pipeline(kafka: LocalKafka, tmp_path: Path) -> Iterator[Pipeline]:
    kafka.start(START_S)  # a test that failed may have left it ended
    yield from make_pipeline(kafka.url, lambda name: f"{name}-{next(NUMBERS)}", tmp_path)


def wait_for_batches(worker: Worker) -> None:
    before = worker.metric("batches_total")
    wait_until(lambda: worker.metric("batches_total") > before + 5, "more batches are durable")


def test_restarts_under_load(kafka: LocalKafka, pipeline: Pipeline) -> None:
    """One worker outlives a broker that is stopped in order, and then one that is killed."""
    worker = pipeline.start(*PATIENT)
    load = pipeline.produce_in_background(2_000_000, rate=200)
    for end in (LocalKafka.stop, LocalKafka.kill):
        wait_for_batches(worker)
        end(kafka)
        kafka.start(START_S)
        assert load.is_alive(), "void: the load had ended before the broker came back"
    wait_for_batches(worker)  # it goes on by itself
    pipeline.stop_load()
    load.join()
    pipeline.wait_applied()
    assert worker.process.poll() is None
    pipeline.audit()
    assert worker.stop() == 0


@pytest.mark.slow
def test_an_outage_longer_than_the_session_timeout(kafka: LocalKafka, pipeline: Pipeline) -> None:
    """Nobody answers, so nobody has put the worker out.

    It must wait until the group confirms it, and not end as a zombie would.
    """
    pipeline.session_s = SHORT_SESSION_S
    worker = pipeline.start("--null-model", *PATIENT)
    load = pipeline.produce_in_background(2_000_000, rate=200)
    wait_for_batches(worker)
    kafka.kill()
    time.sleep(SHORT_SESSION_S + 4)  # the outage itself
    assert worker.process.poll() is None, worker.log[-3000:]
    kafka.start(START_S)
    assert load.is_alive(), "void: the load had ended before the broker came back"
    pipeline.stop_load()
    load.join()
    pipeline.wait_applied()
    assert worker.process.poll() is None, worker.log[-3000:]
    assert pipeline.audit()["regressions"] == 0
    assert worker.stop() == 0

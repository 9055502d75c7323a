"""Checks the watchdog while Faust's consumer thread is still connecting.

And when one partition of several stands still.
"""

from __future__ import annotations

import asyncio
from types import SimpleNamespace
from typing import Any

import pytest
from faust.exceptions import ConsumerNotStarted
from faust.types import TP

from stream.config import Settings
from stream.errors import StalledError
from stream.metrics import Metrics
from stream.worker.watchdog import Watchdog


def connecting(failures: list[Exception]) -> Any:
    """Returns an app whose consumer has not started."""

    def not_started() -> Any:
        raise ConsumerNotStarted("Consumer thread not yet started")

    return SimpleNamespace(
        host=SimpleNamespace(settings=Settings(), metrics=Metrics(), fail=failures.append),
        batch_consumer=SimpleNamespace(
            assignment=not_started,
            applied_offsets=dict,
            membership=SimpleNamespace(trouble=lambda: None),
        ),
        store=SimpleNamespace(statistics=dict, rebuilt_users=0),
        recovery=SimpleNamespace(active_offsets={}, active_tps=set()),
        consumer_generation_id=0,
        rebalancing=False,
        in_recovery=False,
        waiting="",
    )


def test_a_consumer_that_is_still_connecting_is_waited_for_and_not_for_ever(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    failures: list[Exception] = []
    watchdog = Watchdog(connecting(failures))
    asyncio.run(watchdog.look())  # the first look sees something new
    asyncio.run(watchdog.look())
    assert failures == []
    watchdog.moved -= Settings().stall_timeout_s + 1
    asyncio.run(watchdog.look())
    (failure,) = failures
    assert isinstance(failure, StalledError)
    assert "connecting to Kafka" in str(failure)


def test_one_partition_that_stands_still_while_others_move_ends_the_worker() -> None:
    failures: list[Exception] = []
    app = connecting(failures)
    moving = {"offset": 0}
    topic = Settings().source_topic
    app.batch_consumer.applied_offsets = lambda: {TP(topic, 0): 7, TP(topic, 1): moving["offset"]}
    watchdog = Watchdog(app)
    watchdog.lag = {0: 10, 1: 10}
    for _ in range(3):
        moving["offset"] += 1
        watchdog.look_at_partitions()
    assert failures == []
    watchdog.still = {each: (done, since - 121) for each, (done, since) in watchdog.still.items()}
    moving["offset"] += 1
    watchdog.look_at_partitions()
    (failure,) = failures
    assert "partition 0 stood still" in str(failure)

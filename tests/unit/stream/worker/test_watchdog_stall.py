"""Checks that a worker that lives and consumes nothing is ended.

One that has nothing to do, or moves, is not.
"""

from __future__ import annotations

import asyncio
from types import SimpleNamespace
from typing import Any

import pytest

from stream.errors import GroupError, StalledError
from stream.metrics import Metrics
from stream.worker import watchdog as module
from stream.worker.watchdog import Watchdog


class Clock:
    """Stands for time.monotonic and time.sleep, moved by hand."""

    now = 1_000.0

    def monotonic(self) -> float:
        return self.now


class Worker:
    """Holds what the watchdog sees of an app: one partition, its end, and how far it came."""

    def __init__(self) -> None:
        self.settings = SimpleNamespace(stall_timeout_s=60.0, source_topic="clicks")
        self.metrics = Metrics()
        self.store = SimpleNamespace(statistics=dict, rebuilt_users=0)
        self.recovery = SimpleNamespace(active_tps=set(), active_offsets={})
        self.consumer_generation_id, self.rebalancing, self.in_recovery = 1, False, False
        self.waiting = ""
        self.failures: list[Exception] = []
        self.fail = self.failures.append
        self.host, self.should_stop = self, False
        self.batch_consumer = self
        self.trouble: Exception | None = None
        self.membership = SimpleNamespace(trouble=lambda: self.trouble)
        self.end, self.begin, self.done, self.committed = 0, 0, 0, 0
        self.silent = False

    def committed_offset(self, partition: Any) -> int:
        return 0

    def assignment(self) -> set[Any]:
        return {SimpleTP("clicks", 0)}

    def applied_offsets(self) -> dict[Any, int]:
        return {("clicks", 0): self.done} if self.done else {}

    async def highwaters(self, *_: Any) -> dict[Any, int]:
        if self.silent:
            raise TimeoutError
        return {SimpleTP("clicks", 0): self.end}

    async def earliest_offsets(self, *_: Any) -> dict[Any, int]:
        return {SimpleTP("clicks", 0): self.begin}


class SimpleTP(tuple[str, int]):
    """Is equal to Faust's and Kafka's partitions, which are such tuples."""

    def __new__(cls, topic: str, partition: int) -> SimpleTP:
        return super().__new__(cls, (topic, partition))

    topic = property(lambda self: self[0])
    partition = property(lambda self: self[1])


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    clock = Clock()
    monkeypatch.setattr(module, "time", clock)
    return clock


def look(dog: Watchdog, clock: Clock, seconds: float) -> None:
    clock.now += seconds
    asyncio.run(dog.look())


def watched(clock: Clock, **changes: Any) -> tuple[Worker, Watchdog]:
    worker = Worker()
    for name, value in changes.items():
        setattr(worker, name, value)
    dog = Watchdog(worker)  # type: ignore[arg-type]
    look(dog, clock, 0)
    return worker, dog


def test_lag_and_no_progress_ends_the_worker_with_its_reason(clock: Clock) -> None:
    worker, dog = watched(clock, end=50, done=8)
    look(dog, clock, 60)
    assert not worker.failures
    look(dog, clock, 1)
    assert worker.failures  # the first is the reason, later ones change nothing
    assert all(isinstance(each, StalledError) for each in worker.failures)
    assert "42 events behind" in str(worker.failures[0])


@pytest.mark.parametrize(
    ("state", "phase"), [("in_recovery", "recovering"), ("rebalancing", "rebalancing")]
)
def test_a_recovery_or_rebalance_that_hangs_ends_it_without_lag(
    clock: Clock, state: str, phase: str
) -> None:
    worker, dog = watched(clock, **{state: True})
    look(dog, clock, 61)
    assert f"while {phase}" in str(worker.failures[0])


def test_a_worker_that_moves_is_left_alone_however_far_behind(clock: Clock) -> None:
    worker, dog = watched(clock, end=1_000_000, done=1)
    for step in range(2, 12):
        worker.done = step
        look(dog, clock, 50)
    worker.consumer_generation_id = 2
    look(dog, clock, 50)
    worker.in_recovery, worker.recovery = (
        True,
        SimpleNamespace(active_tps={1}, active_offsets={("log", 0): 5}),
    )
    look(dog, clock, 50)
    worker.recovery.active_offsets = {("log", 0): 6}
    look(dog, clock, 50)
    assert not worker.failures


def test_rebuilding_the_states_of_another_model_is_progress(clock: Clock) -> None:
    worker, dog = watched(clock, end=50, in_recovery=True)
    for rebuilt in range(1, 6):
        worker.store.rebuilt_users = rebuilt * 2_048
        look(dog, clock, 50)
    assert not worker.failures
    look(dog, clock, 61)
    assert worker.failures


def test_a_worker_whose_coordination_has_ended_does_not_live_on_idle(clock: Clock) -> None:
    worker, dog = watched(clock, end=9, done=9)
    worker.trouble = GroupError("the assignor gave up")
    look(dog, clock, 1)
    assert worker.failures == [worker.trouble]


def test_a_worker_with_nothing_to_do_is_left_alone(clock: Clock) -> None:
    worker, dog = watched(clock, end=9, done=9)
    look(dog, clock, 10_000)
    worker.end = 10
    look(dog, clock, 30)
    assert not worker.failures
    assert dog.lag == {0: 1}


def test_events_that_retention_deleted_are_no_lag(clock: Clock) -> None:
    _, dog = watched(clock, begin=90, end=100, done=0)
    assert dog.lag == {0: 10}


def test_a_broker_that_does_not_answer_keeps_the_last_known_lag(clock: Clock) -> None:
    worker, dog = watched(clock, end=50)
    worker.silent = True
    look(dog, clock, 61)
    assert "50 events behind" in str(worker.failures[0])


def test_lag_is_measured_for_prometheus(clock: Clock) -> None:
    worker, _ = watched(clock, end=50, done=8)
    assert (
        b'interest_stream_consumer_lag{partition="0",topic="clicks"} 42.0' in worker.metrics.text()
    )


def test_waiting_for_a_schema_registry_ends_nobody(clock: Clock) -> None:
    worker, dog = watched(clock, end=50, done=8, waiting="the registry is away")
    for _ in range(5):
        look(dog, clock, 61)
    assert not worker.failures
    worker.waiting = ""
    look(dog, clock, 59)
    assert not worker.failures
    look(dog, clock, 2)
    assert worker.failures, "behind it the worker has its full time, and not more"

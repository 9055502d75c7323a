"""Thousands of events and crashes through the worker's own code on logs in memory: every invariant holds; every planted bug is seen."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from tests.faults.core import PARTITIONS, SETTINGS, World
from tests.faults.core_runs import POINTS, crashes, find, zombie_run
from tests.faults.oracle.checks import violations
from tests.faults.oracle.history import History
from tests.faults.oracle.numbers import t2_numbers_are_right
from tests.faults.planted import BUGS, plant

SEEDS = 40


@pytest.mark.parametrize("seed", range(SEEDS))
def test_any_crash_keeps_every_invariant(seed: int) -> None:
    world, found = crashes(seed)
    assert found == {}
    assert world.crashes > 0, "void: no crash was reached"


@pytest.mark.parametrize("point", POINTS)
def test_a_crash_at_each_point(point: str) -> None:
    world, found = crashes(1, lives=6, point=point)
    assert found == {}
    assert world.reached == {point}


def test_an_error_of_the_model_loses_nothing() -> None:
    world, found = crashes(3, point="mid_batch", action="raise")
    assert found == {}
    assert world.reached


def test_a_zombie_writes_nothing() -> None:
    world = World(1)
    world.zombie()
    assert violations(world.finished()) == {}


def test_what_a_rebalance_overtakes_is_let_go_and_comes_to_the_next_owner() -> None:
    """Let go, else the rebalance would wait for it; not committed, else it would be lost."""
    world = World(1)
    assert all(batch.acked for batch in world.overtaken())
    assert set(world.logs.records) == {(SETTINGS.events_topic, partition) for partition in range(PARTITIONS)}
    assert not any(world.committed.values())
    world.live()
    assert violations(world.finished()) == {}


@pytest.mark.parametrize("name", [name for name in BUGS if "no-op" not in name])
def test_each_planted_bug_is_seen(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    plant(name, monkeypatch.setattr, every=50)
    assert set(BUGS[name][1]) <= find(name)


@pytest.mark.parametrize("run", [zombie_run, lambda: crashes(2)[0].finished()], ids=["zombie", "crashes"])
def test_without_a_bug_they_see_nothing(run: Callable[[], History]) -> None:
    history = run()
    assert violations(history) == {}
    assert t2_numbers_are_right(history, World(0).predictor) == []

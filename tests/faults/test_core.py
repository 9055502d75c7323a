"""Thousands of events and crashes through the worker's own code on logs in memory: every invariant holds; every planted bug is seen."""

from __future__ import annotations

import random
from collections.abc import Callable

import pytest

from stream.failpoints import BATCH_POINTS
from tests.faults.core import World
from tests.faults.oracle.checks import violations
from tests.faults.oracle.events import c1_commit_is_covered
from tests.faults.oracle.history import History
from tests.faults.oracle.numbers import t2_numbers_are_right
from tests.faults.planted import BUGS, plant

POINTS = [point for point in BATCH_POINTS if point not in ("fetched", "committed")]
COMMON = [point for point in POINTS if point != "dead_letters_sent"]
SEEDS = 40


def crashes(
    seed: int, lives: int = 4, point: str = "", action: str = "kill", users: int = 8
) -> tuple[World, dict[str, list[str]]]:
    """A history with crashes at random points, C1 after each, then a life to the end."""
    world, random_, found = World(seed, users=users), random.Random(seed), {}
    for _ in range(lives):
        world.live(point or random_.choice(COMMON), random_.randrange(1, 4), action)
        cut = c1_commit_is_covered(world.cut())
        if cut:
            found["C1"] = cut
    world.live()
    return world, {**violations(world.finished()), **found}


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


def zombie_run() -> History:
    world = World(1)
    world.zombie()
    return world.finished()


def find(name: str) -> set[str]:
    """Codes of the invariants that turn red in the run which suits a bug."""
    if name == "zombie allowed to write":
        return set(violations(zombie_run()))
    if name == "1e-4 added to one component":
        world, _ = crashes(2)
        return {"T2"} if t2_numbers_are_right(world.finished(), world.predictor) else set()
    if name == "batch acked in finally on error":
        return set(crashes(1, point="before_updates", action="raise", users=60)[1])
    return set(crashes(2, point="after_states" if "dedupe" in name else "", users=60)[1])


@pytest.mark.parametrize("name", [name for name in BUGS if "no-op" not in name])
def test_each_planted_bug_is_seen(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    plant(name, monkeypatch.setattr, every=50)
    assert set(BUGS[name][1]) <= find(name)


@pytest.mark.parametrize("run", [zombie_run, lambda: crashes(2)[0].finished()], ids=["zombie", "crashes"])
def test_without_a_bug_they_see_nothing(run: Callable[[], History]) -> None:
    history = run()
    assert violations(history) == {}
    assert t2_numbers_are_right(history, World(0).predictor) == []

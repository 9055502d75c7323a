"""Checks thousands of events and crashes through the worker's own code on logs in memory.

Every invariant holds, and every planted bug is seen.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import pytest

from tests.faults.core import PARTITIONS, SETTINGS, World
from tests.faults.core_runs import POINTS, crashes, find, zombie_run
from tests.faults.oracle.checks import violations
from tests.faults.oracle.history import History
from tests.faults.oracle.numbers import t2_numbers_are_right
from tests.faults.planted import BUGS, plant

SEEDS = 20


@pytest.mark.parametrize("seed", range(SEEDS))
def test_any_crash_keeps_every_invariant(seed: int) -> None:
    world, found = crashes(seed)
    assert found == {}
    assert world.crashes > 0, "void: no crash was reached"


@pytest.mark.parametrize("seed", range(5))
def test_any_crash_keeps_every_invariant_while_users_are_erased(seed: int) -> None:
    world, found = crashes(seed, erasures=0.15)
    history = world.finished()
    assert found == {}
    assert t2_numbers_are_right(history, world.predictor) == []
    assert world.crashes > 0, "void: no crash was reached"
    assert history.reference.controls
    assert history.reference.replay.erased, "void: no event came late"


@pytest.mark.parametrize("erasures", [0.0, 0.15])
@pytest.mark.parametrize("seed", range(3))
def test_any_crash_keeps_every_invariant_where_records_hold_several_events(
    seed: int, erasures: float
) -> None:
    world, found = crashes(seed, erasures=erasures, mapped=True)
    reference = world.finished().reference
    assert found == {}
    assert world.crashes > 0, "void: no crash was reached"
    assert reference.counts, "void: no record held several events"
    assert reference.documents, "void: no document alone was bad"
    assert reference.left_out, "void: nothing was left out"


def test_a_record_applied_in_part_is_seen(monkeypatch: pytest.MonkeyPatch) -> None:
    plant("event dropped every Nth", monkeypatch.setattr, every=10)
    assert {"T1", "D1"} <= set(crashes(2, mapped=True)[1])


@pytest.mark.parametrize("publish", ["interval", "changed"])
@pytest.mark.parametrize("seed", range(2))
def test_nothing_withheld_of_an_erased_user_is_published(seed: int, publish: str) -> None:
    settings = replace(SETTINGS, publish=publish, publish_interval_s=3_600, publish_threshold=1)
    world = World(seed, events=400, erasures=0.15, settings=settings)
    world.live("after_states", 3)
    world.live()
    history = world.finished()
    gone = {place for place, marks in history.reference.marks.items() if marks[-1].gone}
    assert gone, "void: nobody is erased in the end"
    last = {(each.partition, each.key): each.value for each in history.profiles}
    assert not [place for place in gone if last.get(place) is not None]
    found = {code for code in violations(history) if code[0] != "L"}  # a poll is no second here
    assert found <= {"U2", "U4", "U5"}, "updates are withheld, states are not"
    # of each user who is left the newest comes, of an interval at the latest when the worker stops
    assert publish == "changed" or "U2" not in found


def test_a_tombstone_instead_of_a_marker_is_seen(monkeypatch: pytest.MonkeyPatch) -> None:
    plant("tombstone instead of a marker", monkeypatch.setattr)
    assert {"T1", "C1"} <= set(crashes(2, erasures=0.15)[1])


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
    assert set(world.logs.records) == {
        (SETTINGS.events_topic, partition) for partition in range(PARTITIONS)
    }
    assert not any(world.committed.values())
    world.live()
    assert violations(world.finished()) == {}


@pytest.mark.parametrize("name", [name for name in BUGS if "no-op" not in name])
def test_each_planted_bug_is_seen(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    plant(name, monkeypatch.setattr, every=50)
    wanted = BUGS[name][1]
    assert set(wanted) <= find(name, enough=wanted)


@pytest.mark.parametrize(
    "run", [zombie_run, lambda: crashes(2)[0].finished()], ids=["zombie", "crashes"]
)
def test_without_a_bug_they_see_nothing(run: Callable[[], History]) -> None:
    history = run()
    assert violations(history) == {}
    assert t2_numbers_are_right(history, World(0).predictor) == []

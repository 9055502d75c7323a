"""Runs the pipeline on logs in memory, many times.

`python -m tests.faults.core_runs` prints which checks turn red with each planted bug.
"""

from __future__ import annotations

import os
import random
import time
from collections.abc import Collection
from typing import Any

from stream.worker.failpoints import BATCH_POINTS
from tests.faults.core import World
from tests.faults.oracle.checks import violations
from tests.faults.oracle.events import c1_commit_is_covered
from tests.faults.oracle.history import History
from tests.faults.oracle.numbers import t2_numbers_are_right
from tests.faults.planted import BUGS, plant

POINTS = [point for point in BATCH_POINTS if point not in ("fetched", "committed")]
COMMON = [point for point in POINTS if point != "dead_letters_sent"]


def crashes(
    seed: int,
    lives: int = 4,
    point: str = "",
    action: str = "kill",
    users: int = 8,
    erasures: float = 0.0,
    mapped: bool = False,
) -> tuple[World, dict[str, list[str]]]:
    """A history with crashes at random points, C1 after each, then a life to the end."""
    world = World(seed, users=users, erasures=erasures, mapped=mapped)
    random_, found = random.Random(seed), {}
    for _ in range(lives):
        world.live(point or random_.choice(COMMON), random_.randrange(1, 4), action)
        cut = c1_commit_is_covered(world.cut())
        if cut:
            found["C1"] = cut
    world.live()
    return world, {**violations(world.finished()), **found}


def zombie_run() -> History:
    world = World(1)
    world.zombie()
    return world.finished()


def find(name: str, enough: Collection[str] = ()) -> set[str]:
    """Codes of the invariants that turn red in the runs which suit a bug.

    `enough`: no further run is made once all of these did.
    """
    if name == "zombie allowed to write":
        return set(violations(zombie_run()))
    if name == "1e-4 added to one component":
        world, _ = crashes(2)
        return {"T2"} if t2_numbers_are_right(world.finished(), world.predictor) else set()
    if name == "batch acked in finally on error":
        return set(crashes(1, point="before_updates", action="raise", users=60)[1])
    point = "after_states" if "dedupe" in name else ""
    found = set[str]()
    for seed in range(2, 6):
        found |= crashes(seed, point=point, users=60)[1].keys()
        if enough and found.issuperset(enough):
            break
    return found


def main() -> None:
    """Each bug: what turns red, after how long."""
    for name in BUGS:
        patched: list[tuple[Any, str, Any]] = []

        def patch(
            owner: Any, attribute: str, value: Any, patched: list[tuple[Any, str, Any]] = patched
        ) -> None:
            patched.append((owner, attribute, getattr(owner, attribute)))
            setattr(owner, attribute, value)

        plant(name, patch, every=50)
        started = time.perf_counter()
        found = sorted(find(name))
        seconds = time.perf_counter() - started
        for owner, attribute, value in reversed(patched):
            setattr(owner, attribute, value)
        cells = [name, ", ".join(BUGS[name][1]), ", ".join(found), f"{seconds:.2f} s"]
        os.write(1, f"| {' | '.join(cells)} |\n".encode())


if __name__ == "__main__":
    main()

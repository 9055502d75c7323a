"""Holds the scenarios E of users who are erased and suppressed while workers are killed and sleep.

A suppressed user stays gone whatever comes, so at the end nothing of it may be there (U5, T1).
"""

from __future__ import annotations

import random
import signal
import time
from dataclasses import replace

from stream.audit.event_rules import Limits
from stream.worker.failpoints import BATCH_POINTS, POINTS
from tests.faults.campaign.load import Shape
from tests.faults.campaign.run import USERS, Run
from tests.faults.campaign.scenarios_kills import BATCHES, MANY, ONCE, REPEATS
from tests.faults.campaign.scenarios_workers import regressions, wind_up
from tests.faults.oracle.history import Reference
from tests.faults.planted import NO_LOOKS

ASKED = 20
"""Users of one kind of control between two kills."""

MANY_USERS = 100_000
TTL_S = 60
"""Of scenario E3, whose users come once, but for the first hundred."""


def some(run: Run, count: int) -> list[str]:
    return [f"user-{each}" for each in run.random.sample(range(USERS), count)]


def e1_many(run: Run) -> None:
    """Kills a worker at random points of its life, as W4many, while users are erased.

    Between two kills some are erased, some suppressed, some allowed again.
    """
    run.begin_load(poison=0.03)
    points = [
        point
        for point in POINTS
        if point in (*BATCH_POINTS, "assigned", "restoring", "recovered", "stopping")
    ]
    for number in range(MANY):
        for kind in ("erase", "suppress", "unsuppress", "erase"):
            run.ask(kind, some(run, ASKED))
        point = run.random.choice(points[3:] if number == 0 else points)
        at = 1 if point in ONCE else run.random.randrange(1, 1 + REPEATS.get(point, 6))
        dying = run.worker(*BATCHES, failpoints=f"{point}=kill@{at}", ready=point == "stopping")
        if point == "stopping":
            run.works(dying)
            dying.process.send_signal(signal.SIGTERM)
        hit = run.dies_at(dying, point)
        open_ = run.crash_cut()
        run.trial(f"kill at {point}", hit, note=f"{open_} events not committed")
    since = time.monotonic()
    run.worker()
    run.recovered(since)


def e2_zombies(run: Run) -> None:
    """Makes a zombie that wakes with profiles of users who were suppressed while it slept.

    Workers never ask whether they are still the owner: the broker alone keeps late profiles out.
    """
    run.planted = run.planted or NO_LOOKS
    run.worker()
    run.begin_load()
    for place, point in enumerate(("computed", "before_updates", "updates_sent")):
        zombie = run.worker(failpoints=f"{point}=stop@4", ready=False)
        hit = run.stops_at(zombie, point)
        since = time.monotonic()
        run.recovered(since)
        gone = range(place * USERS // 4, (place + 1) * USERS // 4)
        run.ask("suppress", [f"user-{each}" for each in gone])
        run.recovered(time.monotonic())
        before = regressions(run)
        zombie.process.send_signal(signal.SIGCONT)
        run.trial(f"zombie at {point}, its users suppressed", hit, time.monotonic())
        wind_up(run, zombie)
        run.trials[-1].note += f", {regressions(run) - before} stale states written"


class Once(Shape):
    """Everybody comes once, then a hundred users go on."""

    def __init__(self) -> None:
        self._next = 0

    def user(self, random_: random.Random, users: int) -> str:
        self._next += 1
        return f"user-{self._next if self._next < MANY_USERS else random_.randrange(100)}"


def e3_expiry(run: Run) -> None:
    """Forgets 100,000 users after a minute of silence, while a hundred go on; one kill.

    The audit, which knows the law and no sweep, finds every state as it must be.
    """
    days = str(TTL_S / 86_400)
    run.reference = Reference(replace(Limits(), ttl_ms=TTL_S * 1000))
    run.unchecked = ("T4", "T5", "U5", "L1", "L2", "L3")  # who was forgotten has tombstones
    worker = run.worker("--user-ttl-days", days)
    run.begin_load(rate=2_500, users=MANY_USERS, poison=0, shape=Once())
    run.wait(lambda: worker.metric("table_keys") > MANY_USERS / 2, 300, "most users came")
    most = worker.metric("state_bytes")
    since, hit = time.monotonic(), run.kill(worker)
    run.crash_cut()
    worker = run.worker("--user-ttl-days", days)
    run.trial("kill while users come", hit, since)
    run.wait(
        lambda: worker.metric("table_keys") < 5_000,
        600,
        "those who are silent are forgotten",
    )
    least = worker.metric("state_bytes")
    run.trials[-1].note = f"{most / 1e6:.0f} MB, then {least / 1e6:.0f} MB"
    if run.load is not None:
        run.load.stop()
    run.wait(run.at_rest, 120, "lag 0")
    done = run.pipeline.run("audit", "--user-ttl-days", days, "--json")
    if done.returncode:
        run.verdict.violations["AUDIT"] = [done.stdout[-1_500:] + done.stderr[-500:]]


ALL = {"E1many": e1_many, "E2": e2_zombies, "E3": e3_expiry}

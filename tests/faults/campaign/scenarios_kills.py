"""Holds the scenarios W of killed workers.

Names and numbers are those of the plan (docs/measured/reliability.md).
"""

from __future__ import annotations

import signal
import time

from stream.worker.failpoints import BATCH_POINTS, POINTS
from tests.faults.campaign.run import Run
from tests.support.pipelines import Worker

BATCHES = ("--max-batch-events", "150")
REPEATS = {"committed": 3, "dead_letters_sent": 2}
"""Points that are met less often than once a batch get a smaller count."""
ONCE = ("assigned", "restoring", "recovered", "stopping")
"""Points met once in a worker's life, if no other joins."""
MANY = 25
"""Kills in one run of W4many."""


def w1(run: Run, kills: int = 4) -> None:
    """SIGKILL at random times, one worker, with the real model."""
    run.null_model = False
    worker = run.worker()
    run.begin_load()
    for _ in range(kills):
        run.works(worker)
        run.pause(0, 3)
        since, hit = time.monotonic(), run.kill(worker)
        open_ = run.crash_cut()
        worker = run.worker()
        run.trial("kill", hit, since, f"{open_} events not committed")


def w2(run: Run) -> None:
    """SIGKILL of one of three workers; the others take over."""
    workers = [run.worker() for _ in range(3)]
    run.begin_load()
    for _ in range(2):
        run.works(workers[1])
        run.pause(0, 3)
        victim = workers.pop(run.random.randrange(3))
        since, hit = time.monotonic(), run.kill(victim)
        run.crash_cut()
        run.trial("kill one of three", hit, since)
        workers.append(run.worker())


def w3(run: Run) -> None:
    """SIGKILL of all three workers together."""
    run.begin_load()
    for _ in range(2):
        workers = [run.worker() for _ in range(3)]
        run.works(workers[-1])
        since = time.monotonic()
        hits = [run.kill(worker) for worker in workers]
        run.crash_cut()
        last = run.worker()
        run.trial("kill all three", all(hits), since)
        run.kill(last)
    run.worker()


def w4(run: Run) -> None:
    """Kills a worker by SIGKILL at each point of a batch.

    One worker; the next begins with an empty store each time.
    """
    run.begin_load(poison=0.03)
    points = list(BATCH_POINTS)
    run.random.shuffle(points)
    for point in points:
        at = run.random.randrange(1, 1 + REPEATS.get(point, 6))
        dying = run.worker(*BATCHES, failpoints=f"{point}=kill@{at}", ready=False)
        _killed_at(run, dying, point)
    since = time.monotonic()
    run.worker()
    run.recovered(since)


def _killed_at(run: Run, dying: Worker, point: str) -> None:
    hit = run.dies_at(dying, point)
    open_ = run.crash_cut()
    run.trial(f"kill at {point}", hit, note=f"{open_} events not committed")


def w4_many(run: Run) -> None:
    """Kills a worker by SIGKILL at a random point of its life, again and again.

    Most workers die before they are ready. Odd seeds: the real model.
    """
    run.null_model = run.seed % 2 == 0
    run.begin_load(poison=0.03)
    points = [
        point
        for point in POINTS
        if point in (*BATCH_POINTS, "assigned", "restoring", "recovered", "stopping")
    ]
    for number in range(MANY):
        point = run.random.choice(
            points[3:] if number == 0 else points
        )  # the first finds no state to restore
        at = 1 if point in ONCE else run.random.randrange(1, 1 + REPEATS.get(point, 6))
        dying = run.worker(*BATCHES, failpoints=f"{point}=kill@{at}", ready=point == "stopping")
        if point == "stopping":
            run.works(dying)
            dying.process.send_signal(signal.SIGTERM)
        _killed_at(run, dying, point)
    since = time.monotonic()
    run.worker()
    run.recovered(since)


def w4_three(run: Run) -> None:
    """SIGKILL at points of a batch, the victim one of three."""
    run.worker()
    run.worker()
    run.begin_load(poison=0.03)
    for point in run.random.sample(BATCH_POINTS, 3):
        dying = run.worker(*BATCHES, failpoints=f"{point}=kill@2", ready=False)
        hit = run.dies_at(dying, point)
        since = time.monotonic()
        run.crash_cut()
        run.trial(f"kill at {point}, one of three", hit, since)


def w5(run: Run) -> None:
    """Kills a worker by SIGKILL during a rebalance.

    While partitions are given up, after the flush, when they are assigned.
    """
    run.worker()
    run.begin_load()
    for point in ("revoking", "flushed"):
        dying = run.worker(
            failpoints=f"{point}=kill@2"
        )  # the first time is its own joining, with nothing in flight
        run.works(dying)
        third = run.worker(ready=False)
        hit = run.dies_at(dying, point, 40)
        since = time.monotonic()
        run.crash_cut()
        run.trial(f"kill at {point}", hit, since)
        run.kill(third)
    dying = run.worker(failpoints="assigned=kill@1", ready=False)
    hit = run.dies_at(dying, "assigned", 40)
    since = time.monotonic()
    run.crash_cut()
    run.trial("kill at assigned", hit, since)


def w6(run: Run) -> None:
    """SIGKILL during recovery, five in a row."""
    first = run.worker()
    run.begin_load(rate=400)
    run.works(first)
    run.pause(2, 3)
    since = time.monotonic()
    run.trial("kill", run.kill(first))
    for point in ("restoring", "restoring", "recovered", "restoring", "recovered"):
        dying = run.worker(failpoints=f"{point}=kill@1", ready=False)
        hit = run.dies_at(dying, point)
        run.crash_cut()
        run.trial(f"kill at {point}", hit)
    run.worker()
    run.recovered(since)


def w7(run: Run) -> None:
    """SIGKILL while dead letters are sent, and after SIGTERM arrived."""
    run.begin_load(poison=0.1)
    dying = run.worker(*BATCHES, failpoints="dead_letters_sent=kill@3", ready=False)
    hit = run.dies_at(dying, "dead_letters_sent")
    run.crash_cut()
    run.trial("kill at dead_letters_sent", hit)
    dying = run.worker(*BATCHES, failpoints="stopping=kill@1")
    dying.process.send_signal(signal.SIGTERM)
    hit = run.dies_at(dying, "stopping")
    since = time.monotonic()
    run.crash_cut()
    run.worker()
    run.trial("kill at stopping", hit, since)


def w11(run: Run) -> None:
    """A crash loop: SIGKILL every 0.1 to 3 s, then left alone."""
    run.begin_load()
    for _ in range(10):
        worker = run.worker(ready=False)
        run.pause(0.1, 6)
        run.trial("kill in a loop", run.kill(worker))
    run.crash_cut()
    since = time.monotonic()
    run.worker()
    run.recovered(since)


def void(run: Run) -> None:
    """Kills once at a failpoint.

    It shows, with the injector broken, that a fault which did not happen is counted as void.
    """
    run.begin_load()
    dying = run.worker(*BATCHES, failpoints="after_states=kill@2", ready=False)
    run.wait(lambda: "failpoint after_states" in dying.log, 60, "the point is reached")
    run.trial("kill at after_states", run.dies_at(dying, "after_states", 3))
    run.worker()


ALL = {
    "W1": w1, "W2": w2, "W3": w3, "W4": w4, "W4many": w4_many, "W4x3": w4_three, "W5": w5,
    "W6": w6, "W7": w7, "W11": w11,
    "void": void,
}  # fmt: skip

"""Holds the scenarios W of workers that stop, hang, sleep, join, leave and fail.

Names and numbers are those of the plan (docs/measured/reliability.md).
"""

from __future__ import annotations

import signal
import subprocess
import time
from contextlib import suppress

from tests.faults.campaign.run import Run
from tests.faults.campaign.scenarios_kills import BATCHES
from tests.faults.planted import NO_LOOKS
from tests.support.pipelines import SESSION_S, Worker


def w8(run: Run) -> None:
    """Sends SIGTERM idle, loaded, twice, with a backlog, in recovery; TERM then KILL.

    A clean stop leaves nothing to replay.
    """
    leave(run, run.worker(), "SIGTERM, idle")
    run.begin_load()
    worker = run.worker()
    run.works(worker)
    leave(run, worker, "SIGTERM, loaded")
    worker = run.worker()
    replayed(run, worker)
    run.works(worker)
    worker.process.send_signal(signal.SIGTERM)
    leave(run, worker, "SIGTERM twice")
    time.sleep(6)  # a backlog
    worker = run.worker(*BATCHES)
    replayed(run, worker)
    leave(run, worker, "SIGTERM, backlog")
    leave(run, run.worker(ready=False), "SIGTERM, starting", codes=(0, -signal.SIGTERM))
    worker = run.worker(
        failpoints="stopping=sleep:0.4"
    )  # it would be gone within a few milliseconds
    run.works(worker)
    since = time.monotonic()
    worker.process.send_signal(signal.SIGTERM)
    run.pause(0, 0.4)
    run.trial("SIGTERM, then SIGKILL", run.kill(worker))
    run.crash_cut()
    run.worker()
    run.recovered(since)


def leave(run: Run, worker: Worker, what: str, codes: tuple[int, ...] = (0,)) -> None:
    since = time.monotonic()
    try:
        code = worker.stop()
    except subprocess.TimeoutExpired:
        code = -99
    run.ended(worker, *codes)
    run.trial(what, True, note=f"exit {code} after {time.monotonic() - since:.1f} s")
    run.disturbed.append((since - 1, time.monotonic() + 12))
    if code not in codes:
        run.verdict.violations.setdefault("W8", []).append(
            f"{what}: exit {code}\n{worker.log[-500:]}"
        )


def replayed(run: Run, worker: Worker) -> None:
    """The worker before left cleanly: none of its events may come again."""
    run.works(worker)
    again = worker.metric("events_total", result="replayed")
    if again:
        run.verdict.violations.setdefault("W8", []).append(
            f"{again:.0f} events replayed after a clean stop"
        )


def w9(run: Run) -> None:
    """Stops a worker for half, one and a half, three session timeouts, then lets it go on.

    By SIGSTOP and SIGCONT; another worker is there to take over.
    """
    run.worker()
    run.begin_load()
    for share in (0.5, 1.5, 3):
        sleeper = run.worker()
        run.works(sleeper)
        since = time.monotonic()
        sleeper.process.send_signal(signal.SIGSTOP)
        time.sleep(share * SESSION_S)  # the fault itself
        sleeper.process.send_signal(signal.SIGCONT)
        hit = run.under_load()
        run.trial(f"stopped for {share:g} sessions", hit, since)
        wind_up(run, sleeper)


def wind_up(run: Run, worker: Worker) -> None:
    """One that may have ended by its own fence, or may live: end it, and allow either."""
    try:
        code = worker.process.wait(2)
    except subprocess.TimeoutExpired:
        code = worker.stop()
    run.ended(worker, 0, 1)
    run.trials[-1].note += f" exit {code}{', fenced' if 'not ours any more' in worker.log else ''}"


def w10(run: Run) -> None:
    """Makes a zombie at the worst points.

    It is stopped in the middle of publishing, others go on, then it wakes; rebuild from the
    changelog.
    """
    run.null_model = False
    run.worker()
    run.begin_load()
    for point in ("computed", "after_updates", "states_sent"):
        zombie = run.worker(failpoints=f"{point}=stop@4", ready=False)
        hit = run.stops_at(zombie, point)
        since = time.monotonic()
        run.recovered(since)
        time.sleep(2)  # the new owner applies later events of the same users
        before = regressions(run)
        zombie.process.send_signal(signal.SIGCONT)
        run.trial(f"zombie at {point}", hit, time.monotonic())
        wind_up(run, zombie)
        run.trials[-1].note += f", {regressions(run) - before} stale states written"
    for worker in run.alive():
        run.kill(worker)
    run.crash_cut()
    run.worker()


def w10_fence(run: Run) -> None:
    """Runs W10 by workers that never ask whether they are still the owner.

    The broker alone keeps a zombie's states out.
    """
    run.planted = NO_LOOKS
    w10(run)


def regressions(run: Run) -> int:
    """Records in the changelog that go back in source offset."""
    from tests.faults.oracle.events import t4_states_never_go_back

    return len(t4_states_never_go_back(run.history()))


def w13(run: Run) -> None:
    """Scale 1 to 3 to 1 to 3, then to 1 by SIGKILL."""
    stays = run.worker()
    run.begin_load()
    for way in ("stop", "kill"):
        others = [run.worker(), run.worker()]
        since = time.monotonic()
        run.trial("1 to 3", run.under_load(), since)
        run.works(stays)
        since = time.monotonic()
        for other in others:
            if way == "kill":
                run.kill(other)
            else:
                leave(run, other, "leave")
        run.trial(f"3 to 1 by {way}", run.under_load(), since)


def w16(run: Run) -> None:
    """The event loop blocked for two session timeouts; another worker takes over."""
    run.worker()
    run.begin_load()
    for point in ("before_updates", "after_updates"):
        blocked = run.worker(failpoints=f"{point}=sleep:{2 * SESSION_S}@4", ready=False)
        run.wait(lambda: f"failpoint {point}" in blocked.log, 60, "the loop is blocked")  # noqa: B023
        since = time.monotonic()
        run.trial(f"loop blocked at {point}", run.under_load(), since)
        wind_up(run, blocked)


def w17(run: Run) -> None:
    """Scoring hangs for ever: the watchdog ends the process, another worker takes over."""
    run.expected = (
        r"not stopped after \d+ s; ending at once",
    )  # a hung thread cannot finish its batch
    run.begin_load()
    hanging = run.worker("--stall-timeout-s", "8", failpoints="mid_batch=hang@4", ready=False)
    run.wait(lambda: "failpoint mid_batch" in hanging.log, 60, "scoring hangs")
    since = time.monotonic()
    code = hanging.process.wait(90)
    run.ended(hanging, 1)
    detected_s = time.monotonic() - since
    run.crash_cut()
    run.worker()
    run.trial(
        "scoring hangs",
        code == 1,
        since,
        f"ended {detected_s:.1f} s after the hang; stall timeout 8 s",
    )


def m8(run: Run) -> None:
    """Raises an exception in the middle of a batch.

    In the model: the batch is tried again in halves; in publishing: the worker ends.
    """
    run.begin_load()
    worker = run.worker(*BATCHES, failpoints="mid_batch=raise@3")
    with suppress(AssertionError):
        run.wait(lambda: "failpoint mid_batch" in worker.log, 60, "an exception in the model")
    run.works(worker)
    run.trial("raise at mid_batch", "failpoint mid_batch" in worker.log)
    leave(run, worker, "leave")
    for point in ("decoded", "computed", "after_updates", "states_sent", "after_states"):
        failing = run.worker(*BATCHES, failpoints=f"{point}=raise@3", ready=False)
        code = failing.process.wait(60)
        run.ended(failing, 1)
        run.crash_cut()
        run.trial(f"raise at {point}", f"failpoint {point}" in failing.log and code == 1)
    since = time.monotonic()
    run.worker()
    run.recovered(since)


def planted(run: Run) -> None:
    """Brings what the planted bugs need.

    Two kills at points where a replay follows, an error, a zombie, and a fresh worker at the end.
    """
    run.null_model = False
    run.begin_load(rate=300, users=2_000, poison=0.03)
    for point in ("after_states", "after_updates"):
        dying = run.worker(*BATCHES, failpoints=f"{point}=kill@4", ready=False)
        hit = run.dies_at(dying, point)
        run.crash_cut()
        run.trial(f"kill at {point}", hit)
    failing = run.worker(*BATCHES, failpoints="before_updates=raise@3", ready=False)
    try:
        failing.process.wait(15)
    except subprocess.TimeoutExpired:
        run.kill(failing)
    run.ended(failing, 1, -signal.SIGKILL)
    run.crash_cut()
    run.trial("raise at before_updates", "failpoint before_updates" in failing.log)
    zombie = run.worker(*BATCHES, failpoints="computed=stop@6", ready=False)
    hit = run.stops_at(zombie, "computed", 30)
    run.worker()
    run.recovered(time.monotonic())
    time.sleep(2)  # the new owner goes on
    zombie.process.send_signal(signal.SIGCONT)
    run.trial("zombie at computed", hit, time.monotonic())
    wind_up(run, zombie)


ALL = {
    "W8": w8,
    "W9": w9,
    "W10": w10,
    "W10fence": w10_fence,
    "W13": w13,
    "W16": w16,
    "W17": w17,
    "M8": m8,
    "planted": planted,
}

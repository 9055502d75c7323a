"""Holds the scenarios W of the group's members.

Rolling restarts, static membership, idle workers, none at all, and what a worker runs out of.
"""

from __future__ import annotations

import asyncio
import resource
import signal
import subprocess
import time
from bisect import bisect_left
from dataclasses import replace
from pathlib import Path

from stream.kafka.topics import create_topics
from tests.faults.campaign.run import Run
from tests.faults.campaign.scenarios_kills import BATCHES
from tests.faults.campaign.scenarios_workers import leave, regressions, wind_up
from tests.support.pipelines import Worker

LATE_S = 1.0
STATIC = ("--session-timeout-s", "30")
"""Longer than a restart, so that the place is kept."""


def w12(run: Run) -> None:
    """Rolling restart of three under load, twice: each leaves by SIGTERM and a new one starts."""
    rolling_restart(run, rounds=2, static=False)


def w12_static(run: Run) -> None:
    """The same with instance ids: the generation of the group must not change."""
    run.static_members = True
    before, after = rolling_restart(run, rounds=2, static=True)
    if before != after:
        run.verdict.violations.setdefault("W12", []).append(
            f"generation {before} before, {after} after"
        )


def rolling_restart(run: Run, rounds: int, static: bool) -> tuple[int, int]:
    """The generations of the group before and after."""
    options = [(*STATIC, "--instance-id", name) if static else () for name in ("a", "b", "c")]
    workers = [run.worker(*each) for each in options]
    run.begin_load()
    run.works(*workers)
    first, events = generation(run), len(run.history().source)
    for number in range(rounds):
        for place, given in enumerate(options):
            run.pause(0, 1)
            since = time.monotonic()
            code = workers[place].stop()
            run.ended(workers[place], 0)
            workers[place] = run.worker(*given)
            run.works(*workers)
            run.trial(
                f"restart {place + 1} of round {number + 1}", code == 0 and run.under_load(), since
            )
    last = generation(run)
    run.trials[-1].note = f"{last - first} generations more; {lateness(run, events)}"
    return first, last


def generation(run: Run) -> int:
    """The newest one in which a worker has written."""
    return max(each.generation for each in run.history(tables=True).productions)


def lateness(run: Run, first: int) -> str:
    """How many events, but for the first so many, had no update a second after they were sent."""
    history = run.history()
    updates: dict[tuple[int, bytes | None], dict[int, int]] = {}
    for record, update in history.parsed_updates:
        updates.setdefault((record.partition, record.key), {}).setdefault(
            update["source"]["offset"], record.timestamp_ms
        )
    late_s = []
    for record in history.source[first:]:
        times = updates.get((record.partition, record.key), {})
        offsets = sorted(times)
        at = bisect_left(offsets, record.offset)
        if (record.partition, record.offset) in history.reference.applied and at < len(offsets):
            late_s.append((times[offsets[at]] - record.timestamp_ms) / 1000)
    late = [each for each in late_s if each > LATE_S]
    latest_s = max(late_s, default=0)
    return f"{len(late)} of {len(late_s)} events later than {LATE_S:g} s, latest {latest_s:.1f} s"


def w9_join(run: Run) -> None:
    """Stops a worker for longer than a session just as the group has given it partitions.

    Its assignment is of a generation that is over.
    """
    run.worker()
    run.begin_load()
    for _ in range(2):
        sleeper = run.worker("--heartbeat-s", "2", failpoints="joined=stop@1", ready=False)
        hit = run.stops_at(sleeper, "joined")
        run.recovered(time.monotonic())  # the group has moved on
        before = regressions(run)
        sleeper.process.send_signal(signal.SIGCONT)
        run.trial("stopped at joined", hit, time.monotonic())
        time.sleep(3)  # it restores and computes, and has had its first answer
        wind_up(run, sleeper)
        run.trials[-1].note += f", {regressions(run) - before} stale states written"


def w14(run: Run) -> None:
    """Runs more workers than partitions, and the idle one takes over.

    Then none for a while, and one that catches up.
    """
    workers = [run.worker() for _ in range(5)]
    run.begin_load()
    busy = run.wait(
        lambda: [each for each in workers if each.metric("batches_total")][3:],
        60,
        "four of five work",
    )
    idle = next(each for each in workers if not each.metric("batches_total"))
    since, hit = time.monotonic(), run.kill(busy[0])
    run.crash_cut()
    run.works(idle)
    run.trial("one of four that work killed, a fifth is idle", hit, since)
    for each in run.alive():
        leave(run, each, "leave")
        run.trials.pop()
    since = time.monotonic()
    time.sleep(10)  # the fault itself
    last, began = run.worker(), time.monotonic()
    trial = run.trial("nobody for 10 s", run.under_load(), since)
    replayed, seconds = last.metric("events_total", result="replayed"), time.monotonic() - began
    trial.note = f"caught up {seconds:.1f} s after it was ready, {replayed:.0f} events replayed"


def w23(run: Run) -> None:
    """Starts two workers with one instance id.

    The first of them is alive, stopped in the middle of a batch, or stopped with states on their
    way.
    """
    run.static_members = True
    run.expected = (
        r"not stopped after \d+ s; ending at once",
    )  # its states were on their way when it lost its place
    first = run.worker("--instance-id", "same")
    run.begin_load()
    run.works(first)
    for point in ("", "computed", "states_sent"):
        if point:
            first = run.worker(
                *BATCHES, "--instance-id", "same", failpoints=f"{point}=stop@4", ready=False
            )
            hit = run.stops_at(first, point)
        else:
            hit = run.under_load()
        since = time.monotonic()
        second = run.worker("--instance-id", "same")
        run.works(second)
        before = regressions(run)
        if point:
            first.process.send_signal(signal.SIGCONT)
        trial = run.trial(
            f"same id, the first one {f'stopped at {point}' if point else 'alive'}", hit, since
        )
        fenced(run, first)
        run.works(second)
        trial.note = f"{regressions(run) - before} stale states written"
        leave(run, second, "leave")
        run.trials.pop()
    run.worker()


def fenced(run: Run, worker: Worker) -> None:
    """It has ended with code 1 and says that another has its place."""
    try:
        code = worker.process.wait(20)
    except subprocess.TimeoutExpired:
        code = -99
        worker.kill()
    run.ended(worker, 1)
    if code != 1 or (
        "the place of instance_id" not in worker.log and "not ours any more" not in worker.log
    ):
        run.verdict.violations.setdefault("W23", []).append(f"exit {code}: {worker.log[-500:]}")


def w23_apps(run: Run) -> None:
    """Starts a second pipeline with the same app id and other topics.

    It is refused, and the first one goes on.
    """
    worker = run.worker()
    run.begin_load()
    run.works(worker)
    names = {
        f"{each}_topic": f"other-{getattr(run.settings, f'{each}_topic')}"
        for each in ("events", "updates", "profiles", "dead_letters")
    }
    asyncio.run(create_topics(replace(run.settings, **names), 4, 1))  # type: ignore[arg-type]
    options = [
        word for name, topic in names.items() for word in (f"--{name.replace('_', '-')}", topic)
    ]
    since = time.monotonic()
    run.expected = ("RefusalError",)
    other = run.worker(*options, ready=False, planned=1)
    try:
        code = other.process.wait(30)
    except subprocess.TimeoutExpired:
        code = -99
        other.kill()
    run.ended(other, 1)
    if code != 1 or "two pipelines with one --app-id" not in other.log:
        run.verdict.violations.setdefault("REFUSAL", []).append(f"exit {code}: {other.log[-600:]}")
    run.works(worker)
    run.trial("same app id, other topics", run.under_load(), since)


def w24(run: Run) -> None:
    """Makes the model slow with one batch while later ones come, then kills the worker by SIGKILL.

    Nothing past the slow batch is committed.
    """
    run.begin_load()
    for at in (3, 6):
        slow = run.worker(
            "--max-batch-events", "20", failpoints=f"mid_batch=sleep:60@{at}", ready=False
        )
        run.wait(lambda: "failpoint mid_batch" in slow.log, 60, "a batch is slow")  # noqa: B023
        time.sleep(2)  # what was on its way before it becomes durable and is committed
        before = run.pipeline.offsets()
        time.sleep(3)  # later events come
        after = run.pipeline.offsets()
        waiting = sum(end for _, end in after.values()) - sum(end for _, end in before.values())
        hit = run.kill(slow)
        run.crash_cut()
        run.trial(
            f"slow batch {at}, then SIGKILL",
            hit and waiting > 0,
            note=f"{waiting} events came meanwhile",
        )
        moved = {
            each: after[each][0] - done
            for each, (done, _) in before.items()
            if after[each][0] != done
        }
        if moved:
            run.verdict.violations.setdefault("C1", []).append(
                f"committed past a batch in work: {moved}"
            )
    since = time.monotonic()
    run.worker()
    run.recovered(since)


def w18(run: Run) -> None:
    """Gives the worker no more memory, with the real model.

    It ends and names the reason; no good event becomes a dead letter.
    """
    run.null_model = False
    run.expected = (r"MemoryError|[Mm]emory|Traceback|mode\.|faust|asyncio",)
    worker = run.worker("--publish-timeout-s", "8", planned=1)
    since = time.monotonic()
    _, hard = resource.prlimit(worker.process.pid, resource.RLIMIT_AS)
    used = (
        int(Path(f"/proc/{worker.process.pid}/statm").read_text(encoding="ascii").split()[0])
        * resource.getpagesize()
    )
    resource.prlimit(worker.process.pid, resource.RLIMIT_AS, (used, hard))
    run.begin_load(rate=1_000)
    try:
        code = worker.process.wait(40)
    except subprocess.TimeoutExpired:
        code = None
        worker.kill()
    run.ended(worker, 1)
    run.crash_cut()
    ended_s = time.monotonic() - since
    run.worker()
    run.trial("no memory", code is not None, since, f"exit {code} after {ended_s:.1f} s")


ALL = {
    "W9join": w9_join, "W12": w12, "W12static": w12_static, "W14": w14, "W18": w18, "W23": w23,
    "W23apps": w23_apps, "W24": w24,
}  # fmt: skip

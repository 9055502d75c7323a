"""Measures how long a pipeline serves nothing when a worker joins, stops, is killed or restarts.

A steady load goes on all the time; the gaps between updates of a partition are what is measured.
"""

from __future__ import annotations

import asyncio
import calendar
import re
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from itertools import pairwise
from typing import Final

from stream.bench import rate as bench
from stream.bench.conditions import Bench, Row
from stream.bench.load import Load, load_on, produce_backlog, random_events
from stream.broker.cleanup import run_in_loop
from stream.config import Settings
from stream.errors import Failure

USERS: Final = 100_000
RATE: Final = 500.0
LONGEST_S: Final = 60.0
"""How long a group may take to settle, beyond the session timeout."""
SERVING_S: Final = 0.5
"""A group serves again when updates of all partitions come this long after it has settled."""
_SETTLED: Final = re.compile(
    r"^(\S+ \S+),(\d+) INFO interest_stream: partitions assigned", re.MULTILINE
)


def joins(given: Bench) -> Iterator[Row]:
    """Yields the longest time without an update of a partition, for each way a group can change.

    Each is given twice: as a whole, and from the last assignment of partitions on. 100,000 users.
    """
    for session_s in given.sessions_s:
        yield from _joins(given, session_s)


def _joins(given: Bench, session_s: float) -> Iterator[Row]:
    timing = ["--session-timeout-s", f"{session_s:g}", "--heartbeat-s", "1"]
    with given.topics() as settings, ExitStack() as stack:
        run_in_loop(
            produce_backlog(settings, random_events(USERS, USERS, given.items, 1, distinct=True))
        )
        serving = stack.enter_context(bench.running_worker(settings, timing))
        serving.drain(USERS)
        for _ in range(given.repeats):
            for what in ("stopped", "killed"):
                taker = stack.enter_context(bench.running_worker(settings, timing))
                yield from _pause(
                    given, settings, session_s, "a worker joins", [taker], lambda: None
                )
                end = serving.stop if what == "stopped" else serving.kill
                yield from _pause(given, settings, session_s, f"one of two is {what}", [taker], end)
                serving = taker
        yield from _restarts(given, settings, session_s, serving, stack)


def _restarts(
    given: Bench, settings: Settings, session_s: float, serving: bench.BenchWorker, stack: ExitStack
) -> Iterator[Row]:
    """Restarts one of two workers that have instance ids.

    Nobody else has to notice, and the partitions of the one wait for it.
    """
    timing = ["--session-timeout-s", f"{session_s:g}", "--heartbeat-s", "1"]
    named = [
        stack.enter_context(bench.running_worker(settings, [*timing, "--instance-id", name]))
        for name in ("a", "b")
    ]
    serving.stop()
    list(_pause(given, settings, session_s, "settling", [named[0]], lambda: None))
    for _ in range(given.repeats):
        started: list[bench.BenchWorker] = []

        def restart(started: list[bench.BenchWorker] = started) -> None:
            named[1].stop()
            again = bench.running_worker(settings, [*timing, "--instance-id", "b"])
            started.append(stack.enter_context(again))

        yield from _pause(
            given,
            settings,
            session_s,
            "one of two with instance ids is restarted",
            started,
            restart,
        )
        named[1] = started[0]


def _pause(
    given: Bench,
    settings: Settings,
    session_s: float,
    what: str,
    takers: list[bench.BenchWorker],
    act: Callable[[], None],
) -> list[Row]:
    """Measures the updates while `act` makes the group give partitions to the taker.

    `act` may add the taker to `takers`, which is empty before.
    """
    wall, seen = (
        time.time() - time.perf_counter(),
        sum(len(assignment_times(each.log())) for each in takers),
    )
    longest_s = LONGEST_S + session_s
    load = run_in_loop(_watched(given, settings, takers, seen, act, longest_s))
    assignments = assignment_times(takers[0].log())[seen:]
    if not assignments or not all(len(each) > 1 for each in load.arrivals):
        raise Failure(
            f"{what}: the group did not settle within {longest_s:.0f} s:\n{takers[0].log()[-1500:]}"
        )
    gaps = [max(pairwise(each), key=lambda pair: pair[1] - pair[0]) for each in load.arrivals]
    served = max(end for _, end in gaps) + wall
    condition = f"joins, {session_s:g} s"
    return [
        Row(condition, f"{what}: stop to serving", "s", max(end - begin for begin, end in gaps)),
        Row(condition, f"{what}: after the group settled", "s", max(0.0, served - assignments[-1])),
    ]


async def _watched(
    given: Bench,
    settings: Settings,
    takers: list[bench.BenchWorker],
    seen: int,
    act: Callable[[], None],
    longest_s: float,
) -> Load:
    started = time.perf_counter()
    wall = time.time() - started
    async with load_on(settings) as load:

        def busy() -> bool:
            settled = [moment for each in takers for moment in assignment_times(each.log())][seen:]
            serves = settled and all(
                each and each[-1] + wall > settled[-1] + SERVING_S for each in load.arrivals
            )
            return not serves and time.perf_counter() - started < longest_s

        acting = asyncio.get_running_loop().call_later(1.0, act)
        await load.pace_while(random_events(1_000_000, USERS, given.items, seed=3), RATE, busy)
        acting.cancel()
        return load


def assignment_times(log: str) -> list[float]:
    """Returns the moments, Unix time in seconds, at which a worker's log says it got partitions."""
    return [
        calendar.timegm(time.strptime(second, "%Y-%m-%d %H:%M:%S")) + int(ms) / 1000
        for second, ms in _SETTLED.findall(log)
    ]

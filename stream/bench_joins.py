"""How long a worker that joins, is stopped or is killed keeps a pipeline from serving, under a steady load."""

from __future__ import annotations

import asyncio
import calendar
import re
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from itertools import pairwise
from typing import Final

from stream import bench
from stream.bench_conditions import Bench, Row
from stream.bench_load import Load, load_on, produce_backlog, random_events
from stream.config import Settings
from stream.errors import Failure

USERS: Final = 100_000
RATE: Final = 500.0
LONGEST_S: Final = 60.0
SERVING_S: Final = 0.5
"""Updates of all partitions this long after the group has settled: it serves."""
ARGUMENTS: Final = ["--session-timeout-s", "6", "--heartbeat-s", "1"]
_SETTLED: Final = re.compile(r"^(\S+ \S+),(\d+) INFO interest_stream: partitions assigned", re.MULTILINE)


def joins(given: Bench) -> Iterator[Row]:
    """100,000 users. Figures: the longest time without an update of a partition, whole and from the last assignment on."""
    with given.topics() as settings, ExitStack() as stack:
        asyncio.run(produce_backlog(settings, random_events(USERS, USERS, given.items, 1, distinct=True)))
        serving = stack.enter_context(bench.running_worker(settings, ARGUMENTS))
        serving.drain(USERS)
        for _ in range(given.repeats):
            for what in ("stopped", "killed"):
                taker = stack.enter_context(bench.running_worker(settings, ARGUMENTS))
                yield from _pause(given, settings, "a worker joins", taker, lambda: None)
                end = serving.stop if what == "stopped" else serving.kill
                yield from _pause(given, settings, f"one of two is {what}", taker, end)
                serving = taker


def _pause(given: Bench, settings: Settings, what: str, taker: bench.BenchWorker, act: Callable[[], None]) -> list[Row]:
    """What happens to the updates while `act` makes the group give partitions to `taker`."""
    wall, seen = time.time() - time.perf_counter(), len(_assignments(taker))
    load = asyncio.run(_watched(given, settings, taker, seen, act))
    assignments = _assignments(taker)[seen:]
    if not assignments or not all(len(each) > 1 for each in load.arrivals):
        raise Failure(f"{what}: the group did not settle within {LONGEST_S:.0f} s:\n{taker.log()[-1500:]}")
    gaps = [max(pairwise(each), key=lambda pair: pair[1] - pair[0]) for each in load.arrivals]
    served = max(end for _, end in gaps) + wall
    return [
        Row("joins", f"{what}: stop to serving", "s", max(end - begin for begin, end in gaps)),
        Row("joins", f"{what}: after the group settled", "s", max(0.0, served - assignments[-1])),
    ]


async def _watched(
    given: Bench, settings: Settings, taker: bench.BenchWorker, seen: int, act: Callable[[], None]
) -> Load:
    started = time.perf_counter()
    wall = time.time() - started
    async with load_on(settings) as load:

        def busy() -> bool:
            settled = _assignments(taker)[seen:]
            serves = settled and all(each and each[-1] + wall > settled[-1] + SERVING_S for each in load.arrivals)
            return not serves and time.perf_counter() - started < LONGEST_S

        acting = asyncio.get_running_loop().call_later(1.0, act)
        await load.pace_while(random_events(1_000_000, USERS, given.items, seed=3), RATE, busy)
        acting.cancel()
        return load


def _assignments(worker: bench.BenchWorker) -> list[float]:
    """Moments at which a worker was told its partitions, as its log has them."""
    return [
        calendar.timegm(time.strptime(second, "%Y-%m-%d %H:%M:%S")) + int(ms) / 1000
        for second, ms in _SETTLED.findall(worker.log())
    ]

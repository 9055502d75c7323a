"""Measures a worker under less and under more than it can do.

Its memory, how far it falls behind, and when it has caught up.
"""

from __future__ import annotations

import time
from collections.abc import Iterator
from typing import Final

from stream.bench import rate as bench
from stream.bench.conditions import SAME_BATCH, Bench, Row
from stream.bench.load import Event, load_on, produce_backlog, random_events
from stream.broker.cleanup import run_in_loop
from stream.config import Settings

USERS: Final = 5_000
BACKLOG: Final = 100_000
SHARES: Final = (0.5, 1.1)
WARM_UP: Final = 20_000
LOAD_S: Final = 20.0


def overload(given: Bench) -> Iterator[Row]:
    """Yields figures of an open loop at 50 % and at 110 % of what a worker drains here and now.

    For 20 s each, with a fresh worker each.
    """
    for repeat in range(given.repeats):
        sustainable = given.drained(BACKLOG, USERS)
        yield Row("overload", "drained from a backlog", "events/s", sustainable)
        memory = {}
        for share in SHARES:
            rows, memory[share] = _under(given, sustainable * share, repeat)
            for figure, unit, value in rows:
                yield Row("overload", f"{figure}, at {share:.0%}", unit, value)
        yield Row(
            "overload", "highest memory at 110 %, of that at 50 %", "x", memory[1.1] / memory[0.5]
        )


def _under(given: Bench, rate: float, seed: int) -> tuple[list[tuple[str, str, float]], float]:
    """Returns the figures of one load and the worker's highest memory in MB.

    Raises Failure if the worker ends.
    """
    with given.topics() as settings, bench.running_worker(settings, list(SAME_BATCH)) as worker:
        run_in_loop(produce_backlog(settings, random_events(WARM_UP, USERS, given.items, seed)))
        worker.until(lambda sample: sample["applied"] >= WARM_UP)  # it serves
        events = list(random_events(int(rate * LOAD_S), USERS, given.items, seed + 1))
        seconds = run_in_loop(_send(settings, events, rate))
        ended = time.perf_counter()
        behind = WARM_UP + len(events) - worker.until(lambda sample: True)["applied"]
        worker.until(lambda sample: sample["applied"] >= WARM_UP + len(events))
        caught_up_s = time.perf_counter() - ended
        memory = float(worker.peak_memory_mb())
    rows = [
        ("sent", "events/s", len(events) / seconds),
        ("behind when the load ends", "events", behind),
        ("behind no more after", "s", caught_up_s),
        ("highest memory", "MB", memory),
    ]
    return rows, memory


async def _send(settings: Settings, events: list[Event], rate: float) -> float:
    """Sends the events at a rate; returns how many seconds it took."""
    async with load_on(settings) as load:
        began = time.perf_counter()
        await load.send(events, rate)
        return time.perf_counter() - began

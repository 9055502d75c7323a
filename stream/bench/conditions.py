"""Measures what a rate does not tell: latency, a hot user, many users, two workers, recovery.

Each condition is a function that yields rows; each row is one repeat of one figure. All run the
demo model unless said otherwise, on topics of their own, and are audited. Joins, overload and
formats have files of their own.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, replace
from statistics import median
from typing import Any, Final

import numpy as np

from stream.bench import rate as bench
from stream.bench.load import PARTITIONS, Load, load_on, produce_backlog, random_events
from stream.broker.cleanup import run_in_loop
from stream.config import Settings
from stream.kafka.topics import create_topics

SAME_BATCH: Final = ("--max-batch-events", "4096")
"""The batch of the comparison with other libraries.

A larger batch scores each of a few users once, and each of many users, too.
"""
RATES: Final = (500, 1_000, 2_000, 4_000, 6_000, 8_000, 12_000, 16_000, 24_000, 32_000)
KEEPS_UP_S: Final = 0.5
"""A rate is sustainable while 99 % of its events are answered within this."""
IDLE_EVENTS: Final = 40


@dataclass(frozen=True, slots=True)
class Row:
    """Holds one repeat of one figure."""

    condition: str
    figure: str
    unit: str
    value: float


class Bench:
    """Holds what all conditions share: a broker, a catalogue, and how much is measured."""

    def __init__(
        self,
        settings: Settings,
        items: Sequence[str],
        repeats: int,
        many: int,
        sessions_s: tuple[float, ...],
        formats: tuple[str, ...] = (),
    ) -> None:
        self.base, self.items, self.repeats, self.many = settings, items, repeats, many
        self.sessions_s = sessions_s  # session timeouts, of joins
        self.formats = formats  # that stand beside the contract

    @contextmanager
    def topics(self, **changes: Any) -> Iterator[Settings]:
        """Creates topics of a pipeline for a block; audits them if nothing failed; removes them.

        changes: of the settings.
        """
        settings = replace(bench.fresh_settings(self.base), **changes)
        run_in_loop(create_topics(settings, PARTITIONS, 1))
        try:
            yield settings
            bench.audit(settings)
        finally:
            run_in_loop(bench.remove_topics(settings))

    def drained(self, count: int, users: int, workers: int = 1, **shape: Any) -> float:
        """Returns the events/s at which workers drain a backlog."""
        with self.topics() as settings, ExitStack() as stack:
            run_in_loop(
                produce_backlog(settings, random_events(count, users, self.items, seed=1, **shape))
            )
            started = [
                stack.enter_context(bench.running_worker(settings, list(SAME_BATCH)))
                for _ in range(workers)
            ]
            return _together(started, count)


def latency(given: Bench) -> Iterator[Row]:
    """Yields latencies at half of the sustainable rate, and of single events on an idle topic."""
    with given.topics() as settings, bench.running_worker(settings, []) as worker:
        run_in_loop(produce_backlog(settings, random_events(20_000, 5_000, given.items, seed=1)))
        worker.drain(20_000)
        yield from run_in_loop(_latency(given, settings))


async def _latency(given: Bench, settings: Settings) -> list[Row]:
    rows, sustainable = [], RATES[0]
    async with load_on(settings) as load:
        for rate in RATES:
            taken = await load.pace(
                list(random_events(rate * 4, 5_000, given.items, seed=rate)), rate
            )
            if np.percentile(taken, 99) > KEEPS_UP_S:
                break
            sustainable = rate
        rows.append(Row("latency", "sustainable rate, open loop", "events/s", sustainable))
        for repeat in range(given.repeats):
            half = sustainable / 2
            events = list(random_events(int(half * 10), 5_000, given.items, seed=repeat))
            for percent, value in zip(
                (50, 99), np.percentile(await load.pace(events, half), (50, 99)), strict=True
            ):
                rows.append(Row("latency", f"p{percent} at half of it", "ms", value * 1000))
            rows += await _idle(load, given, repeat)
    return rows


async def _idle(load: Load, given: Bench, seed: int) -> list[Row]:
    taken, pauses = [], np.random.default_rng(seed).uniform(0.1, 0.3, IDLE_EVENTS)
    for event, pause in zip(
        random_events(IDLE_EVENTS, 5_000, given.items, seed=seed), pauses, strict=True
    ):
        await asyncio.sleep(pause)
        taken.append(float((await load.pace([event], 1.0))[0]))
    return [
        Row(
            "latency",
            f"p{percent} of one event on an idle topic",
            "ms",
            float(np.percentile(taken, percent)) * 1000,
        )
        for percent in (50, 99)
    ]


def hot(given: Bench) -> Iterator[Row]:
    """Yields rates with a user of 30 % of all events, and with as many users as events.

    Both stand beside the rate with 5,000 users in batches of the same size.
    """
    for _ in range(given.repeats):
        usual = given.drained(150_000, 5_000)
        one = given.drained(150_000, 5_000, hot_share=0.3)
        distinct = given.drained(150_000, 150_000, distinct=True)
        yield Row("hot", "5,000 users", "events/s", usual)
        yield Row("hot", "one of them with 30 % of all events", "events/s", one)
        yield Row("hot", "one with 30 %, of the rate of 5,000", "%", 100 * one / usual)
        yield Row("hot", "150,000 distinct users", "events/s", distinct)
        yield Row("hot", "distinct users, of the rate of 5,000", "%", 100 * distinct / usual)


def two(given: Bench) -> Iterator[Row]:
    """Yields the rates of one worker and of two, on two cores that the broker uses, too."""
    for _ in range(given.repeats):
        rates = [given.drained(200_000, 5_000, workers) for workers in (1, 2)]
        yield Row("two workers", "one worker", "events/s", rates[0])
        yield Row("two workers", "two workers", "events/s", rates[1])
        yield Row("two workers", "two of one", "x", rates[1] / rates[0])


def _together(workers: list[bench.BenchWorker], events: int) -> float:
    """Returns the events/s of all workers from the moment when each has applied something."""
    for worker in workers:
        worker.until(lambda sample: sample["applied"] > 0)
    began, first = time.perf_counter(), _applied(workers)
    while (applied := _applied(workers)) < events:
        time.sleep(bench.SAMPLE_S)
    return (applied - first) / (time.perf_counter() - began)


def _applied(workers: list[bench.BenchWorker]) -> float:
    return float(sum(worker.until(lambda sample: True)["applied"] for worker in workers))


def recovery(given: Bench) -> Iterator[Row]:
    """Yields how long cold starts take until the update of one new event, and what memory.

    With many users of one event each, without a model; then with next to no users.
    """
    with given.topics() as settings:
        # A worker makes the states, and with them the changelog that later ones recover from.
        backlog = random_events(given.many, given.many, given.items, 1, distinct=True)
        run_in_loop(produce_backlog(settings, backlog))
        with bench.running_worker(settings, ["--null-model"]) as worker:
            rate = worker.drain(given.many)["events_per_s"]
            # These two figures are written now and then, not with each batch.
            sample = worker.until(lambda sample: sample["users"] >= given.many)
            state_mb = sample["state_bytes"] / 1e6
            memory = _peak_mb(worker) / state_mb
            yield Row("recovery", f"{given.many:,} distinct users, null model", "events/s", rate)
            yield Row("recovery", "state held", "MB", state_mb)
            yield Row("recovery", "highest memory while they were made, of the state", "x", memory)
        for seconds, worker, sample in _cold_starts(given, settings):
            memory = _peak_mb(worker) / state_mb
            yield Row("recovery", "start of the process to the first update", "s", seconds)
            yield Row("recovery", "changelog read and stored", "s", sample["recovery_s"])
            yield Row("recovery", "highest memory, of the state", "x", memory)
    with given.topics() as settings:
        for seconds, _, _ in _cold_starts(given, settings):
            yield Row("recovery", "the same with next to no changelog", "s", seconds)


def _cold_starts(
    given: Bench, settings: Settings
) -> Iterator[tuple[float, bench.BenchWorker, dict[str, Any]]]:
    """Starts workers one after the other; yields each when it has applied one new event.

    With it the seconds since the start of its process, and the sample that showed it.
    """
    for repeat in range(given.repeats):
        run_in_loop(produce_backlog(settings, random_events(1, 1, given.items, repeat)))
        started = time.perf_counter()
        with bench.running_worker(settings, ["--null-model"]) as worker:
            sample = worker.until(lambda sample: sample["applied"] > 0)
            yield time.perf_counter() - started, worker, sample


def _peak_mb(worker: bench.BenchWorker) -> float:
    """Returns the highest memory in MB of a million bytes, the unit of the state."""
    return worker.peak_memory_mb() * 1.048576


def table(rows: list[Row], markdown: bool) -> Iterator[str]:
    """Yields a line a figure: median, least and most of its repeats."""
    figures: dict[tuple[str, str, str], list[float]] = {}
    for row in rows:
        figures.setdefault((row.condition, row.figure, row.unit), []).append(row.value)
    if markdown:
        yield "| | | median | least | most | repeats |\n|---|---|---|---|---|---|"
    for (condition, figure, unit), values in figures.items():
        shown = [
            f"{each:,.0f} {unit}" if each >= 100 else f"{each:,.2f} {unit}"
            for each in (median(values), min(values), max(values))
        ]
        if markdown:
            yield f"| {condition} | {figure} | {' | '.join(shown)} | {len(values)} |"
        else:
            yield f"{condition:12} {figure:55} {shown[0]:>16}   {shown[1]} .. {shown[2]}"

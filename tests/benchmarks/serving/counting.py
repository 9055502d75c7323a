"""Says what a count of a segment costs the process that follows, in processor time.

    python -m tests.benchmarks.serving.counting      # a million users, made up, without a broker

It counts beside other work, too. Users have five interests of 64, drawn evenly; each figure is the
median of some. An update is of `Marks.write` alone: what it costs without what a count reads is
measured with an array that has not been counted yet.
"""

from __future__ import annotations

import statistics
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import click
import numpy as np

from stream.serving.store.finding import Wanted
from stream.serving.store.marks import Marks
from stream.serving.store.marks_file import RANKS, Rows
from stream.serving.store.tallies import HOUR_MS
from stream.serving.updates import NUMBERS

ID = bytes(16)
INTERESTS, SPREAD_HOURS = 64, 29 * 24
CHANGED_SHARE = 0.2
SIZES = (40, 200)
TIMES = 21
SEGMENTS = {
    "probability 0.3": Wanted(7, 0.3, 1_000, None, 0),
    "probability 0.05, of the last day": Wanted(8, 0.05, 1_000, None, 28 * 24 * HOUR_MS),
    "among the first 3, rising": Wanted(9, 0.0, 3, 1, 0),
}


class Users:
    """Draws users and their updates."""

    def __init__(self, count: int) -> None:
        self._chance = np.random.default_rng(1)
        self._numbers = np.unique(self._chance.integers(NUMBERS, size=count))
        self._interest = np.empty((len(self._numbers), RANKS), np.uint32)
        self._draw(np.arange(len(self._numbers)))

    def all(self) -> Rows:
        """Returns everybody."""
        return self._rows(np.arange(len(self._numbers)))

    def updates(self, count: int) -> Rows:
        """Returns updates of so many users; some have other interests."""
        users = self._chance.choice(len(self._numbers), count, False)
        self._draw(users[self._chance.random(count) < CHANGED_SHARE])
        return self._rows(users)

    def _draw(self, users: np.ndarray) -> None:
        order = self._chance.random((len(users), INTERESTS), np.float32)
        self._interest[users] = np.argpartition(order, RANKS, axis=1)[:, :RANKS] + 1

    def _rows(self, users: np.ndarray) -> Rows:
        shape = len(users), RANKS
        chances = np.sort(self._chance.dirichlet(np.ones(RANKS + 1), len(users))[:, :RANKS])
        hours = SPREAD_HOURS * (1 - self._chance.random(len(users)) ** 3)
        return Rows(
            self._numbers[users],
            (hours * HOUR_MS).astype(np.int64),
            self._interest[users],
            chances[:, ::-1].astype(np.float32),
            self._chance.integers(4, size=shape).astype(np.uint8),
        )


def micros(work: Callable[[], object], times: int = TIMES) -> float:
    """Returns the processor time of work in microseconds, the median of some times."""
    found = []
    for _ in range(times):
        begun = time.process_time()
        work()
        found.append(time.process_time() - begun)
    return statistics.median(found) * 1e6


def resident_mb() -> float:
    """Returns how much memory the process has, mapped files included."""
    (line,) = [
        each for each in Path("/proc/self/status").read_text().splitlines() if "VmRSS" in each
    ]
    return int(line.split()[1]) / 1024


def updating(array: Marks, users: Users, what: str) -> None:
    """Measures updates and prints."""
    for size in SIZES:
        batches = iter([users.updates(size) for _ in range(10 * TIMES)])
        each = micros(lambda: array.write(next(batches)), 10 * TIMES) / size  # noqa: B023
        click.echo(f"an update in batches of {size}, {what}: {each:.2f} us")


@click.command(help=(__doc__ or "").splitlines()[0])
@click.option("--users", default=1_000_000, show_default=True, type=click.IntRange(1_000))
def main(users: int) -> None:
    """Measures and prints."""
    made = Users(users)
    with tempfile.TemporaryDirectory("-counting") as folder:
        array = Marks(Path(folder) / "marks", ID, may_be_open=True)
        array.fill(ID, made.all())
        updating(array, made, "before the first count")
        before_mb = resident_mb()
        click.echo(f"making what counts read: {micros(array.prepare, 1) / 1e3:.0f} ms")
        click.echo(f"its memory: {resident_mb() - before_mb:.0f} MB")
        updating(array, made, "since")
        for what, wanted in SEGMENTS.items():
            took_us = micros(lambda: array.count(wanted))  # noqa: B023
            click.echo(f"a count, {what}: {took_us:.0f} us, {array.count(wanted):,} users")
        array.close()


if __name__ == "__main__":
    main()

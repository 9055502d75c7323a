"""Says what an update costs the process that follows, in processor time, without a broker.

    python -m tests.benchmarks.serving.applying                    # 40,000 profiles
    PYTHONPATH=OTHER python -m tests.benchmarks.serving.applying   # the code of another checkout

It counts beside other work, too, if one takes both in turns. Two figures are of `Store.apply` with
a profile and a history entry for each update; the first is of a reading of all profiles.
"""

from __future__ import annotations

import tempfile
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any
from unittest import mock

import click

from stream.config import Settings
from stream.kafka.record_batches import Section, pack
from stream.serving.store import Store
from tests.benchmarks.serving import population

PROFILES, UPDATES = ("profiles", 0), ("updates", 0)
SIZES = (40, 200)


@dataclass(frozen=True, slots=True)
class Record:
    """Stands for a record as the consumer gives it."""

    key: bytes
    value: bytes
    timestamp: int


class Made:
    """Makes the records of a population."""

    def __init__(self, users: int) -> None:
        self._records: list[Record] = []
        self._settings = Settings()
        mock.patch.object(population, "pack", self._keep).start()  # records as they are packed
        self._of = population.Population(users, users // 10, self._settings.events_topic)

    def _keep(self, keys: Any, values: Any, now_ms: int, *more: Any) -> Iterator[Section]:
        self._records += map(Record, keys, values, [now_ms] * len(keys))
        return pack(keys, values, now_ms, *more)

    def all(self) -> list[Record]:
        """Returns a profile of everybody."""
        for _ in self._of.all(self._settings):
            pass
        return self._taken()

    def updates(self, count: int) -> list[Record]:
        """Returns updates of so many users."""
        self._of.updates(count, self._settings)
        return self._taken()

    def _taken(self) -> list[Record]:
        taken, self._records = self._records, []
        return taken


def micros_each(count: int, work: Callable[[], None]) -> float:
    """Returns the processor time of work that does so many of something, each in microseconds."""
    begun = time.process_time()
    work()
    return (time.process_time() - begun) / count * 1e6


@click.command(help=(__doc__ or "").splitlines()[0])
@click.option("--profiles", default=40_000, show_default=True, type=click.IntRange(1_000))
@click.option("--updates", default=4_000, show_default=True, type=click.IntRange(200))
def main(profiles: int, updates: int) -> None:
    """Measures and prints."""
    made = Made(profiles)
    everybody = made.all()
    batches = {size: [made.updates(size) for _ in range(updates // size)] for size in SIZES}
    now_ms = int(time.time() * 1000)
    with tempfile.TemporaryDirectory("-applying") as folder:
        store = Store(Path(folder))

        def read_all() -> None:
            store.begin_anew({}, loading=True)
            store.apply(everybody, [], {PROFILES: 1})
            store.finish_loading()

        def take(some: list[list[Record]]) -> None:
            for number, each in enumerate(some):
                store.apply(each, each, {PROFILES: number, UPDATES: number}, now_ms)

        click.echo(f"a profile of a first reading: {micros_each(profiles, read_all):.0f} us")
        store.apply([], everybody, {UPDATES: 1}, now_ms)
        for size, some in batches.items():
            each = micros_each(updates // size * size, partial(take, some))
            click.echo(f"an update, in batches of {size}: {each:.0f} us")
        store.close()


if __name__ == "__main__":
    main()

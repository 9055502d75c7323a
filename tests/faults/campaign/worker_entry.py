"""A worker that leaves evidence, and, if told so, has a planted bug. Run as `python -m tests.faults.campaign.worker_entry worker ...`.

EVIDENCE names a file; lines of JSON go there, each at once, so that a killed worker's are whole:

    {"start": s, "partition": p}, {"end": s, "partition": p}    asked for, acknowledged: states of a partition (monotonic s)
    {"table": p, "user": "...", "value": "hex"}                  the tables of a worker that stops, a line a user

PLANTED and PLANTED_EVERY name a bug of tests/faults/planted.py.
"""

from __future__ import annotations

import os
import sys
import time
from typing import Any

import orjson

from stream.agents import Pipeline
from stream.app import InterestApp
from stream.cli import main
from stream.record_batches import Section
from tests.faults.planted import plant


def observe(path: str) -> None:
    """Wrap what writes states and what stops the app."""
    file = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o644)

    def tell(**facts: Any) -> None:
        os.write(file, orjson.dumps(facts) + b"\n")

    write_states, on_stop = Pipeline._write_states, InterestApp.on_stop

    async def watched_write(self: Pipeline, partition: int, states: list[Section]) -> None:
        tell(start=time.monotonic(), partition=partition)
        await write_states(self, partition, states)
        tell(end=time.monotonic(), partition=partition)

    async def watched_stop(self: InterestApp) -> None:
        for partition, arena in self.store.arenas.items():
            for user in arena.users():
                tell(table=partition, user=user.decode(), value=(arena.encoded(user) or b"").hex())
        await on_stop(self)

    Pipeline._write_states = watched_write  # type: ignore[method-assign]
    InterestApp.on_stop = watched_stop  # type: ignore[method-assign]


def work(arguments: list[str]) -> None:
    """The command, with what the environment asks for."""
    if os.environ.get("PLANTED"):
        plant(os.environ["PLANTED"], setattr, int(os.environ.get("PLANTED_EVERY", "10000")))
    if os.environ.get("EVIDENCE"):
        observe(os.environ["EVIDENCE"])
    main(arguments)


if __name__ == "__main__":
    work(sys.argv[1:])

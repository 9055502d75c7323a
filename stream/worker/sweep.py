"""Forgets users who were silent for too long, and that users were erased once nothing can be late.

One law says when a state ends (stream/policies/erasure.py): a silence longer than the TTL, by the
broker's time, makes the user's next event begin a blank state. So a row whose silence is over may
be taken away at any moment, and nobody can tell whether it was. Whoever is swept gets a null
profile and a tombstone, in the order in which all else is published.

The time that counts is that of the log: the newest event or control applied of the partition, and
never ahead of this machine's clock. So a worker that is behind forgets nobody whose events it has
not read yet.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Mapping
from concurrent.futures import Executor
from typing import Final

from faust.types import TP

from stream.kafka.host import Group, Host
from stream.pipeline.delivery import Delivery, Portion, Read
from stream.pipeline.scoring import Outcome
from stream.policies.erasure import Cleared, Remembering
from stream.worker.restore import RestorableArena

MOST_AT_ONCE: Final = 20_000
"""Users swept by one job; more of them wait for the next one."""

MOST_OFTEN_S: Final = 5.0
LEAST_OFTEN_S: Final = 3_600.0
SETTLED_S: Final = 0.02


class Sweeper:
    """Sweeps the arenas of a worker now and then, through the delivery."""

    def __init__(
        self,
        host: Host,
        delivery: Delivery,
        arenas: Callable[[], Mapping[int, RestorableArena]],
        committed: Callable[[TP], int],
        rules: Remembering,
        model_thread: Executor,
    ) -> None:
        """`committed` gives the next offset committed of a partition of the source."""
        self._host = host
        self._delivery = delivery
        self._arenas = arenas
        self._committed = committed
        self._rules = rules
        self._model_thread = model_thread
        self._busy = False

    @property
    def every_s(self) -> float:
        """Returns the seconds between sweeps: a tenth of what is waited for."""
        shortest = min(self._rules.ttl_ms or self._rules.late_window_ms, self._rules.late_window_ms)
        return min(LEAST_OFTEN_S, max(MOST_OFTEN_S, shortest / 10_000))

    async def run(self) -> None:
        """Sweeps for as long as the worker lives."""
        while not self._delivery.failed:
            await asyncio.sleep(self.every_s)
            while self._group.flowing and await self.sweep():
                pass

    async def settle(self) -> None:
        """Waits until what is being swept is durable: its partitions go to another worker."""
        while self._busy and not self._delivery.failed:  # noqa: ASYNC110 a failure sets no event
            await asyncio.sleep(SETTLED_S)

    async def sweep(self) -> bool:
        """Forgets whom it may forget, MOST_AT_ONCE in each partition; returns whether any."""
        topic, generation = self._host.settings.source_topic, self._group.generation
        now_ms = int(time.time() * 1000)
        committed = {each: self._committed(TP(topic, each)) for each in self._arenas()}
        self._busy = True
        try:
            run = asyncio.get_running_loop().run_in_executor
            found = await run(self._model_thread, self._take, committed, now_ms)
            portions = [
                Portion(partition, [], Outcome(scored=[*cleared]))
                for partition, cleared in found.items()
            ]
            if portions:
                read: Read = {(TP(topic, each.partition), generation) for each in portions}
                over = await self._delivery.submit(portions, read, now_ms)
                while not (over.is_set() or self._delivery.failed):  # noqa: ASYNC110 as above
                    await asyncio.sleep(SETTLED_S)
            return bool(portions)
        finally:
            self._busy = False

    @property
    def _group(self) -> Group:
        return self._delivery.group

    def _take(self, committed: Mapping[int, int], now_ms: int) -> dict[int, list[Cleared]]:
        """Takes rows out of the arenas, by partition; runs in the model thread, which owns them."""
        found = {}
        topic = self._host.settings.source_topic
        for partition, arena in list(self._arenas().items()):
            source = (topic, partition)
            cleared = arena.sweep(
                source, committed.get(partition, 0), now_ms, self._rules, MOST_AT_ONCE
            )
            if cleared:
                found[partition] = cleared
        return found

"""Ends a worker that lives and consumes nothing: lag while nothing moves is a failure.

Two watches: a task that compares lag and progress, and a thread that notices when the event loop
itself stands still.
"""

from __future__ import annotations

import asyncio
import os
import threading
import time
from collections.abc import Mapping
from typing import Any, Protocol

from faust.exceptions import ConsumerNotStarted
from faust.types import TP

from stream.errors import StalledError
from stream.kafka.batch_consumer import BatchConsumer
from stream.kafka.host import Host
from stream.worker.restore import ArenaStatistics

INTERVAL_S = 1.0


class States(Protocol):
    """Holds states, and says how many."""

    @property
    def rebuilt_users(self) -> int:
        """Returns how many states of another model were rebuilt by now."""

    def statistics(self) -> Mapping[int, ArenaStatistics]:
        """Returns what can be seen of each partition's states."""


class Restoring(Protocol):
    """Knows how far a recovery has come."""

    active_tps: set[TP]
    active_offsets: Any  # by partition of the changelog


class Watched(Protocol):
    """Offers what the watchdog looks at of a worker."""

    consumer_generation_id: int
    rebalancing: bool
    in_recovery: bool

    @property
    def waiting(self) -> str:
        """Returns what the worker waits for beside Kafka, empty if for nothing."""

    @property
    def should_stop(self) -> bool:
        """Returns whether the end has begun."""

    @property
    def host(self) -> Host:
        """Returns settings, metrics and the way to fail."""

    @property
    def batch_consumer(self) -> BatchConsumer:
        """Returns the consumer."""

    @property
    def store(self) -> States:
        """Returns the states."""

    @property
    def recovery(self) -> Restoring:
        """Returns the recovery."""


class Watchdog:
    """Watches one worker; it is also the one place that computes lag."""

    def __init__(self, app: Watched) -> None:
        self._app = app
        self._timeout_s = app.host.settings.stall_timeout_s
        self.beat = time.monotonic()  # the loop turned
        self.moved = time.monotonic()  # something moved, or there was nothing to do
        self._seen: Any = None
        self.lag: dict[int, int] = {}  # events not yet applied, by partition of the source topic
        # of each with lag: next offset to commit, and since when
        self.still: dict[int, tuple[int | None, float]] = {}

    async def run(self) -> None:
        """Watches until the app stops."""
        threading.Thread(target=self._watch_loop, name="watchdog", daemon=True).start()
        while not self._app.should_stop:
            await asyncio.sleep(INTERVAL_S)
            self.beat = time.monotonic()
            await self.look()

    async def look(self) -> None:
        """Measures lag and progress once, and ends the worker if nothing moved for too long."""
        app = self._app
        connected = True
        # what the group says, and how much there is to do
        if (trouble := app.batch_consumer.membership.trouble()) is not None:
            app.host.fail(trouble)
        try:
            self.lag = await asyncio.wait_for(self._measure_lag(), self._timeout_s / 4)
        except TimeoutError:
            pass
        except ConsumerNotStarted:
            # a slow broker or machine: Faust's consumer thread is still connecting
            connected = False
        self._report()
        self.look_at_partitions()

        # anything that moves counts as progress, and so does having nothing to do
        progress = self._progress()
        busy = sum(self.lag.values()) or app.rebalancing or app.in_recovery or not connected
        # a schema registry that is away comes back for another worker no sooner
        busy = busy and not app.waiting
        if progress != self._seen or not busy:
            self._seen, self.moved = progress, time.monotonic()
            return

        # nothing has moved for too long; the message says in which phase
        if time.monotonic() - self.moved > self._timeout_s:
            doing = (
                "recovering"
                if app.in_recovery
                else "rebalancing"
                if app.rebalancing
                else "consuming"
            )
            doing = doing if connected else "connecting to Kafka"
            app.host.fail(
                StalledError(
                    f"nothing moved for {self._timeout_s:.0f} s while {doing}, "
                    f"{sum(self.lag.values())} events behind; "
                    "ending so that a supervisor starts a new worker"
                )
            )
            self.moved = time.monotonic()

    def look_at_partitions(self) -> None:
        """Ends the worker if one partition stands still while the others move.

        It waits for its turn as long as they take together.
        """
        app, now = self._app, time.monotonic()
        # since when each partition that has lag stands where it stands
        applied = app.batch_consumer.applied_offsets()
        still = {}
        for partition, behind in self.lag.items():
            done = applied.get(TP(app.host.settings.source_topic, partition))
            if behind and not (app.rebalancing or app.in_recovery or app.waiting):
                before = self.still.get(partition)
                still[partition] = (
                    before if before is not None and before[0] == done else (done, now)
                )
        self.still = still

        # one that waits for its turn may wait as long as all of them take together
        for partition, (_, since) in still.items():
            if now - since > self._timeout_s * len(still):
                app.host.fail(
                    StalledError(
                        f"partition {partition} stood still for {now - since:.0f} s, "
                        f"{self.lag[partition]} events behind; "
                        "ending so that a supervisor starts a new worker"
                    )
                )

    def _progress(self) -> Any:
        app = self._app
        offsets = (
            tuple(sorted(app.recovery.active_offsets.items())) if app.recovery.active_tps else ()
        )
        return (
            app.consumer_generation_id,
            app.batch_consumer.applied_offsets(),
            offsets,
            app.rebalancing,
            app.in_recovery,
            app.store.rebuilt_users,  # of another model's states, part of a recovery
        )

    async def _measure_lag(self) -> dict[int, int]:
        app = self._app
        source = {
            tp
            for tp in app.batch_consumer.assignment()
            if tp.topic == app.host.settings.source_topic
        }
        if not source:
            return {}
        ends = await app.batch_consumer.highwaters(*source)
        starts = await app.batch_consumer.earliest_offsets(*source)
        applied = app.batch_consumer.applied_offsets()
        lag = {}
        for tp, end in ends.items():
            own = TP(tp.topic, tp.partition)
            done = applied.get(own) or app.batch_consumer.committed_offset(own)
            lag[tp.partition] = max(0, (end or 0) - max(done, starts.get(tp) or 0))
        return lag

    def _report(self) -> None:
        app = self._app
        metrics, store = app.host.metrics, app.store
        # else a partition that went to another worker would be counted there and here
        metrics.lag.clear()
        for partition, behind in self.lag.items():
            metrics.lag.labels(app.host.settings.source_topic, str(partition)).set(behind)
        statistics = store.statistics().values()
        metrics.users.set(sum(each.users for each in statistics))
        metrics.state_bytes.set(sum(each.allocated_bytes for each in statistics))

    def _watch_loop(self) -> None:
        while True:
            time.sleep(INTERVAL_S)
            silent_s = time.monotonic() - self.beat
            if silent_s > self._timeout_s + 10 * INTERVAL_S:
                message = f"the event loop stood still for {silent_s:.0f} s; ending"
                os.write(2, f"interest-stream: {message}\n".encode())
                os._exit(1)

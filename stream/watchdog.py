"""A worker that lives and consumes nothing is a failure: lag while nothing moves ends it with its reason.

Two watches: a task that compares lag and progress, and a thread that notices when the event loop itself stands still.
"""

from __future__ import annotations

import asyncio
import os
import threading
import time
from typing import TYPE_CHECKING, Any

from faust.exceptions import ConsumerNotStarted
from faust.types import TP

from stream.errors import StalledError

if TYPE_CHECKING:
    from stream.app import InterestApp

INTERVAL_S = 1.0


class Watchdog:
    """Watches one app; also the one place that computes lag."""

    def __init__(self, app: InterestApp) -> None:
        self._app = app
        self._timeout_s = app.settings.stall_timeout_s
        self.beat = time.monotonic()  # the loop turned
        self.moved = time.monotonic()  # something moved, or there was nothing to do
        self._seen: Any = None
        self.lag: dict[int, int] = {}  # events not yet applied, by partition of the source topic
        self.still: dict[int, tuple[int | None, float]] = {}  # of each with lag: next offset to commit, and since when

    async def run(self) -> None:
        """Until the app stops."""
        threading.Thread(target=self._watch_loop, name="watchdog", daemon=True).start()
        while not self._app.should_stop:
            await asyncio.sleep(INTERVAL_S)
            self.beat = time.monotonic()
            await self._look()

    async def _look(self) -> None:
        app = self._app
        connected = True
        if (trouble := app.batch_consumer.membership.trouble()) is not None:
            app.fail(trouble)
        try:
            self.lag = await asyncio.wait_for(self._measure_lag(), self._timeout_s / 4)
        except TimeoutError:
            pass
        except ConsumerNotStarted:  # a slow broker or machine: Faust's consumer thread is still connecting
            connected = False
        self._report()
        self._look_at_partitions()
        progress = self._progress()
        busy = sum(self.lag.values()) or app.rebalancing or app.in_recovery or not connected
        if progress != self._seen or not busy:
            self._seen, self.moved = progress, time.monotonic()
            return
        if time.monotonic() - self.moved > self._timeout_s:
            doing = "recovering" if app.in_recovery else "rebalancing" if app.rebalancing else "consuming"
            doing = doing if connected else "connecting to Kafka"
            app.fail(
                StalledError(
                    f"nothing moved for {self._timeout_s:.0f} s while {doing}, {sum(self.lag.values())} events behind; "
                    "ending so that a supervisor starts a new worker"
                )
            )
            self.moved = time.monotonic()

    def _look_at_partitions(self) -> None:
        """One partition may stand still while the others move; it waits for its turn as long as they take together."""
        app, now = self._app, time.monotonic()
        applied = app.batch_consumer.applied_offsets()
        still = {}
        for partition, behind in self.lag.items():
            done = applied.get(TP(app.settings.source_topic, partition))
            if behind and not app.rebalancing and not app.in_recovery:
                before = self.still.get(partition)
                still[partition] = before if before is not None and before[0] == done else (done, now)
        self.still = still
        for partition, (_, since) in still.items():
            if now - since > self._timeout_s * len(still):
                app.fail(
                    StalledError(
                        f"partition {partition} stood still for {now - since:.0f} s, {self.lag[partition]} events behind; "
                        "ending so that a supervisor starts a new worker"
                    )
                )

    def _progress(self) -> Any:
        app = self._app
        offsets = tuple(sorted(app.recovery.active_offsets.items())) if app.recovery.active_tps else ()
        return (
            app.consumer_generation_id,
            app.batch_consumer.applied_offsets(),
            offsets,
            app.rebalancing,
            app.in_recovery,
        )

    async def _measure_lag(self) -> dict[int, int]:
        app = self._app
        source = {tp for tp in app.batch_consumer.assignment() if tp.topic == app.settings.source_topic}
        if not source:
            return {}
        ends = await app.batch_consumer.highwaters(*source)
        starts = await app.batch_consumer.earliest_offsets(*source)
        applied = app.batch_consumer.applied_offsets()
        lag = {}
        for tp, end in ends.items():
            own = TP(tp.topic, tp.partition)
            done = applied.get(own) or app.batch_consumer._committed_offset[own] or 0
            lag[tp.partition] = max(0, (end or 0) - max(done, starts.get(tp) or 0))
        return lag

    def _report(self) -> None:
        app = self._app
        metrics, store = app.metrics, app.store
        metrics.lag.clear()  # else a partition that went to another worker would be counted there and here
        for partition, behind in self.lag.items():
            metrics.lag.labels(app.settings.source_topic, str(partition)).set(behind)
        statistics = store.statistics().values()
        metrics.users.set(sum(each.users for each in statistics))
        metrics.state_bytes.set(sum(each.allocated_bytes for each in statistics))

    def _watch_loop(self) -> None:
        while True:
            time.sleep(INTERVAL_S)
            silent_s = time.monotonic() - self.beat
            if silent_s > self._timeout_s + 10 * INTERVAL_S:
                os.write(2, f"interest-stream: the event loop stood still for {silent_s:.0f} s; ending\n".encode())
                os._exit(1)

"""Recovery of the table `user-state` from its changelog: Faust's steps, whole batches instead of one task a record, and progress told.

In order, after each assignment: the fence is raised (stream/fence.py), the ends of the changelog are asked for, the offsets that the
arenas cover already are taken from the store, the rest is fetched and restored, and only then is the source read (stream/transport.py).
"""

from __future__ import annotations

import asyncio
import logging
import time
from typing import Any, Final, cast

from faust.tables.manager import TableManager
from faust.tables.recovery import Recovery
from faust.types import TP

from stream.table import StateTable

log = logging.getLogger("interest_stream")

TELL_S: Final = 1.0
"""Between lines of progress."""


class BatchRecovery(Recovery):
    """Recovery whose records come by whole batches from the transport; 20 times faster than one task a record."""

    def restore(self, tp: TP, records: list[Any]) -> None:
        """Apply a fetched changelog batch and end the recovery when it was the last one needed."""
        table = self.tp_to_table.get(tp)
        if table is None or tp not in self.active_tps:
            return
        seen = self.active_offsets.get(tp)
        fresh = (
            records if seen is None or records[0].offset > seen else [each for each in records if each.offset > seen]
        )
        if fresh:
            store = cast(StateTable, table).store
            store.restore(tp, fresh)
            self.active_offsets[tp] = fresh[-1].offset
            store.set_persisted_offset(tp, fresh[-1].offset)
            self._progress.restored(len(fresh), self.active_remaining_total())
            self.app.failpoint("restoring")  # type: ignore[attr-defined]
        if self.in_recovery and not self.need_recovery():
            self._set_recovery_ended()
            self.signal_recovery_end.set()

    async def on_rebalance(
        self, assigned: set[TP], revoked: set[TP], newly_assigned: set[TP], generation_id: int = 0
    ) -> None:
        self.completed.clear()  # stock leaves it set for ever after the first recovery
        source = sorted(tp.partition for tp in assigned if tp.topic == self.app.settings.source_topic)  # type: ignore[attr-defined]
        log.info("partitions assigned: %s", ", ".join(map(str, source)) or "none")
        await super().on_rebalance(assigned, revoked, newly_assigned, generation_id)

    async def _build_highwaters(self, consumer: Any, tps: set[TP], destination: Any, title: str) -> None:
        try:
            await self.app.batch_consumer.membership.predecessor_over()  # type: ignore[attr-defined]
            await self.app.batch_producer.fence(tps)  # type: ignore[attr-defined]
        except asyncio.CancelledError:
            raise
        except Exception as error:
            self.app.fail(error)  # type: ignore[attr-defined]
            await self.wait_for_stopped()  # an error raised after Faust has turned away would be reported as nobody's
            return
        await super()._build_highwaters(consumer, tps, destination, title)

    @Recovery.task
    async def _slurp_changelogs(self) -> None:
        """Nothing to do: records come to `restore`. Stock's loop, without any, would end a recovery whose fence takes 5 s to raise."""

    async def _wait(self, coro: Any, timeout: Any = None) -> None:  # noqa: ASYNC109 Faust's signature
        # a step slower than one request to a broker may be, as raising a fence is, would end recovery for ever and silently
        # (docs/upstream/a-slow-step-ends-recovery.md); the steps have limits of their own, and there is the watchdog
        await super()._wait(coro)

    def _set_recovery_started(self) -> None:
        # stock clears the signal in the loop that reads records one by one; a stale one would end the next recovery at once
        self.signal_recovery_end.clear()
        super()._set_recovery_started()
        self._progress = Progress()

    def _set_recovery_ended(self) -> None:
        if self.in_recovery:
            self.app.metrics.recovery_seconds.set(self._progress.ended())  # type: ignore[attr-defined]
        super()._set_recovery_ended()


class Progress:
    """Of one recovery, in the log."""

    def __init__(self) -> None:
        self._began = self._told = time.perf_counter()
        self._done = 0

    def restored(self, count: int, left: int) -> None:
        """A line now and then, with the rate and what is left by it."""
        self._done += count
        now = time.perf_counter()
        if now - self._told >= TELL_S and left > 0:
            self._told, rate = now, self._done / (now - self._began)
            log.info(
                "restoring states: %d read, %d left, %.0f/s, about %.0f s more", self._done, left, rate, left / rate
            )

    def ended(self) -> float:
        """Seconds that it took."""
        seconds = time.perf_counter() - self._began
        log.info("states restored: %d records of the changelog in %.2f s", self._done, seconds)
        return seconds


class BatchTableManager(TableManager):
    """Uses BatchRecovery, and starts without the stock pause of a second."""

    @property
    def recovery(self) -> BatchRecovery:
        if self._recovery is None:
            self._recovery = BatchRecovery(self.app, self, beacon=self.beacon, loop=self.loop)
        return cast(BatchRecovery, self._recovery)

    async def on_start(self) -> None:
        await self._update_channels()
        await self.recovery.start()

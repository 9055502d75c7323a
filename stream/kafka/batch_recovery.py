"""Makes Faust restore a table by whole changelog batches, behind a fence, and report its progress.

In order, after each assignment: the fence is raised (fence.py), the ends of the changelog are
read, the offsets that the store covers already are taken from it, the rest is fetched and restored,
and only then is the source read (stream/pipeline/transport.py).

The overridden private methods of Faust are listed, with their contract test, in
tests/unit/stream/kafka/test_library_internals.py.
"""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Callable, Mapping
from typing import Any, Final, Protocol, cast

from faust.stores.base import Store
from faust.tables.manager import TableManager
from faust.tables.recovery import Recovery
from faust.tables.table import Table
from faust.types import TP

from stream.errors import RefusalError
from stream.kafka.batch_consumer import BatchConsumer
from stream.kafka.host import Host
from stream.kafka.producer import BatchProducer

log = logging.getLogger("interest_stream")

REPORT_S: Final = 1.0
"""Between lines of the log about progress."""


class ChangelogStore(Protocol):
    """Keeps what a changelog holds."""

    def restore(self, tp: TP, records: list[Any]) -> None:
        """Applies changelog records of a partition, in log order."""

    def set_persisted_offset(self, tp: TP, offset: int) -> None:
        """Notes up to which changelog offset everything is held."""


class BatchRecovery(Recovery):
    """Restores whole batches from the transport, 20 times faster than one task a record."""

    def __init__(self, *arguments: Any, host: Host, **options: Any) -> None:
        super().__init__(*arguments, **options)
        self._host = host

    def restore(self, tp: TP, records: list[Any]) -> None:
        """Applies a fetched changelog batch and ends the recovery if it was the last one needed."""
        table = self.tp_to_table.get(tp)
        if table is None or tp not in self.active_tps:
            return
        seen = self.active_offsets.get(tp)
        fresh = records
        if seen is not None and records[0].offset <= seen:
            fresh = [each for each in records if each.offset > seen]
        if fresh:
            store = cast(ChangelogStore, cast(GivenStoreTable, table).data)
            store.restore(tp, fresh)
            self.active_offsets[tp] = fresh[-1].offset
            store.set_persisted_offset(tp, fresh[-1].offset)
            self._progress.restored(len(fresh), self.active_remaining_total())
            self._host.failpoint("restoring")
        # stock ends a recovery in its loop over records, which does not run here
        if self.in_recovery and not self.need_recovery():
            self._set_recovery_ended()
            self.signal_recovery_end.set()

    async def on_rebalance(
        self, assigned: set[TP], revoked: set[TP], newly_assigned: set[TP], generation_id: int = 0
    ) -> None:
        self.completed.clear()  # stock leaves it set for ever after the first recovery
        topic = self._host.settings.source_topic
        source = sorted(tp.partition for tp in assigned if tp.topic == topic)
        log.info("partitions assigned: %s", ", ".join(map(str, source)) or "none")
        await super().on_rebalance(assigned, revoked, newly_assigned, generation_id)

    async def _build_highwaters(
        self, consumer: Any, tps: set[TP], destination: Any, title: str
    ) -> None:
        # the last moment before Faust asks for the ends of the changelog: from the fence on no
        # former owner can move them
        try:
            await cast(BatchConsumer, self.app.consumer).membership.predecessor_over()
            fenced = await cast(BatchProducer, self.app.producer).fence(tps)
        except asyncio.CancelledError:
            raise
        except Exception as error:
            self._host.fail(error)
            # an error raised after Faust has turned away would be reported as nobody's
            await self.wait_for_stopped()
            return
        await super()._build_highwaters(consumer, tps, destination, title)
        if (hidden := hides_states(fenced, destination)) is not None:
            self._host.fail(hidden)
            await self.wait_for_stopped()

    @Recovery.task
    async def _slurp_changelogs(self) -> None:
        """Does nothing, because records come to `restore`.

        Stock's loop, without any, would end a recovery whose fence takes 5 s to raise.
        """

    async def _wait(self, coro: Any, timeout: Any = None) -> None:  # noqa: ASYNC109 as in Faust
        # a step slower than one request to a broker may be, as raising a fence is, would end
        # recovery for ever and silently (docs/understand/upstream/a-slow-step-ends-recovery.md);
        # the steps have limits of their own, and there is the watchdog
        await super()._wait(coro)

    def _set_recovery_started(self) -> None:
        # stock clears the signal in the loop that reads records one by one; a stale one would end
        # the next recovery at once
        self.signal_recovery_end.clear()
        super()._set_recovery_started()
        self._progress = RecoveryProgress()

    def _set_recovery_ended(self) -> None:
        # the one place that every end of a recovery goes through
        if self.in_recovery:
            self._host.metrics.recovery_seconds.set(self._progress.ended())
        super()._set_recovery_ended()


def hides_states(fenced: Mapping[TP, int], last: Mapping[TP, int]) -> RefusalError | None:
    """Returns why a changelog cannot be restored that hides records, None if all can be read.

    Readers of committed data see nothing from the beginning of an open transaction on, so not even
    the fence's record. fenced: its offset in each partition, last: that of the last record.
    """
    for tp, offset in fenced.items():
        if last[tp] < offset:
            return RefusalError(
                f"{tp.topic}[{tp.partition}] can be read up to offset {last[tp]} and was written "
                f"up to {offset}: somebody else has an open transaction in it, which hides states "
                "(end it: kafka-transactions abort), or its leader has just changed, and starting "
                "again mends that"
            )
    return None


class RecoveryProgress:
    """Reports the progress of one recovery in the log."""

    def __init__(self) -> None:
        self._began = self._reported = time.perf_counter()
        self._done = 0

    def restored(self, count: int, left: int) -> None:
        """Logs a line now and then, with the rate and what is left by it."""
        self._done += count
        now = time.perf_counter()
        if now - self._reported >= REPORT_S and left > 0:
            self._reported, rate = now, self._done / (now - self._began)
            log.info(
                "restoring states: %d read, %d left, %.0f/s, about %.0f s more",
                self._done,
                left,
                rate,
                left / rate,
            )

    def ended(self) -> float:
        """Logs the end and returns the seconds that it took."""
        seconds = time.perf_counter() - self._began
        log.info("states restored: %d records of the changelog in %.2f s", self._done, seconds)
        return seconds


class BatchTableManager(TableManager):
    """Uses BatchRecovery, and starts without the stock pause of a second."""

    def __init__(self, *arguments: Any, host: Host, **options: Any) -> None:
        super().__init__(*arguments, **options)
        self._host = host

    @property
    def recovery(self) -> BatchRecovery:
        """Returns the recovery, made when it is first asked for."""
        # Faust names the class of its recovery nowhere but here, and keeps it in this attribute
        if self._recovery is None:
            self._recovery = BatchRecovery(
                self.app, self, host=self._host, beacon=self.beacon, loop=self.loop
            )
        return cast(BatchRecovery, self._recovery)

    async def on_start(self) -> None:
        """Starts the recovery at once."""
        # what stock does after a pause of a second
        await self._update_channels()
        await self.recovery.start()


class GivenStoreTable(Table[bytes, bytes]):
    """Keeps its values in a store that it is given, where Faust would look one up by URL."""

    make_store: Callable[..., Store[bytes, bytes]]

    def _new_store(self) -> Store[bytes, bytes]:
        # Faust's only way to give a table another store than one of its URLs
        return self.make_store(
            "given://",
            self.app,
            self,
            table_name=self.name,
            key_type=self.key_type,
            key_serializer=self.key_serializer,
            value_serializer=self.value_serializer,
            value_type=self.value_type,
            loop=self.loop,
        )

"""Keeps user states in arenas, made durable by the changelog topic of the table `user-state`.

Memory may be ahead of the changelog, disk never is (there is none). The store remembers the
changelog offset that each arena covers, so a partition that stays through a rebalance is not read
again.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Iterable
from dataclasses import dataclass
from typing import Any, Final

import numpy as np
from faust.stores.base import Store
from faust.types import TP

from stream.contracts.state_record import CorruptRecordError, extent, topic_code
from stream.errors import PublishError, RefusalError
from stream.kafka.host import Host, Writer
from stream.kafka.producer import acknowledged
from stream.worker.restore import ArenaStatistics, RestorableArena

REBUILD_CHUNK: Final = 2_048
"""Users rebuilt in one model call after a model change."""

TABLE_NAME: Final = "user-state"


@dataclass(frozen=True, slots=True)
class TableShape:
    """Holds what a state looks like, and where it comes from."""

    state_size: int
    fingerprint: int
    source_topic: str
    partitions: int


Rebuild = Callable[[np.ndarray[Any, Any]], Awaitable[np.ndarray[Any, Any]]]
"""Turns recent events, COMPACT [U, 32], into memory, float32 [U, S]."""


class ArenaStore(Store[bytes, bytes]):
    """Holds one arena a partition, and is the one home of user states."""

    def __init__(
        self,
        *args: Any,
        shape: TableShape,
        rebuild: Rebuild,
        host: Host,
        writer: Callable[[], Writer],
        **kwargs: Any,
    ) -> None:
        self.shape = shape
        self._writer = writer
        self._rebuild = rebuild
        self._host = host
        self.arenas: dict[int, RestorableArena] = {}
        self.rebuilt_users = 0
        self._covered: dict[TP, int] = {}  # changelog offset up to which the arena holds everything
        self.data: dict[bytes, bytes] = {}  # Faust's mapping view; states are in the arenas
        super().__init__(*args, **kwargs)

    def arena(self, partition: int) -> RestorableArena:
        """Returns the arena of a partition, made empty when missing."""
        if partition not in self.arenas:
            self.arenas[partition] = RestorableArena(
                self.shape.state_size, self.shape.fingerprint, self.shape.partitions
            )
        return self.arenas[partition]

    def restore(self, tp: TP, records: list[Any]) -> None:
        """Applies changelog records of a partition, in log order.

        Raises CorruptRecordError naming the offset of one that cannot be read, and no user.
        """
        try:
            regressions = self.arena(tp.partition).restore(
                [record.key for record in records], [record.value for record in records]
            )
        except CorruptRecordError as error:
            raise _with_place(error, tp, records) from None
        self._host.metrics.regressions.inc(regressions)
        self._host.metrics.recovered.inc(len(records))

    def persisted_offset(self, tp: TP) -> int | None:
        """Returns the changelog offset up to which everything is held, if anything is."""
        return self._covered.get(tp)

    def set_persisted_offset(self, tp: TP, offset: int) -> None:
        """Notes up to which changelog offset everything is held; it never goes back."""
        self._covered[tp] = max(offset, self._covered.get(tp, -1))

    def apply_changelog_batch(self, batch: Iterable[Any], to_key: Any, to_value: Any) -> None:
        """Does nothing, because batches come to `restore`.

        It is the way in of stock recovery.
        """

    def reset_state(self) -> None:
        """Forgets everything; nothing is on disk."""
        self.arenas.clear()
        self._covered.clear()

    async def backup_partition(
        self, tp: Any, flush: bool = True, purge: bool = False, keep: int = 1
    ) -> None:
        """Does nothing, because the changelog is the backup."""

    def restore_backup(self, tp: Any, latest: bool = True, backup_id: int = 0) -> None:
        """Does nothing, because the changelog is the backup."""

    async def need_active_standby_for(self, tp: TP) -> bool:
        """Returns that no partition needs a standby, because there are none."""
        return False

    async def on_rebalance(
        self, assigned: set[TP], revoked: set[TP], newly_assigned: set[TP], generation_id: int = 0
    ) -> None:
        for tp in revoked:
            if tp.topic == self.table.changelog_topic.get_topic_name():
                self.arenas.pop(tp.partition, None)
                self._covered.pop(tp, None)

    async def on_recovery_completed(self, active_tps: set[TP], standby_tps: set[TP]) -> None:
        # Faust only gathers what this raises, so a refusal has to be carried out from here
        self._host.failpoint("recovered")
        try:
            await self._refuse_foreign_states({tp.partition for tp in active_tps})
            await self._rebuild_stale()
            await self._clear_profiles({tp.partition for tp in active_tps})
        except asyncio.CancelledError:
            raise
        except Exception as error:
            self._host.fail(error)

    async def _refuse_foreign_states(self, partitions: set[int]) -> None:
        """Refuses states that are newer than their source, or of a topic of another shape."""
        source = {TP(self.shape.source_topic, partition) for partition in partitions}
        ends = await self.app.consumer.highwaters(*source) if source else {}
        for tp, end in ends.items():
            arena = self.arenas.get(tp.partition)
            highest = (
                -1 if arena is None else arena.highest_offset(topic_code(tp.topic), tp.partition)
            )
            if highest >= (end or 0):
                changelog = self.table.changelog_topic.get_topic_name()
                raise RefusalError(
                    f"states of {tp.topic}[{tp.partition}] hold offset {highest}, but the topic "
                    "ends "
                    f"at {end}: it was deleted and created again. Every new event would be taken "
                    "for "
                    f"an old one. Start with a new --app-id, or delete the changelog {changelog} "
                    "and "
                    "the offsets of the group to begin from empty states"
                )
            counts = set() if arena is None else arena.partition_counts()
            if counts - {self.shape.partitions}:
                before = min(counts - {self.shape.partitions})
                raise RefusalError(
                    f"states were written when {tp.topic} had {before} partitions, now it has "
                    f"{self.shape.partitions}: users have moved between partitions. Start with a "
                    "new "
                    "--app-id and replay the topic, or use --rekey into a topic with the old "
                    "number "
                    "of partitions"
                )

    async def _clear_profiles(self, partitions: set[int]) -> None:
        # a former owner may have written a profile between the null of an erased user and the fence
        # of this one; from the fence on it cannot, so this null is the last word
        topic, patience_s = (
            self._host.settings.profiles_topic,
            self._host.settings.publish_timeout_s,
        )
        gone = {each: self.arenas[each].markers() for each in partitions & self.arenas.keys()}
        try:
            async with asyncio.timeout(patience_s):
                for partition, users in gone.items():
                    nulls = [(user, None, ()) for user in users]
                    for sent in await self._writer().send_records(topic, partition, nulls):
                        await acknowledged(topic, partition, sent)
        except TimeoutError:
            raise PublishError(
                f"{topic} acknowledged no write within {patience_s:.0f} s, so the profiles of "
                "erased users could not be cleared again; has it as many replicas in sync as "
                "min.insync.replicas asks for?"
            ) from None

    async def _rebuild_stale(self) -> None:
        # not written to the changelog now: a user's next event does, and until then the events
        # that it is rebuilt from are there (docs/operate/runbook.md, "Two models")
        for arena in self.arenas.values():
            rows = arena.stale_rows()
            for start in range(0, len(rows), REBUILD_CHUNK):
                chunk = rows[start : start + REBUILD_CHUNK]
                arena.put_rebuilt(chunk, await self._rebuild(arena.gather(chunk)["recent"]))
                self._host.metrics.rebuilt.inc(len(chunk))
                self.rebuilt_users += len(chunk)

    def statistics(self) -> dict[int, ArenaStatistics]:
        """Returns what can be seen of each arena, by partition."""
        return {partition: arena.statistics() for partition, arena in sorted(self.arenas.items())}


def _with_place(error: CorruptRecordError, tp: TP, records: list[Any]) -> CorruptRecordError:
    """Returns the error with the offset of the first record that is damaged."""
    for record in records:
        try:
            if record.value is not None:
                extent(record.value)
        except CorruptRecordError as found:
            return CorruptRecordError(f"{tp.topic}[{tp.partition}] offset {record.offset}: {found}")
    return error

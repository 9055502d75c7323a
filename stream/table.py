"""The table `user-state`: arenas of user states, kept durable by its changelog topic, restored from it by whole batches.

Memory may be ahead of the changelog, disk never is (there is none). The store remembers the changelog offset that each arena
covers, so a partition that stays through a rebalance is not read again.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Iterable
from dataclasses import dataclass
from typing import Any, Final, cast

import numpy as np
from faust.stores.base import Store
from faust.tables.table import Table
from faust.types import TP

from stream.errors import RefusalError
from stream.metrics import Metrics
from stream.state import Arena, ArenaStatistics, topic_code

REBUILD_CHUNK: Final = 2_048
"""Users rebuilt in one model call after a model change."""

TABLE_NAME: Final = "user-state"


@dataclass(frozen=True, slots=True)
class TableShape:
    """What a state looks like, and where it comes from."""

    state_size: int
    fingerprint: int
    source_topic: str
    partitions: int


Rebuild = Callable[[np.ndarray[Any, Any]], Awaitable[np.ndarray[Any, Any]]]
"""COMPACT [U, 32] to memory float32 [U, S]."""


class ArenaStore(Store[bytes, bytes]):
    """One arena a partition. The one home of user states."""

    def __init__(
        self,
        *args: Any,
        shape: TableShape,
        rebuild: Rebuild,
        fail: Callable[[Exception], None],
        metrics: Metrics,
        **kwargs: Any,
    ) -> None:
        self.shape = shape
        self._rebuild = rebuild
        self._fail = fail
        self._metrics = metrics
        self.arenas: dict[int, Arena] = {}
        self._covered: dict[TP, int] = {}  # changelog offset up to which the arena holds everything
        self.data: dict[bytes, bytes] = {}  # Faust's mapping view; states are in the arenas
        super().__init__(*args, **kwargs)

    def arena(self, partition: int) -> Arena:
        """The arena of a partition, made empty when missing."""
        if partition not in self.arenas:
            self.arenas[partition] = Arena(self.shape.state_size, self.shape.fingerprint, self.shape.partitions)
        return self.arenas[partition]

    def restore(self, tp: TP, records: list[Any]) -> None:
        """Apply changelog records of a partition, in log order."""
        regressions = self.arena(tp.partition).restore(
            [record.key for record in records], [record.value for record in records]
        )
        self._metrics.regressions.inc(regressions)
        self._metrics.recovered.inc(len(records))

    def persisted_offset(self, tp: TP) -> int | None:
        return self._covered.get(tp)

    def set_persisted_offset(self, tp: TP, offset: int) -> None:
        self._covered[tp] = max(offset, self._covered.get(tp, -1))

    def apply_changelog_batch(self, batch: Iterable[Any], to_key: Any, to_value: Any) -> None:
        """Stock recovery's way in. Nothing comes by it: the transport hands batches to `BatchRecovery.restore` (stream/recovery.py)."""

    def reset_state(self) -> None:
        """Forget everything; nothing is on disk."""
        self.arenas.clear()
        self._covered.clear()

    async def backup_partition(self, tp: Any, flush: bool = True, purge: bool = False, keep: int = 1) -> None:
        """The changelog is the backup."""

    def restore_backup(self, tp: Any, latest: bool = True, backup_id: int = 0) -> None:
        """The changelog is the backup."""

    async def need_active_standby_for(self, tp: TP) -> bool:
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
        self.app.failpoint("recovered")  # type: ignore[attr-defined]
        try:
            await self._refuse_foreign_states({tp.partition for tp in active_tps})
            await self._rebuild_stale()
        except asyncio.CancelledError:
            raise
        except Exception as error:
            self._fail(error)

    async def _refuse_foreign_states(self, partitions: set[int]) -> None:
        """States must not be newer than their source, nor come from a topic of another shape."""
        source = {TP(self.shape.source_topic, partition) for partition in partitions}
        ends = await self.app.consumer.highwaters(*source) if source else {}
        for tp, end in ends.items():
            arena = self.arenas.get(tp.partition)
            highest = -1 if arena is None else arena.highest_offset(topic_code(tp.topic), tp.partition)
            if highest >= (end or 0):
                raise RefusalError(
                    f"states of {tp.topic}[{tp.partition}] hold offset {highest}, but the topic ends at {end}: it was deleted and "
                    f"created again. Every new event would be taken for an old one. Start with a new --app-id, or delete the "
                    f"changelog {self.table.changelog_topic.get_topic_name()} and the offsets of the group to begin from empty states"
                )
            counts = set() if arena is None else arena.partition_counts()
            if counts - {self.shape.partitions}:
                raise RefusalError(
                    f"states were written when {tp.topic} had {min(counts - {self.shape.partitions})} partitions, now it has "
                    f"{self.shape.partitions}: users have moved between partitions. Start with a new --app-id and replay the topic, "
                    f"or use --rekey into a topic with the old number of partitions"
                )

    async def _rebuild_stale(self) -> None:
        for arena in self.arenas.values():
            rows = arena.stale_rows()
            for start in range(0, len(rows), REBUILD_CHUNK):
                chunk = rows[start : start + REBUILD_CHUNK]
                arena.put_rebuilt(chunk, await self._rebuild(arena.gather(chunk)["recent"]))
                self._metrics.rebuilt.inc(len(chunk))

    def statistics(self) -> dict[int, ArenaStatistics]:
        """By partition."""
        return {partition: arena.statistics() for partition, arena in sorted(self.arenas.items())}


class StateTable(Table[bytes, bytes]):
    """A Faust table whose store is given, not looked up by URL, and whose changelog is written by prepared batches."""

    make_store: Callable[..., ArenaStore]

    def _new_store(self) -> ArenaStore:
        return self.make_store(
            "arena://",
            self.app,
            self,
            table_name=self.name,
            key_type=self.key_type,
            key_serializer=self.key_serializer,
            value_serializer=self.value_serializer,
            value_type=self.value_type,
            loop=self.loop,
        )

    @property
    def store(self) -> ArenaStore:
        return cast(ArenaStore, self.data)

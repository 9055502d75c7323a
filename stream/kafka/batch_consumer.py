"""Makes Faust's consumer deliver whole fetched batches and commit only what is durable.

What it changes in Faust's consumer, and why (measurements: decision 0002):

- one message a fetched batch instead of one a record: a task a record is what limits stock Faust to
  a few thousand events/s;
- a fetch gets a copy of the active partitions: the live set may be emptied while the fetch waits,
  aiokafka reads an empty set as "all", and the records it then returns are dropped although the
  position has moved on, which hangs recovery for ever;
- records that cannot be delivered are handed back by seeking to the first of them;
- a batch must begin where the last one ended, else it is read again: records get lost between
  broker and agent (batch_sequence.py);
- a committed offset comes only from `applied()`, in order, and from positions past which nothing
  is under way: stock acknowledgement also counts messages that were skipped;
- changelog records go to the table as whole batches.

Which batches may pass and what may be committed is decided by the hooks' `Flow`, which is pure
(stream/pipeline/transport.py).
"""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import AsyncIterator, Iterator, Mapping
from typing import Any, Final, cast

from faust.transport.drivers import aiokafka as driver
from faust.types import TP
from faust.types.tuples import ConsumerMessage, Message
from mode.utils.locks import Event

from stream.errors import FencedError
from stream.kafka.consumer_thread import ConsumerThread, HookedTransport
from stream.kafka.membership import Membership

log = logging.getLogger("interest_stream")

LONGEST_WAIT_S: Final = 0.1
"""Of one fetch. It delays every rebalance by as much."""

PACE_S: Final = 0.01
"""How long a fetch waits while batches wait for the model.

A hundred small fetches cost more time of the interpreter than a large one.
"""

LOOK_S: Final = 0.5
"""Between looks whether positions have moved past offsets that no record has."""

CONFIRMATION_S: Final = 0.05
"""Between looks whether the group has answered again."""


class Records(list[Any]):
    """Holds the records of one batch of a partition, in offset order.

    It is the value of one Faust message.
    """

    more_follow = False
    """Whether batches of other partitions come behind it that the same fetch brought."""


class BatchConsumer(driver.Consumer):
    """Delivers batches of the source, restores the table from batches, commits what was applied."""

    _thread: ConsumerThread

    def __init__(self, *arguments: Any, **options: Any) -> None:
        super().__init__(*arguments, **options)
        hooks = cast(HookedTransport, self.transport).hooks
        self._hooks, self._host, self._flow = hooks, hooks.host, hooks.flow
        self._room = Event()  # something was applied since the last look
        self._look_at = 0.0  # when to look at positions next
        self._group_has: dict[TP, int] = {}  # next offsets that the group has, as far as we know

    def _new_consumer_thread(self) -> ConsumerThread:
        # Faust's only way to give its consumer another thread
        return ConsumerThread(self, loop=self.loop, beacon=self.beacon)

    # -- fetching

    async def getmany(  # the signature is Faust's
        self,
        timeout: float,  # noqa: ASYNC109
    ) -> AsyncIterator[tuple[TP, ConsumerMessage]]:
        """Yields one message for each fetched batch of the source."""
        # no fetch during a rebalance, and a short pause while the model has enough to do
        if not self.flow_active:
            await self.wait(self.can_resume_flow)  # type: ignore[arg-type]
        if not self._hooks.model_free.is_set():
            await self.wait(self._hooks.model_free, timeout=PACE_S)

        # a copy of the partitions wanted now, and the generation that they are read in
        self._room.clear()
        wanted = self._wanted()
        generation = self.generation
        if not wanted:
            await self.wait(self._room, timeout=LONGEST_WAIT_S)
            return
        # `getmany` of Faust makes a message of each record and fetches for the live set, which a
        # rebalance may empty
        fetched: Mapping[TP, list[Any]] = await self._getmany(wanted, min(timeout, LONGEST_WAIT_S))

        # each fetched batch is handed back, restored, read again or delivered; none is dropped
        # (a batch of `_buffered_partitions`, which are full and not fetched, is delivered as well;
        # of changelogs only Faust knows the names, by `_is_changelog_tp`)
        for place, (tp, records) in enumerate(fetched.items(), start=1):
            if not records or self.should_stop:
                continue
            deliverable = self.flow_active and self.generation == generation
            after = self._thread.after.get(tp, records[-1].offset + 1)
            if not deliverable or (tp not in wanted and tp not in self._buffered_partitions):
                await self._thread.hand_back(tp, records[0].offset, after)
            elif self._is_changelog_tp(tp):
                self._hooks.recovery().restore(tp, records)
            elif (again_from := self._flow.gap(tp, records[0].offset)) is not None:
                await self._thread.hand_back(tp, again_from, after)
            else:
                await self._report_if_deleted(tp, records[0].offset)
                self._flow.deliver(tp, records[-1].offset, after)
                self.app.monitor.track_tp_end_offset(tp, self.highwater(tp))
                self._host.failpoint("fetched")
                batch = Records(records)
                batch.more_follow = place < len(fetched)
                yield tp, _batch_message(tp, batch, generation)
        if time.monotonic() >= self._look_at and self._hooks.recovery().completed.is_set():
            self._look_at = time.monotonic() + LOOK_S
            await self._pass_over(wanted - fetched.keys(), generation)

    async def _pass_over(self, partitions: set[TP], generation: int) -> None:
        """Moves on where the log has no records: markers of transactions, and aborted data.

        The position of aiokafka moves past them without a word. It also does when fetched records
        were dropped, so it is believed when it has come to the same place a second time.
        """
        if not partitions:
            return
        positions = await self._thread.positions(partitions)
        for tp, position in positions.items():
            if not self.flow_active or self.generation != generation:
                return
            if self._flow.under_way(tp):
                continue
            if (again_from := self._flow.gap(tp, position)) is not None:
                await self._thread.hand_back(tp, again_from, position)
            elif self._flow.missing(tp, position):
                await self._report_if_deleted(tp, position)
                self._flow.skip(tp, position)

    async def _report_if_deleted(self, tp: TP, first: int) -> None:
        """Reports deleted events if a batch begins after a gap, and the log begins there too.

        Other gaps are control records, or compaction.
        """
        missing = self._flow.missing(tp, first)
        if missing and (await self.earliest_offsets(tp)).get(tp) == first:
            report_deleted(tp, missing)

    def _wanted(self) -> set[TP]:
        """Returns the partitions to fetch now.

        The source is read only once recovery is over, because the last act of a recovery is to
        empty the agents' queues. A partition with enough events under way waits, and no other does.
        It does not wait earlier, because aiokafka asks a broker for nothing more while it holds
        records of a partition that nobody wants.
        """
        active = set(self._get_active_partitions())  # those assigned and not paused
        if self._hooks.recovery().completed.is_set():
            return self._flow.fetchable(active)
        return {tp for tp in active if self._is_changelog_tp(tp)}  # until the states are there

    def on_buffer_full(self, tp: TP) -> None:
        """Does nothing, because the flow decides which partition waits.

        Stock pauses the partition and takes an arbitrary one back when the queue runs low, so under
        load one may starve for ever.
        """

    async def _add_gap(self, tp: TP, offset_from: int, offset_to: int) -> None:
        """Does nothing, because only `applied()` moves the commit.

        Stock notes each range of offsets that lies between batches, for computing what to commit.
        """

    # -- committing

    def applied(self, tp: TP, last_offset: int) -> None:
        """Notes that everything up to an offset is durable; offsets of a partition come in order.

        Raises LostBatchError if the batch before was never applied.
        """
        if self._flow.apply(tp, last_offset):
            self._room.set()

    async def perform_seek(self) -> None:
        """Seeks to the committed offsets, and begins the flow where reading begins."""
        await super().perform_seek()
        # changelogs are sought by the recovery
        source = {tp for tp in self.assignment() if not self._is_changelog_tp(tp)}
        begins = await self.earliest_offsets(*source) if source else {}
        starts: dict[TP, int] = {}
        for tp in source:
            committed, begin = self.committed_offset(tp), begins[tp] or 0
            if 0 < committed < begin:
                report_deleted(tp, begin - committed)
            starts[tp] = max(committed, begin)
            self._group_has[tp] = committed
        self._flow.start(starts)

    def committed_offset(self, tp: TP) -> int:
        """Returns the committed offset that reading began with; 0 if there was none."""
        return self._committed_offset[tp] or 0  # Faust offers no other way to read it

    def committed_now(self, tp: TP) -> int:
        """Returns the next offset that the group is known to have of a partition; 0 if none."""
        return self._group_has.get(tp, 0)

    def applied_offsets(self) -> dict[TP, int]:
        """Returns the next offset to commit of each partition that applied something."""
        return self._flow.to_commit()

    def ack(self, message: Message) -> bool:
        """Notes that a message needs no more work, and returns whether that is news.

        It says nothing about what may be committed.
        """
        if message.acked:
            return False
        message.acked = True
        # what Faust's own `ack` does for those that wait for the end of all work, and no more of it
        self._unacked_messages.discard(message)
        if self._waiting_for_ack is not None and not self._waiting_for_ack.done():
            self._waiting_for_ack.set_result(None)
        return True

    def abandon_unacked(self) -> None:
        """Lets a failing worker leave the group without waiting for work that will not be done."""
        self._unacked_messages.clear()  # Faust waits until this is empty

    async def _commit(self, offsets: Mapping[TP, int]) -> bool:
        # the one place through which every commit of Faust goes; the changelog's offsets are
        # committed with the source's, because they outlive the source topic, and it outlives them
        changelog = {TP(self._host.settings.changelog_topic, tp.partition) for tp in offsets}
        held = {tp: self._hooks.covered(tp) for tp in changelog}
        states = {tp: offset + 1 for tp, offset in held.items() if offset is not None}
        done: bool = await super()._commit({**offsets, **states})
        if done:
            self._group_has.update(offsets)
        self._host.failpoint("committed")
        return done

    async def wait_empty(self) -> None:
        await super().wait_empty()
        await self._hooks.flush()

    async def commit_and_end_transactions(self) -> None:
        # stock does nothing when a commit is under way, and then the last batches before a stop or
        # rebalance stay uncommitted (docs/understand/upstream/last-commit-skipped.md); only the
        # private future says whether one is under way
        while self._commit_fut is not None:
            await self.maybe_wait_for_commit_to_finish()
        await super().commit_and_end_transactions()

    def _filter_tps_with_pending_acks(self, topics: Any = None) -> Iterator[TP]:
        # stock looks at acknowledged messages; ours are what the flow says
        return (
            tp
            for tp in self._flow.to_commit()
            if topics is None or tp in topics or tp.topic in topics
        )

    def _new_offset(self, tp: TP) -> int | None:
        # stock computes it from acknowledged messages; ours is what the flow says
        return self._flow.to_commit().get(tp)

    # -- rebalances

    async def on_partitions_revoked(self, revoked: set[TP]) -> None:
        # finish and commit first: stock forgets what was applied, then waits, then commits
        self._host.failpoint("revoking")
        self.stop_flow()
        self.app.flow_control.suspend()
        self.app.flow_control.clear()
        await self.wait_empty()
        self._host.failpoint("flushed")
        for tp in revoked:
            self._flow.revoke(tp)
        await super().on_partitions_revoked(revoked)

    async def on_partitions_assigned(self, assigned: set[TP], generation_id: int = 0) -> None:
        self._host.metrics.rebalances.inc()
        self._host.failpoint("assigned")
        await super().on_partitions_assigned(assigned, generation_id)

    def verify_event_path(self, now: float, tp: TP) -> None:
        """Does nothing, because stream/worker/watchdog.py looks at progress.

        Stock counts from the worker's start, and calls a partition that has just come stuck.
        """

    # -- ownership

    @property
    def generation(self) -> int:
        """Returns the generation of the group now."""
        generation: int = self.app.consumer_generation_id
        return generation

    @property
    def flowing(self) -> bool:
        """Returns whether no rebalance and no end has begun."""
        active: bool = self.app.flow_control.is_active()
        return active

    def flows(self, generation: int | None) -> bool:
        """Returns whether batches read in a generation still go to the model."""
        return self.flowing and generation == self.generation

    def why_not_owner(self, tp: TP, generation: int | None) -> str | None:
        """Returns why this worker may not write for a partition, or None if it may.

        generation: that of the group in which the partition was read.
        """
        if tp not in self.assignment():
            return "the partition was taken away"
        if generation != self.generation:
            return (
                f"the group is in generation {self.generation}, the batch was read in {generation}"
            )
        if self.membership.expelled:
            return (
                "the group has put this worker out, because it was silent for longer than the "
                "session timeout"
            )
        return None

    @property
    def membership(self) -> Membership:
        """Returns what is known of this worker's place in the group."""
        return self._thread.membership

    def confirmed(self) -> bool:
        """Returns whether this worker may take itself for a member.

        It may while the group's last confirmation is younger than the lease.
        """
        return not self.membership.expelled and self.membership.silent_s() < self.membership.lease_s

    async def confirm_membership(self) -> None:
        """Waits until the group has confirmed this worker lately, which is at once if it has.

        Raises FencedError if the group puts it out.
        """
        while self.membership.confirmed and not self.confirmed():
            if self.membership.expelled or self.app.should_stop:
                raise FencedError(
                    "a write was still queued when the group put this worker out; it was not sent"
                )
            await asyncio.sleep(CONFIRMATION_S)


def report_deleted(tp: TP, events: int) -> None:
    """Logs that retention was faster than the workers."""
    log.error(
        "%s[%d]: %d events were deleted by retention before they were read; "
        "they are lost to the states",
        tp.topic,
        tp.partition,
        events,
    )


def _batch_message(tp: TP, records: Records, generation: int) -> ConsumerMessage:
    last = records[-1]
    return ConsumerMessage(
        tp.topic,
        tp.partition,
        last.offset,
        last.timestamp / 1000.0,
        last.timestamp_type,
        [],
        b"",
        records,  # type: ignore[arg-type]
        None,
        tp=tp,
        generation_id=generation,
    )

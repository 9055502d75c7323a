"""Hops 1 and 8. A fetched batch of a partition arrives as one message; its last offset is committed once its state is durable.

A subclass of Faust's aiokafka transport. What it changes, and why (measurements: docs/decisions/0002-batch-transport.md):

- one message a fetched batch instead of one a record: a task a record is what limits stock Faust to a few thousand events/s;
- a fetch gets a copy of the active partitions: the live set may be emptied while the fetch waits, aiokafka reads an empty
  set as "all", and the records it then returns are dropped although the position has moved on, which hangs recovery for ever;
- records that cannot be delivered are handed back by seeking to the first of them;
- a batch must begin where the last one ended, else it is read again: records get lost between broker and agent (stream/sequence.py);
- a committed offset comes only from `applied()`, in order: stock acknowledgement also counts messages that were skipped;
- changelog records go to the table as whole batches;
- the producer is idempotent and sends prepared batches.
"""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import AsyncIterator, Iterable, Iterator, Mapping
from contextlib import suppress
from typing import Any, Final

from aiokafka import AIOKafkaConsumer
from aiokafka.errors import KafkaError, ProducerFenced
from aiokafka.structs import TopicPartition
from faust.transport.drivers import aiokafka as driver
from faust.types import TP
from faust.types.tuples import ConsumerMessage, Message
from mode.utils.locks import Event

from stream.errors import FencedError, PublishError, refused_write
from stream.fence import Fence, FencedBatch, marker, raise_fence
from stream.kafka_client import heed_group_errors
from stream.membership import Membership
from stream.record_batches import PreparedBatch, Record, Section, pack
from stream.sequence import BatchSequence

log = logging.getLogger("interest_stream")

LONGEST_WAIT_S: Final = 0.1
"""Of one fetch: it delays every rebalance by as much."""

MOST_UNDER_WAY: Final = 3
"""Largest batches' worth of events of a partition between fetch and commit, when no more is fetched: one publishing, one between, one
computing."""

PACE_S: Final = 0.01
"""A fetch waits so long while batches wait for the model: a hundred small fetches cost more time of the interpreter than one large."""

CONFIRMATION_S: Final = 0.05
"""Between looks whether the group has answered again."""

Delivery = tuple[asyncio.Future[Any], int]
"""The future of a batch's acknowledgement, and how many records it holds."""


class Records(list[Any]):
    """The records of one batch of one partition, in offset order; the value of one Faust message."""


class ConsumerThread(driver.AIOKafkaConsumerThread):
    """Faust's consumer thread with a short fetch wait and a memory of what the group says."""

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.membership = Membership(self.app.settings, self.app.fail, self.app.failpoint)  # type: ignore[attr-defined]

    def _create_worker_consumer(self, transport: driver.Transport) -> AIOKafkaConsumer:
        consumer = super()._create_worker_consumer(transport)
        consumer._fetch_max_wait_ms = self.app.settings.fetch_max_wait_ms  # type: ignore[attr-defined]
        return consumer

    async def on_start(self) -> None:
        await super().on_start()
        heed_group_errors(self._ensure_consumer())
        self.membership.watch(self._ensure_consumer()._coordinator)

    def close(self) -> None:
        """Nothing: this thread stops its consumer itself. Stock, told of a rebalance while the app stops, closes the connections from
        the app's thread, in the midst of leaving the group (docs/upstream/connections-closed-by-another-thread.md)."""

    def _stopped_set(self) -> None:
        with suppress(RuntimeError):  # the loop of a thread that has crashed is closed, and nobody there can be told
            super()._stopped_set()

    async def hand_back(self, tp: TP, first: int, last: int) -> None:
        """Read records again that could not be delivered, unless somebody has sought elsewhere by now."""
        await self.call_thread(self._hand_back, tp, first, last)

    async def _hand_back(self, tp: TP, first: int, last: int) -> None:
        consumer = self._ensure_consumer()
        partition = TopicPartition(tp.topic, tp.partition)
        if partition in consumer.assignment() and await consumer.position(partition) == last + 1:
            consumer.seek(partition, first)


class Consumer(driver.Consumer):
    """Delivers batches of the batch topics, restores the table from changelog batches, commits what was applied."""

    _thread: ConsumerThread

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self._applied: dict[TP, int] = {}  # next offset to commit, of partitions owned now
        self._sequence: BatchSequence[TP] = BatchSequence()
        self._room = Event()  # something was applied since the last look

    def _new_consumer_thread(self) -> ConsumerThread:
        return ConsumerThread(self, loop=self.loop, beacon=self.beacon)

    # -- fetching

    async def getmany(self, timeout: float) -> AsyncIterator[tuple[TP, ConsumerMessage]]:  # noqa: ASYNC109 Faust's signature
        """One message for each fetched batch."""
        if not self.flow_active:
            await self.wait(self.can_resume_flow)  # type: ignore[arg-type]
        inbox = self.app.pipeline.inbox  # type: ignore[attr-defined]
        if not inbox.empty.is_set():
            await self.wait(inbox.empty, timeout=PACE_S)
        self._room.clear()
        wanted = self._wanted()
        generation = self.app.consumer_generation_id
        if not wanted:
            await self.wait(self._room, timeout=LONGEST_WAIT_S)
            return
        fetched: Mapping[TP, list[Any]] = await self._getmany(wanted, min(timeout, LONGEST_WAIT_S))
        for tp, records in fetched.items():
            if not records or self.should_stop:
                continue
            deliverable = self.flow_active and self.app.consumer_generation_id == generation
            if not deliverable or (tp not in wanted and tp not in self._buffered_partitions):
                await self._thread.hand_back(tp, records[0].offset, records[-1].offset)
            elif self._is_changelog_tp(tp):
                self.app.recovery.restore(tp, records)  # type: ignore[attr-defined]
            elif (wanted_offset := self._sequence.gap(tp, records[0].offset)) is not None:
                await self._thread.hand_back(tp, wanted_offset, records[-1].offset)
            else:
                await self._tell_if_deleted(tp, records[0].offset)
                self._sequence.deliver(tp, records[-1].offset)
                self.app.monitor.track_tp_end_offset(tp, self.highwater(tp))
                self.app.failpoint("fetched")  # type: ignore[attr-defined]
                yield tp, self._batch_message(tp, records, generation)

    async def _tell_if_deleted(self, tp: TP, first: int) -> None:
        """A batch that begins after a gap, where the log begins too; other gaps are control records, or compaction."""
        missing = self._sequence.missing(tp, first)
        if missing and (await self.earliest_offsets(tp)).get(tp) == first:
            tell_of_deleted(tp, missing)

    def _wanted(self) -> set[TP]:
        """Active partitions; those of the source only once recovery is over, because its last act is to empty the agents' queues.

        A partition with enough events under way waits, and no other does. Not earlier: aiokafka asks a broker for nothing more while
        it holds records of a partition that nobody wants.
        """
        active = set(self._get_active_partitions())
        if self.app.recovery.completed.is_set():  # type: ignore[attr-defined]
            most = MOST_UNDER_WAY * self.app.settings.max_batch_events  # type: ignore[attr-defined]
            return {tp for tp in active if self._sequence.under_way(tp) < most}
        return {tp for tp in active if self._is_changelog_tp(tp)}

    def on_buffer_full(self, tp: TP) -> None:
        """Stock pauses the partition and takes an arbitrary one back when the queue runs low: under load one may starve for ever."""

    def _batch_message(self, tp: TP, records: list[Any], generation: int) -> ConsumerMessage:
        last = records[-1]
        return ConsumerMessage(
            tp.topic,
            tp.partition,
            last.offset,
            last.timestamp / 1000.0,
            last.timestamp_type,
            [],
            b"",
            Records(records),  # type: ignore[arg-type]
            None,
            tp=tp,
            generation_id=generation,
        )

    async def _add_gap(self, tp: TP, offset_from: int, offset_to: int) -> None:
        """Offsets between batches need no tracking: only `applied()` moves the commit."""

    # -- committing

    def applied(self, tp: TP, last_offset: int) -> None:
        """Everything up to last_offset is durable; call in offset order of a partition. Raises LostBatchError."""
        if self._sequence.apply(tp, last_offset):
            self._applied[tp] = max(last_offset + 1, self._applied.get(tp, 0))
            self._room.set()

    async def perform_seek(self) -> None:
        await super().perform_seek()
        source = {tp for tp in self.assignment() if not self._is_changelog_tp(tp)}
        begins = await self.earliest_offsets(*source) if source else {}
        starts: dict[TP, int] = {}
        for tp in source:
            committed, begin = self._committed_offset[tp] or 0, begins[tp] or 0
            if 0 < committed < begin:
                tell_of_deleted(tp, begin - committed)
            starts[tp] = max(committed, begin)
        self._sequence.start(starts)

    def applied_offsets(self) -> dict[TP, int]:
        """Next offset to commit of each partition that applied something since it was assigned."""
        return dict(self._applied)

    def ack(self, message: Message) -> bool:
        """The message needs no more work; says nothing about what may be committed."""
        if message.acked:
            return False
        message.acked = True
        self._unacked_messages.discard(message)
        if self._waiting_for_ack is not None and not self._waiting_for_ack.done():
            self._waiting_for_ack.set_result(None)
        return True

    def abandon_unacked(self) -> None:
        """Let a failing worker leave the group without waiting for work that will not be done."""
        self._unacked_messages.clear()

    async def _commit(self, offsets: Mapping[TP, int]) -> bool:
        done: bool = await super()._commit(offsets)
        self.app.failpoint("committed")  # type: ignore[attr-defined]
        return done

    async def wait_empty(self) -> None:
        await super().wait_empty()
        await self.app.pipeline.release_withheld()  # type: ignore[attr-defined]

    async def commit_and_end_transactions(self) -> None:
        # stock does nothing when a commit is under way, and then the last batches before a stop or rebalance stay uncommitted
        while self._commit_fut is not None:
            await self.maybe_wait_for_commit_to_finish()
        await super().commit_and_end_transactions()

    def _filter_tps_with_pending_acks(self, topics: Any = None) -> Iterator[TP]:
        return (tp for tp in list(self._applied) if topics is None or tp in topics or tp.topic in topics)

    def _new_offset(self, tp: TP) -> int | None:
        return self._applied.get(tp)

    async def on_partitions_revoked(self, revoked: set[TP]) -> None:
        # finish and commit first: the stock order forgets what was applied, then waits, then commits
        self.app.failpoint("revoking")  # type: ignore[attr-defined]
        self.stop_flow()
        self.app.flow_control.suspend()
        self.app.flow_control.clear()
        await self.wait_empty()
        self.app.failpoint("flushed")  # type: ignore[attr-defined]
        for tp in revoked:
            self._applied.pop(tp, None)
        await super().on_partitions_revoked(revoked)

    async def on_partitions_assigned(self, assigned: set[TP], generation_id: int = 0) -> None:
        self.app.metrics.rebalances.inc()  # type: ignore[attr-defined]
        self.app.failpoint("assigned")  # type: ignore[attr-defined]
        await super().on_partitions_assigned(assigned, generation_id)

    def verify_event_path(self, now: float, tp: TP) -> None:
        """Nothing: stock counts from the worker's start and calls a partition that has just come stuck. stream/watchdog.py looks."""

    # -- ownership

    @property
    def generation(self) -> int:
        """Of the group, now."""
        generation: int = self.app.consumer_generation_id
        return generation

    @property
    def flowing(self) -> bool:
        """No rebalance and no end has begun."""
        active: bool = self.app.flow_control.is_active()
        return active

    def flows(self, generation: int | None) -> bool:
        """Whether batches read in a generation still go to the model: no rebalance and no end has begun since."""
        return self.flowing and generation == self.generation

    def why_not_owner(self, tp: TP, generation: int | None) -> str | None:
        """None while this worker may write for a partition it read in a generation; else the reason."""
        if tp not in self.assignment():
            return "the partition was taken away"
        if generation != self.app.consumer_generation_id:
            return f"the group is in generation {self.app.consumer_generation_id}, the batch was read in {generation}"
        if self.membership.expelled:
            return "the group has put this worker out, because it was silent for longer than the session timeout"
        return None

    @property
    def membership(self) -> Membership:
        """What the group says of this worker."""
        return self._thread.membership

    def confirmed(self) -> bool:
        """Whether the group's word that this worker is a member still holds."""
        return not self.membership.expelled and self.membership.silent_s() < self.membership.lease_s

    async def confirm_membership(self) -> None:
        """Return while the group's word holds; wait for it when it is too old. Raises FencedError."""
        while self.membership.confirmed and not self.confirmed():
            if self.membership.expelled or self.app.should_stop:
                raise FencedError("a write was still queued when the group put this worker out; it was not sent")
            await asyncio.sleep(CONFIRMATION_S)


class Producer(driver.Producer):
    """Idempotent, with prepared batches; those of a partition that has a fence are signed by it."""

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self._fences: dict[TP, Fence] = {}

    async def on_start(self) -> None:
        await super().on_start()
        sender = self._ensure_producer()._sender
        send = sender._send_produce_req

        async def send_as_member(node_id: int, batches: Any) -> None:
            # a batch is queued, the machine sleeps, another worker takes over: this is the last look before the wire
            try:
                await self.app.consumer.confirm_membership()  # type: ignore[attr-defined]
            except FencedError as error:
                self.app.fail(error)  # type: ignore[attr-defined]  # aiokafka would tell of "unexpected error"
                raise
            await send(node_id, batches)

        sender._send_produce_req = send_as_member

    def _settings_extra(self) -> Mapping[str, Any]:
        return {"acks": "all", "enable_idempotence": True}

    async def fence(self, partitions: Iterable[TP]) -> None:
        """From now on no worker that had these partitions before can write to them. Raises BrokerError, PublishError, FencedError."""
        await asyncio.gather(*(self._fence(tp) for tp in partitions))

    async def _fence(self, tp: TP) -> None:
        settings = self.app.settings  # type: ignore[attr-defined]
        name, patience_s = f"{settings.app_id}-states-{tp.partition}", settings.publish_timeout_s
        self._fences[tp] = await raise_fence(self._ensure_producer().client, name, patience_s)
        try:
            async with asyncio.timeout(patience_s):
                ((written, _),) = await self.send_sections(tp.topic, tp.partition, [marker()])
                await written
        except ProducerFenced as error:
            raise FencedError(f"{tp.topic}[{tp.partition}] went to another worker before we had restored it") from error
        except TimeoutError as error:
            raise PublishError(
                f"{tp.topic}[{tp.partition}] acknowledged no write within {patience_s:.0f} s, so it was not restored; "
                "has it as many replicas in sync as min.insync.replicas asks for?"
            ) from error
        except KafkaError as error:
            raise refused_write(tp.topic, tp.partition, error) from error

    async def send_records(self, topic: str, partition: int, records: Iterable[Record]) -> list[Delivery]:
        """Queue records of one partition as full batches. Raises PublishError for a record too large."""
        rows = list(records)
        keys, values, headers = ([row[column] for row in rows] for column in range(3))
        compression = self.app.settings.compression  # type: ignore[attr-defined]
        sections = pack(keys, values, int(time.time() * 1000), compression, headers)  # type: ignore[arg-type]
        return await self.send_sections(topic, partition, sections)

    async def send_sections(self, topic: str, partition: int, sections: Iterable[Section]) -> list[Delivery]:
        """Queue prepared batches of one partition."""
        producer, fence = self._ensure_producer(), self._fences.get(TP(topic, partition))
        deliveries: list[Delivery] = []
        for section in sections:
            batch = PreparedBatch(section) if fence is None else FencedBatch(section, fence)
            sent = await producer.send_batch(batch, topic, partition=partition)
            sent.add_done_callback(_heard)
            deliveries.append((sent, section.count))
        return deliveries


def tell_of_deleted(tp: TP, events: int) -> None:
    """Retention was faster than the workers."""
    log.error(
        "%s[%d]: %d events were deleted by retention before they were read; they are lost to the states",
        tp.topic,
        tp.partition,
        events,
    )


def _heard(sent: asyncio.Future[Any]) -> None:
    """Take note of an error. Who waits gets it; that nobody waits any more has been told as an error of its own."""
    if not sent.cancelled():
        sent.exception()


class Transport(driver.Transport):
    """Set with `app.transport = ...`."""

    Consumer = Consumer
    Producer = Producer

"""Makes Faust's producer idempotent, send prepared batches, and sign those of fenced partitions."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Iterable, Mapping
from typing import Any, cast

from aiokafka.errors import KafkaError, ProducerFenced
from faust.transport.drivers import aiokafka as driver
from faust.types import TP, AppT
from faust.types.transports import ConsumerT

from stream.errors import FencedError, PublishError, refused_write
from stream.kafka.batch_consumer import BatchConsumer
from stream.kafka.client import client_options
from stream.kafka.consumer_thread import HookedTransport
from stream.kafka.fence import Fence, FencedBatch, marker, raise_fence
from stream.kafka.host import Acknowledgement, ConsumerHooks
from stream.kafka.record_batches import PreparedBatch, Record, Section, pack


class BatchProducer(driver.Producer):
    """Sends prepared batches, idempotently.

    Those of a partition that has a fence are signed by it.
    """

    def __init__(self, *arguments: Any, **options: Any) -> None:
        super().__init__(*arguments, **options)
        self._host = cast(HookedTransport, self.transport).hooks.host
        self._fences: dict[TP, Fence] = {}

    async def on_start(self) -> None:
        await super().on_start()
        # aiokafka's sender puts every batch on the wire in this method, and has no hook before it
        sender = self._ensure_producer()._sender
        send = sender._send_produce_req

        async def send_as_member(node_id: int, batches: Any) -> None:
            # a batch is queued, the machine sleeps, another worker takes over: this is the last
            # look before the wire
            try:
                await cast(BatchConsumer, self.app.consumer).confirm_membership()
            except FencedError as error:
                self._host.fail(error)  # aiokafka would log an "unexpected error"
                raise
            await send(node_id, batches)

        sender._send_produce_req = send_as_member
        _let_fail_quietly(sender._txn_manager)

    def _settings_extra(self) -> Mapping[str, Any]:
        # Faust takes what this method adds to its own options: two that it has no settings for, and
        # the connection, which is that of every other client
        connection = client_options(self._host.settings)
        return {"acks": "all", "enable_idempotence": True, **connection}

    async def partitions_of(self, topic: str) -> list[int]:
        """Returns the partitions of a topic in order."""
        # Faust gives aiokafka's producer out by no public name
        return sorted(await self._ensure_producer().partitions_for(topic))

    async def fence(self, partitions: Iterable[TP]) -> dict[TP, int]:
        """Keeps every worker that had these partitions before from writing to them from now on.

        The partitions of the profiles with the same numbers are fenced too. Returns the offset of
        the empty record in each that was given. Raises BrokerError, PublishError, FencedError.
        """
        fenced = list(partitions)
        offsets = await asyncio.gather(*(self._fence(tp) for tp in fenced))
        return dict(zip(fenced, offsets, strict=True))

    async def _fence(self, tp: TP) -> int:
        settings = self._host.settings
        name, patience_s = f"{settings.app_id}-states-{tp.partition}", settings.publish_timeout_s
        # aiokafka's client, which knows the coordinators, is behind the producer that Faust keeps
        fence = await raise_fence(self._ensure_producer().client, name, patience_s)
        profiles = TP(settings.profiles_topic, tp.partition)
        self._fences[tp], self._fences[profiles] = fence, fence.beside()
        _, offset = await asyncio.gather(self._close(profiles), self._close(tp))
        return offset

    async def _close(self, tp: TP) -> int:
        """Writes the empty record that closes a log to older epochs, and returns its offset."""
        patience_s = self._host.settings.publish_timeout_s
        try:
            async with asyncio.timeout(patience_s):
                ((written, _),) = await self.send_sections(tp.topic, tp.partition, [marker()])
                offset: int = (await written).offset
                return offset
        except ProducerFenced as error:
            raise FencedError(
                f"{tp.topic}[{tp.partition}] went to another worker before we had restored it"
            ) from error
        except TimeoutError as error:
            raise PublishError(
                f"{tp.topic}[{tp.partition}] acknowledged no write within {patience_s:.0f} s, so "
                "it was "
                "not restored; has it as many replicas in sync as min.insync.replicas asks for?"
            ) from error
        except KafkaError as error:
            raise refused_write(tp.topic, tp.partition, error) from error

    async def send_records(
        self, topic: str, partition: int, records: Iterable[Record]
    ) -> list[Acknowledgement]:
        """Queues records of one partition as full batches.

        Raises PublishError for a record that is too large.
        """
        rows = list(records)
        keys, values, headers = ([row[column] for row in rows] for column in range(3))
        compression = self._host.settings.compression
        sections = pack(keys, values, int(time.time() * 1000), compression, headers)  # type: ignore[arg-type]
        return await self.send_sections(topic, partition, sections)

    async def send_sections(
        self, topic: str, partition: int, sections: Iterable[Section]
    ) -> list[Acknowledgement]:
        """Queues prepared batches of one partition.

        Raises PublishError if the topic has no such partition.
        """
        # Faust has no way to send a prepared batch; aiokafka's producer has
        producer, fence = self._ensure_producer(), self._fences.get(TP(topic, partition))
        queued: list[Acknowledgement] = []
        for section in sections:
            if partition not in (known := await producer.partitions_for(topic)):
                # aiokafka would say so by an AssertionError
                raise PublishError(
                    f"{topic} has {len(known)} partitions and no partition {partition}: the topics "
                    "are not partitioned alike any more; see 'interest-stream topics check'"
                )
            batch = PreparedBatch(section) if fence is None else FencedBatch(section, fence)
            sent = await producer.send_batch(batch, topic, partition=partition)
            sent.add_done_callback(_take_note)
            queued.append((sent, section.count))
        return queued


async def acknowledged(topic: str, partition: int, queued: Acknowledgement) -> int:
    """Waits for a batch's acknowledgement and returns the offset of its last record.

    Raises PublishError, FencedError.
    """
    future, count = queued
    try:
        metadata = await future
    except asyncio.CancelledError:
        raise
    except ProducerFenced as error:
        raise FencedError(
            f"{topic}[{partition}] is not ours any more: another worker has it, "
            "and the broker refused our write"
        ) from error
    except Exception as error:
        raise refused_write(topic, partition, error) from error
    offset: int = metadata.offset
    return offset + count - 1


def _let_fail_quietly(transactions: Any) -> None:
    """Gives aiokafka's manager of transactions a waiter, which it has only in a transaction.

    When the sender fails, which is how a fenced worker ends, aiokafka gives the manager the error
    for whoever waits for the transaction. Without one that is an AttributeError in a callback, and
    a traceback in the log beside the reason that counts.
    """
    transactions._transaction_waiter = asyncio.get_running_loop().create_future()
    transactions._transaction_waiter.add_done_callback(_take_note)


def _take_note(sent: asyncio.Future[Any]) -> None:
    """Reads the error of a batch whose waiter has gone, so that Python does not report it again.

    Whoever waits gets it; that nobody waits any more has been reported as an error of its own.
    """
    if not sent.cancelled():
        sent.exception()


class BatchTransport(HookedTransport):
    """Makes the consumer and the producer of a worker; set with `app.transport = ...`."""

    Consumer = BatchConsumer
    Producer = BatchProducer

    def __init__(self, url: Any, app: AppT, hooks: ConsumerHooks) -> None:
        super().__init__(url, app)
        self.hooks = hooks
        self.consumer: BatchConsumer | None = None  # None until Faust asks for it

    def create_consumer(self, callback: Any, **options: Any) -> ConsumerT:
        """Returns the consumer, and remembers it."""
        self.consumer = cast(BatchConsumer, super().create_consumer(callback, **options))
        return self.consumer

"""The counting job: reads the clickstream, counts (stream/popularity.py), publishes snapshots for the workers.

It has no consumer group and commits nothing: a snapshot holds the offsets that it counted up to, and the next start goes on there.
So nothing is counted twice or left out, whenever the job ends. New partitions of the clickstream are seen at the next start.
"""

from __future__ import annotations

import asyncio
import logging
import time
from typing import Any, Final

from aiokafka import AIOKafkaConsumer, AIOKafkaProducer, TopicPartition
from aiokafka.errors import KafkaError, OffsetOutOfRangeError

from stream.config import Settings
from stream.errors import BrokerError, TopicError
from stream.events import Limits
from stream.kafka_client import client_options, start_client
from stream.popularity import Counts, Snapshot, decode, encode, read_events, where_to_start
from stream.subscribe import open_consumer, partitions_of, seek_to_last
from stream.topics import create_topic

log = logging.getLogger("interest_stream")

POLL_MS: Final = 500
"""Longest wait for events; the job hears that it is to stop, and that a snapshot is due, that much later."""

RECORDS: Final = 20_000
"""At a time: large enough to read fast, small enough to hear of the same."""


async def newest_snapshot(settings: Settings) -> Snapshot | None:
    """What workers score with now; None if there is none yet. Raises BrokerError, TopicError, DataError."""
    consumer = await open_consumer(settings)
    try:
        return await _newest(consumer, settings)
    except KafkaError as error:
        raise _refused(settings, error) from error
    finally:
        await consumer.stop()


async def count_forever(
    settings: Settings, every_s: float, stop: asyncio.Event, *, once: bool = False
) -> Snapshot | None:
    """Count until told to stop, or `once`: up to the end that the topic has now. The last snapshot, None if nothing was ever counted.

    Publishes one when it has caught up, every `every_s` if something was counted since, and at the end.
    Raises BrokerError, TopicError, DataError.
    """
    # no reset: a position that the topic does not hold is something to say, not to jump over
    consumer = await open_consumer(settings, auto_offset_reset="none")
    try:
        source = await partitions_of(consumer, settings.source_topic)
        if settings.popularity_topic not in await consumer.topics():
            await create_topic(settings, settings.popularity_topic)
            log.info("topic %s created", settings.popularity_topic)
        newest = await _newest(consumer, settings)
        producer = AIOKafkaProducer(
            acks="all",
            enable_idempotence=True,
            compression_type=None if settings.compression == "none" else settings.compression,
            **client_options(settings),
        )
        await start_client(producer, settings)
        try:
            counting = _Counting(settings, consumer, producer, source, newest)
            await counting.run(every_s, stop, once)
            return counting.published
        finally:
            await producer.stop()
    except KafkaError as error:
        raise _refused(settings, error) from error
    finally:
        await consumer.stop()


class _Counting:
    """One run of the job, from a snapshot on."""

    def __init__(
        self,
        settings: Settings,
        consumer: AIOKafkaConsumer,
        producer: AIOKafkaProducer,
        source: list[TopicPartition],
        newest: Snapshot | None,
    ) -> None:
        self._settings = settings
        self._consumer = consumer
        self._producer = producer
        self._source = source
        self._limits = Limits(settings.max_value_bytes, settings.max_text_bytes, settings.max_future_s)
        self._counts = Counts() if newest is None else Counts.of(newest)
        self._offsets: dict[int, int] = {} if newest is None else dict(newest.offsets)
        self._counted = 0  # since the last snapshot
        self._bad = 0
        self.published = newest

    async def run(self, every_s: float, stop: asyncio.Event, once: bool) -> None:
        """Until told to stop, or caught up."""
        left, due, caught_up = await self._begin(), time.monotonic() + every_s, False
        while not (stop.is_set() or (once and caught_up)):
            try:
                fetched = await self._consumer.getmany(timeout_ms=POLL_MS, max_records=RECORDS)
            except OffsetOutOfRangeError:
                left = await self._begin()
                continue
            for partition, records in fetched.items():
                self._count(partition.partition, records)
            left = {each: end for each, end in left.items() if await self._consumer.position(each) < end}
            arrived = not (left or caught_up)
            if (arrived or time.monotonic() >= due) and await self._publish():
                due = time.monotonic() + every_s
            if arrived:
                caught_up = True
                log.info(
                    "caught up with %s: %d events counted in all", self._settings.source_topic, self._counts.events
                )
        await self._publish()

    async def _begin(self) -> dict[TopicPartition, int]:
        """Seek to where counting goes on; the partitions that hold something to count, and where each ends now."""
        begins = await self._consumer.beginning_offsets(self._source)
        ends = await self._consumer.end_offsets(self._source)
        start = where_to_start(
            self._offsets,
            {each.partition: offset for each, offset in begins.items()},
            {each.partition: offset for each, offset in ends.items()},
        )
        if start.warning:
            log.warning("%s: %s", self._settings.source_topic, start.warning)
        if start.anew:
            self._counts, self._counted = Counts(), 0
        self._offsets = start.offsets
        self._consumer.assign(self._source)
        for each in self._source:
            self._consumer.seek(each, start.offsets[each.partition])
        return {each: end for each, end in ends.items() if start.offsets[each.partition] < end}

    def _count(self, partition: int, records: list[Any]) -> None:
        item_ids, times, bad = read_events(records, self._limits)
        self._counts.add(item_ids, times)
        self._offsets[partition] = records[-1].offset + 1
        self._counted += len(item_ids)
        self._bad += bad

    async def _publish(self) -> bool:
        """Whether there was something to say."""
        if not self._counted:
            return False
        topic, snapshot = self._settings.popularity_topic, self._counts.snapshot(self._offsets)
        value = encode(snapshot)
        await self._producer.send_and_wait(topic, value, key=self._settings.source_topic.encode(), partition=0)
        log.info(
            "snapshot published: %d events more, %d in all, %d items, %d bytes; %d records were no events and not counted",
            self._counted,
            snapshot.events,
            len(snapshot.items),
            len(value),
            self._bad,
        )
        self.published, self._counted, self._bad = snapshot, 0, 0
        return True


async def _newest(consumer: AIOKafkaConsumer, settings: Settings) -> Snapshot | None:
    """The last record of the popularity topic. Compaction keeps it whatever else it removes."""
    partitions = await partitions_of(consumer, settings.popularity_topic)
    if len(partitions) != 1:
        raise TopicError(
            f"topic {settings.popularity_topic} has {len(partitions)} partitions, it must have 1; "
            "name another with --popularity-topic, it will be created"
        )
    (partition,) = partitions
    end = await seek_to_last(consumer, partition)
    records: list[Any] = []
    while not records and await consumer.position(partition) < end:
        records = (await consumer.getmany(timeout_ms=POLL_MS)).get(partition, [])
    if not records:
        return None
    if records[-1].key != settings.source_topic.encode():
        raise TopicError(
            f"topic {settings.popularity_topic} holds the popularity of {(records[-1].key or b'?').decode(errors='replace')}, not of "
            f"{settings.source_topic}; name another with --popularity-topic"
        )
    return decode(records[-1].value)


def _refused(settings: Settings, error: KafkaError) -> BrokerError:
    return BrokerError(
        f"Kafka refused to read {settings.source_topic} or to read and write {settings.popularity_topic} ({type(error).__name__}: "
        f"{error}); the last snapshot holds, start again. The runbook has the table of rights"
    )

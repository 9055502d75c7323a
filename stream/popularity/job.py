"""Reads the clickstream, counts what was met and publishes snapshots of it for the workers.

The job has no consumer group and commits nothing: a snapshot holds the offsets that it counted up
to, and the next start goes on there. So nothing is counted twice or left out, whenever the job
ends. New partitions of the clickstream are seen at the next start.
"""

from __future__ import annotations

import asyncio
import logging
import time
from typing import Any, Final

from aiokafka import AIOKafkaConsumer, AIOKafkaProducer, TopicPartition
from aiokafka.errors import KafkaError, OffsetOutOfRangeError

from stream.config import Settings
from stream.contracts.event import limits_of
from stream.errors import BrokerError, TopicError
from stream.formats.registry import source_format
from stream.kafka.client import open_producer
from stream.kafka.consumer import open_consumer, partitions_of, seek_to_last
from stream.kafka.topic_identity import shapes
from stream.kafka.topics import create_topic
from stream.plain_text import plain
from stream.popularity.counts import Counts, Snapshot, decode, encode, read_events, where_to_start
from stream.schema_registry.schemas import schemas_of

log = logging.getLogger("interest_stream")

POLL_MS: Final = 500
"""Longest wait for events; so much later the job sees that it is to stop, or a snapshot is due."""

RECORDS: Final = 20_000
"""At a time: enough to read fast, few enough to see the same in time."""


async def newest_snapshot(settings: Settings) -> Snapshot | None:
    """Returns the snapshot that workers score with now, None if there is none yet.

    Raises BrokerError, TopicError, DataError.
    """
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
    """Counts until `stop` is set and returns the last snapshot, None if nothing was ever counted.

    With `once` it ends at the end that the topic has now. It publishes a snapshot when it has
    caught up, every `every_s` if something was counted since, and at the end.
    Raises BrokerError, TopicError, DataError.
    """
    # no reset: where the topic does not hold a position, that must be logged, not skipped
    consumer = await open_consumer(settings, auto_offset_reset="none")
    try:
        source = await partitions_of(consumer, settings.source_topic)
        if settings.popularity_topic not in await consumer.topics():
            await create_topic(settings, settings.popularity_topic)
            log.info("topic %s created", settings.popularity_topic)
        newest = _usable(await _newest(consumer, settings), settings, int(time.time() * 1000))
        compression = None if settings.compression == "none" else settings.compression
        producer = await open_producer(settings, compression_type=compression)
        try:
            run = _CountingRun(settings, consumer, producer, source, newest)
            await run.until(stop, every_s, once)
            return run.published
        finally:
            await producer.stop()
    except KafkaError as error:
        raise _refused(settings, error) from error
    finally:
        await consumer.stop()


class _CountingRun:
    """Holds the counts and offsets of one run of the job, which begins where a snapshot ended."""

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
        self._limits = limits_of(settings)
        self._format = source_format(settings)
        self._schemas = schemas_of(self._format, settings)
        self._control_key = settings.control_key()
        self._counts = Counts(newest, settings.popularity_min_users)
        self._offsets: dict[int, int] = {} if newest is None else dict(newest.offsets)
        self._topic_id = "" if newest is None else newest.topic_id
        self._counted = 0  # since the last snapshot
        self._bad = 0
        self._ahead = 0
        self.published = newest

    async def until(self, stop: asyncio.Event, every_s: float, once: bool) -> None:
        """Counts and publishes until `stop` is set, or with `once` until it has caught up."""
        left, due, caught_up = await self._begin(), time.monotonic() + every_s, False
        while not (stop.is_set() or (once and caught_up)):
            try:
                fetched = await self._consumer.getmany(timeout_ms=POLL_MS, max_records=RECORDS)
            except OffsetOutOfRangeError:  # retention was faster, or the topic was made again
                left = await self._begin()
                continue
            for partition, records in fetched.items():
                if await self._schemas.know(records, lambda: not stop.is_set()):
                    self._count(partition.partition, records)

            # Publish when the end that the topic had at the start is reached, then on time.
            left = {
                each: end for each, end in left.items() if await self._consumer.position(each) < end
            }
            arrived = not (left or caught_up)
            if self._counted and (arrived or time.monotonic() >= due):
                # What mixes a topic with another one of its name is not published.
                if await self._is_replaced():
                    left = await self._begin()
                    continue
                await self._publish()
                due = time.monotonic() + every_s
            if arrived:
                caught_up = True
                log.info(
                    "caught up with %s: %d events counted in all",
                    self._settings.source_topic,
                    self._counts.events,
                )
        await self._schemas.close()
        if self._counted and not await self._is_replaced():
            await self._publish()

    async def _begin(self) -> dict[TopicPartition, int]:
        """Seeks to where counting goes on; returns the ends of partitions with more to count."""
        begins = await self._consumer.beginning_offsets(self._source)
        ends = await self._consumer.end_offsets(self._source)
        start = where_to_start(
            self._offsets,
            {each.partition: offset for each, offset in begins.items()},
            {each.partition: offset for each, offset in ends.items()},
            replaced=await self._is_replaced(),
        )
        self._topic_id = await self._id_now() or self._topic_id
        if start.warning:
            log.warning("%s: %s", self._settings.source_topic, start.warning)
        if start.anew:
            self._counts, self._counted = Counts(None, self._settings.popularity_min_users), 0
        self._offsets = start.offsets
        self._consumer.assign(self._source)
        for each in self._source:
            self._consumer.seek(each, start.offsets[each.partition])
        return {each: end for each, end in ends.items() if start.offsets[each.partition] < end}

    async def _id_now(self) -> str:
        """Returns the id of the topic that has the name now, "" where the broker does not say."""
        found = await shapes(self._consumer, [self._settings.source_topic])
        shape = found.get(self._settings.source_topic)
        return "" if shape is None else shape.topic_id

    async def _is_replaced(self) -> bool:
        """Returns whether the offsets are those of another topic of this name."""
        return bool(self._topic_id) and await self._id_now() not in ("", self._topic_id)

    def _count(self, partition: int, records: list[Any]) -> None:
        """Counts the records of a partition and moves its offset behind them."""
        met = read_events(
            records, self._limits, int(time.time() * 1000), self._control_key, self._format
        )
        self._counts.forget(met.erased)
        self._counts.add(met.item_ids, met.times_ms, met.users)
        self._offsets[partition] = records[-1].offset + 1
        self._counted += len(met.item_ids)
        self._bad += met.bad
        self._ahead += met.ahead

    async def _publish(self) -> None:
        """Publishes a snapshot of what was counted."""
        topic, snapshot = (
            self._settings.popularity_topic,
            self._counts.snapshot(self._offsets, self._topic_id),
        )
        value = encode(snapshot)
        await self._producer.send_and_wait(
            topic, value, key=self._settings.source_topic.encode(), partition=0
        )
        log.info(
            "snapshot published: %d events more, %d in all, %d items, %d bytes; "
            "%d records were no events, %d were ahead of this machine's clock: not counted",
            self._counted,
            snapshot.events,
            len(snapshot.items),
            len(value),
            self._bad,
            self._ahead,
        )
        self.published, self._counted, self._bad, self._ahead = snapshot, 0, 0, 0


async def _newest(consumer: AIOKafkaConsumer, settings: Settings) -> Snapshot | None:
    """Returns the snapshot in the last record of its topic, which compaction always keeps."""
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
        decode(records[-1].value)  # what is no snapshot is told without its key
        held = plain((records[-1].key or b"?").decode(errors="replace"))
        raise TopicError(
            f"topic {settings.popularity_topic} holds the popularity of {held}, "
            f"not of {settings.source_topic}; name another with --popularity-topic"
        )
    return decode(records[-1].value)


def _usable(newest: Snapshot | None, settings: Settings, now_ms: int) -> Snapshot | None:
    """Returns a snapshot unless its clock is ahead, or it lists items that too few users met.

    Beside counts of a clock ahead no event of now weighs.
    """
    if newest is None:
        return None
    if newest.min_users < settings.popularity_min_users:
        log.warning(
            "the newest snapshot in %s lists items that %d users met, popularity_min_users is %d: "
            "counting anew, from the beginning of what is there",
            settings.popularity_topic,
            newest.min_users,
            settings.popularity_min_users,
        )
        return None
    if newest.as_of <= now_ms + settings.max_future_s * 1000:
        return newest
    log.warning(
        "the newest snapshot in %s is of %d, ahead of this machine's clock (%d): "
        "events dated ahead were counted in it; counting anew",
        settings.popularity_topic,
        newest.as_of,
        now_ms,
    )
    return None


def _refused(settings: Settings, error: KafkaError) -> BrokerError:
    return BrokerError(
        f"Kafka refused to read {settings.source_topic} "
        f"or to read and write {settings.popularity_topic} ({type(error).__name__}: {error}); "
        "the last snapshot holds, start again. The runbook has the table of rights"
    )

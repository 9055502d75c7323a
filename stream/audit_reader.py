"""Reads what the audit compares: whole topics, from the broker, with a plain consumer of its own."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable
from typing import Any

from aiokafka import AIOKafkaConsumer, TopicPartition

from stream.audit import Changelog, Letter, Replay, compare, compare_dead_letters
from stream.audit_events import Limits
from stream.config import Settings
from stream.errors import TopicError
from stream.kafka_client import client_options, start_client

Progress = Callable[[str, int, int], None]
"""Called as (what, done, total)."""

ORIGIN = "is.origin"
SOURCE_HEADERS = ("is.dlq.topic", "is.dlq.partition", "is.dlq.offset")


async def audit(settings: Settings, progress: Progress = lambda *_: None) -> dict[str, Any]:
    """Read the input topic, the changelog and the dead letters, and compare. Raises BrokerError, TopicError."""
    consumer = AIOKafkaConsumer(group_id=settings.app_id, enable_auto_commit=False, **client_options(settings))
    await start_client(consumer, settings)
    try:
        source, topic = await _partitions(consumer, settings.source_topic), settings.source_topic
        committed = {each.partition: await consumer.committed(each) or 0 for each in source}
        changelog = Changelog()
        async for record in _read(consumer, settings.changelog_topic, progress):
            changelog.add(record.partition, record.offset, record.key, record.value)
        replay = Replay(Limits(settings.max_value_bytes, settings.max_text_bytes, settings.max_future_s))
        async for record in _read(consumer, topic, progress):
            replay.add(
                record.partition, record.offset, record.key, record.value, record.timestamp, _origin(record.headers)
            )
        letters = await _dead_letters(consumer, settings, progress)
        starts = await consumer.beginning_offsets(source)
    finally:
        await consumer.stop()
    report = compare(
        replay, changelog, committed, topic, {each.partition: begin for each, begin in starts.items()}
    ) | compare_dead_letters(replay, letters, committed)
    report["clean"] = report["clean"] and not (
        report["dead_letters_missing"] or report["dead_letters_changed"] or report["dead_letters_of_valid"]
    )
    report["committed"] = sum(committed.values())
    report["deleted_by_retention"] = sum(starts.values())
    return report


async def _dead_letters(
    consumer: AIOKafkaConsumer, settings: Settings, progress: Progress
) -> dict[tuple[int, int], Letter]:
    letters = {}
    async for record in _read(consumer, settings.dead_letters_topic, progress):
        headers = dict(record.headers)
        topic, partition, offset = (headers.get(name, b"").decode() for name in SOURCE_HEADERS)
        if topic == settings.source_topic:
            letters[int(partition), int(offset)] = Letter(record.key, record.value, headers)
    return letters


def _origin(headers: Any) -> str | None:
    """What stands in for a missing event_id after --rekey."""
    return next(
        (value.decode("utf-8", "backslashreplace") for name, value in headers if name == ORIGIN and value), None
    )


async def _read(consumer: AIOKafkaConsumer, topic: str, progress: Progress) -> AsyncIterator[Any]:
    """Every record of a topic up to its end now, each partition in order."""
    partitions = await _partitions(consumer, topic)
    ends, begins = await consumer.end_offsets(partitions), await consumer.beginning_offsets(partitions)
    consumer.assign(partitions)
    await consumer.seek_to_beginning(*partitions)
    left = {each for each in partitions if begins[each] < ends[each]}
    total, done = sum(ends.values()) - sum(begins.values()), 0
    while left:
        fetched = await consumer.getmany(*left, timeout_ms=500, max_records=20_000)
        for records in fetched.values():
            for record in records:
                yield record
            done += len(records)
        left = {each for each in left if await consumer.position(each) < ends[each]}
        progress(topic, done, total)


async def _partitions(consumer: AIOKafkaConsumer, topic: str) -> list[TopicPartition]:
    if topic not in await consumer.topics():
        raise TopicError(f"topic {topic} does not exist; check --app-id and --events-topic")
    await consumer._client._wait_on_metadata(topic)
    return [TopicPartition(topic, each) for each in sorted(consumer.partitions_for_topic(topic) or ())]

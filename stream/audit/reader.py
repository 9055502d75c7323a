"""Reads from Kafka what the audit compares: whole topics, with a plain consumer of its own."""

from __future__ import annotations

import time
from collections.abc import AsyncIterator, Callable
from typing import Any, Final

from aiokafka import AIOKafkaConsumer

from stream.audit.changelog import Changelog
from stream.audit.compare import compare
from stream.audit.dead_letters import DeadLetter, compare_dead_letters, letter_of
from stream.audit.documents import FramedShape, Shape
from stream.audit.event_rules import Limits
from stream.audit.framed import Frames
from stream.audit.replay import Replay
from stream.audit.shapes import shape_of
from stream.config import Settings
from stream.kafka.consumer import open_consumer, partitions_of
from stream.schema_registry.schemas import AnySchemas, NoSchemas, Schemas

Progress = Callable[[str, int, int], None]
"""Called as (topic, records read, records in all)."""

ADVICE: Final = "check --app-id and --events-topic"
ORIGIN: Final = "is.origin"
REASON: Final = "is.dlq.reason"
UNKNOWN_SCHEMA: Final = b"unknown-schema"


async def audit(settings: Settings, progress: Progress = lambda *_: None) -> dict[str, Any]:
    """Returns the report on the input topic, the changelog and the dead letters.

    `clean` in it is true if they do not differ; `not_committed` counts the events read that are not
    committed even at the end. Raises BrokerError, TopicError.
    """
    topic = settings.source_topic
    # with the workers' group, whose committed offsets are needed; it is not joined
    consumer = await open_consumer(settings, group_id=settings.app_id)
    try:
        source = await partitions_of(consumer, topic, ADVICE)
        committed = {each.partition: await consumer.committed(each) or 0 for each in source}

        # The states and the dead letters first, then the events that should be in either.
        changelog = Changelog()
        async for record in _read(consumer, settings.changelog_topic, progress):
            changelog.add(record.partition, record.offset, record.key, record.value)
        letters = await _dead_letters(consumer, settings, progress)

        limits = Limits(
            settings.max_value_bytes,
            settings.max_text_bytes,
            settings.max_future_s,
            settings.late_window_ms,
            settings.user_ttl_ms,
            settings.control_key(),
        )
        shape = shape_of(settings)
        replay = Replay(limits, changelog, committed, int(time.time() * 1000), shape)
        schemas = _schemas_of(shape, settings)
        places: dict[tuple[int, ...], list[tuple[int, ...]]] = {}
        for place in letters:
            places.setdefault(place[:2], []).append(place)
        async for record in _read(consumer, topic, progress, schemas):
            for place in places.get((record.partition, record.offset), ()):
                if not letters[place].may_be_of(record.timestamp):
                    del letters[place]  # of an earlier topic of this name
                elif letters[place].headers.get(REASON) == UNKNOWN_SCHEMA:
                    replay.refused.add(place)  # what a registry did not know then is not asked now
            replay.add(
                record.partition,
                record.offset,
                record.key,
                record.value,
                record.timestamp,
                _origin(record.headers),
                record.headers,
            )

        begins = await consumer.beginning_offsets(source)
        # what is not committed by now came while the audit read, or nobody applies it
        now = {each.partition: await consumer.committed(each) or 0 for each in source}
    finally:
        await consumer.stop()
    await schemas.close()
    begin_of = {each.partition: begin for each, begin in begins.items()}
    report = compare(replay, changelog, committed, topic, begin_of)
    report |= compare_dead_letters(replay, letters, committed)
    report["clean"] = report["clean"] and not (
        report["dead_letters_missing"]
        or report["dead_letters_changed"]
        or report["dead_letters_of_valid"]
    )
    report["committed"] = sum(committed.values())
    report["not_committed"] = sum(
        max(0, end - now.get(partition, 0)) for partition, end in replay.ends.items()
    )
    report["deleted_by_retention"] = sum(begins.values())
    return report


async def _dead_letters(
    consumer: AIOKafkaConsumer, settings: Settings, progress: Progress
) -> dict[tuple[int, ...], DeadLetter]:
    """Returns the dead letters of the input topic, by partition and offset of the original.

    What other services park in the same topic is left out.
    """
    letters: dict[tuple[int, ...], DeadLetter] = {}
    async for record in _read(consumer, settings.dead_letters_topic, progress):
        found = letter_of(record.key, record.value, record.headers, settings.source_topic)
        if found is not None:
            place, letter = found
            letters[place] = letter
    return letters


def _origin(headers: Any) -> str | None:
    """Returns what stands in for a missing event_id after --rekey, None if nothing does."""
    for name, value in headers:
        if name == ORIGIN and value:
            origin: str = value.decode("utf-8", "backslashreplace")
            return origin
    return None


def _schemas_of(shape: Shape | FramedShape | None, settings: Settings) -> AnySchemas:
    """Returns what fetches the schemas that the values of a shape name."""
    frames = shape.frames if isinstance(shape, FramedShape) else None
    return Schemas(settings, frames) if isinstance(frames, Frames) else NoSchemas()


async def _read(
    consumer: AIOKafkaConsumer,
    topic: str,
    progress: Progress,
    schemas: AnySchemas | None = None,
) -> AsyncIterator[Any]:
    """Yields every record of a topic up to the end that it has now, each partition in order.

    The schemas that they name are known by then, if `schemas` are given.
    """
    partitions = await partitions_of(consumer, topic, ADVICE)
    ends = await consumer.end_offsets(partitions)
    begins = await consumer.beginning_offsets(partitions)
    consumer.assign(partitions)
    await consumer.seek_to_beginning(*partitions)
    left = {each for each in partitions if begins[each] < ends[each]}
    total, done = sum(ends.values()) - sum(begins.values()), 0
    while left:
        fetched = await consumer.getmany(*left, timeout_ms=500, max_records=20_000)
        for records in fetched.values():
            if schemas is not None:
                await schemas.know(records)
            for record in records:
                yield record
            done += len(records)
        left = {each for each in left if await consumer.position(each) < ends[each]}
        progress(topic, done, total)

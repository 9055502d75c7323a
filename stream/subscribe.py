"""Reading what the pipeline publishes: updates as they come, the profile and the state of one user."""

from __future__ import annotations

from collections.abc import AsyncIterator
from dataclasses import dataclass
from typing import Any

import orjson
from aiokafka import AIOKafkaConsumer, TopicPartition
from aiokafka.partitioner import murmur2

from models.compact import ACTIONS, QUERY, text_of
from stream.config import Settings
from stream.errors import TopicError
from stream.kafka_client import client_options, start_client
from stream.state import Record, decode_record


async def open_consumer(settings: Settings, **options: Any) -> AIOKafkaConsumer:
    """A started consumer without a group. Raises BrokerError."""
    options = {"fetch_max_wait_ms": 100, **options, **client_options(settings)}
    consumer = AIOKafkaConsumer(enable_auto_commit=False, **options)
    await start_client(consumer, settings)
    return consumer


async def partitions_of(consumer: AIOKafkaConsumer, topic: str) -> list[TopicPartition]:
    """All partitions of a topic. Raises TopicError."""
    if topic not in await consumer.topics():
        raise TopicError(f"topic {topic} does not exist; create it with 'interest-stream topics create'")
    await consumer._client._wait_on_metadata(topic)
    return [TopicPartition(topic, each) for each in sorted(consumer.partitions_for_topic(topic) or ())]


async def seek_to_last(consumer: AIOKafkaConsumer, partition: TopicPartition) -> int:
    """Assign a partition, at its last record; the offset after that (nothing is left to read where there is none)."""
    begin = (await consumer.beginning_offsets([partition]))[partition]
    end: int = (await consumer.end_offsets([partition]))[partition]
    consumer.assign([partition])
    consumer.seek(partition, max(begin, end - 1))
    return end


async def updates(
    settings: Settings, *, from_beginning: bool = False, user: str | None = None
) -> AsyncIterator[dict[str, Any]]:
    """Interest updates, for ever; of one user if asked. Raises BrokerError, TopicError."""
    consumer = await open_consumer(settings)
    try:
        partitions = await partitions_of(consumer, settings.updates_topic)
        consumer.assign(partitions)
        await (consumer.seek_to_beginning if from_beginning else consumer.seek_to_end)(*partitions)
        key = None if user is None else user.encode()
        async for record in consumer:
            if key is None or record.key == key:
                yield orjson.loads(record.value)
    finally:
        await consumer.stop()


@dataclass(frozen=True, slots=True)
class Held:
    """What is held about one user."""

    state: Record | None
    state_bytes: int
    profile: dict[str, Any] | None
    partition: int


async def look_up(settings: Settings, user: str) -> Held:
    """The newest state and profile of a user, from their compacted topics. Raises BrokerError, TopicError.

    Only the partition where Kafka's default partitioner puts the user is read; if nothing is there, all are.
    """
    consumer = await open_consumer(settings)
    try:
        key = user.encode()
        states = await partitions_of(consumer, settings.changelog_topic)
        profiles = await partitions_of(consumer, settings.profiles_topic)
        expected = (murmur2(key) & 0x7FFFFFFF) % len(states)
        found = await _last(consumer, [states[expected]], key)
        if found is None:
            found = await _last(consumer, states, key)
        latest = await _last(consumer, profiles, key)
    finally:
        await consumer.stop()
    return Held(
        decode_record(found.value) if found is not None and found.value is not None else None,
        len(found.value) if found is not None and found.value is not None else 0,
        orjson.loads(latest.value) if latest is not None and latest.value is not None else None,
        found.partition if found is not None else expected,
    )


async def _last(consumer: AIOKafkaConsumer, partitions: list[TopicPartition], key: bytes) -> Any:
    """The last record of a key, None if there is none."""
    ends, begins = await consumer.end_offsets(partitions), await consumer.beginning_offsets(partitions)
    left = [each for each in partitions if begins[each] < ends[each]]
    if not left:
        return None
    consumer.assign(left)
    await consumer.seek_to_beginning(*left)
    found = None
    while left:
        for records in (await consumer.getmany(*left, timeout_ms=500)).values():
            for record in records:
                if record.key == key:
                    found = record
        left = [each for each in left if await consumer.position(each) < ends[each]]
    return found


def recent_events(state: Record) -> list[dict[str, Any]]:
    """The recent events of a state, newest first, in the words of the contract."""
    events = []
    for key, _, time_ms, action, kind, text in state.recent.tolist():
        words = "query" if kind == QUERY else "item or title"
        events.append({"time": time_ms, "action": ACTIONS[action], words: text_of(text), "key": f"{key:016x}"})
    return events

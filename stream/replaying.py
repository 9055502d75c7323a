"""Dead letters read back, and sent again as what they were once the cause is mended. What is chosen is pure, the shell reads and sends.

A dead letter sent again is a new event at the end of its topic: the original key, value and headers, and beside them

    is.replay   which dead letter it is: topic-partition-offset of the original record
    is.origin   the same, unless the original has one: the decoder takes it as event_id of an event that has none

A dead letter is sent once: those whose `is.replay` is in the events topic already are left out, so the command can be repeated after it was
interrupted. What is refused again becomes a dead letter that carries `is.replay`; it is left out too, or replaying would never end.
"""

from __future__ import annotations

import asyncio
from collections import Counter, defaultdict
from collections.abc import AsyncIterator, Collection, Iterable
from dataclasses import dataclass, field
from typing import Any, Final

from aiokafka import AIOKafkaConsumer, AIOKafkaProducer, TopicPartition
from aiokafka.errors import KafkaError

from stream.config import Settings
from stream.dead_letters import PREFIX, PREVIOUS
from stream.errors import DataError, PublishError
from stream.events import ORIGIN_HEADER
from stream.kafka_client import client_options, start_client
from stream.subscribe import open_consumer, partitions_of

REPLAY_HEADER: Final = "is.replay"
SEND_TIMEOUT_S: Final = 60.0

Headers = list[tuple[str, bytes | None]]


@dataclass(frozen=True, slots=True)
class Parked:
    """One dead letter. `cut`: it was too large to be kept, the original can only be read where it was."""

    topic: str
    partition: int
    offset: int
    reason: str
    message: str
    parked_at_ms: int
    key: bytes | None
    value: bytes | None
    headers: Headers
    cut: bool
    replay_of: str | None  # this dead letter is of a record that was sent again already

    @property
    def place(self) -> str:
        """Where the original was, as the headers of a replay name it."""
        return f"{self.topic}-{self.partition}-{self.offset}"


@dataclass(slots=True)
class Selection:
    """What is to be sent again, and why the rest is not: a count by words."""

    chosen: list[Parked] = field(default_factory=list)
    left_out: Counter[str] = field(default_factory=Counter)


def parse(record: Any) -> Parked:
    """A record of the dead-letter topic. Raises DataError if its headers do not say where it came from."""
    facts = {
        name.removeprefix(PREFIX): (value or b"").decode(errors="replace")
        for name, value in record.headers
        if name.startswith(PREFIX) and not name.startswith(PREVIOUS)
    }
    own: Headers = [
        (PREFIX + name.removeprefix(PREVIOUS) if name.startswith(PREVIOUS) else name, value)
        for name, value in record.headers
        if name.startswith(PREVIOUS) or not name.startswith(PREFIX)
    ]
    try:
        partition, offset = int(facts["partition"]), int(facts["offset"])
        topic, reason = facts["topic"], facts["reason"]
    except (KeyError, ValueError):
        raise DataError(
            f"record {record.offset} of partition {record.partition} is no dead letter: its headers {PREFIX}topic, "
            f"{PREFIX}partition, {PREFIX}offset and {PREFIX}reason do not say what it was; is --dead-letters-topic right?"
        ) from None
    replay_of = next((value.decode(errors="replace") for name, value in own if name == REPLAY_HEADER and value), None)
    cut = any(name.endswith("-sha256") for name in facts)
    parked_at_ms = int(facts["time"]) if facts.get("time", "").isdecimal() else record.timestamp
    message = facts.get("message", "")
    return Parked(
        topic, partition, offset, reason, message, parked_at_ms, record.key, record.value, own, cut, replay_of
    )


def matching(
    letters: Iterable[Parked], reasons: Collection[str], since_ms: int | None, until_ms: int | None
) -> list[Parked]:
    """Of each original the newest dead letter, if reason and time of parking fit; oldest first. No reasons: all of them."""
    newest = {letter.place: letter for letter in letters}  # after a crash a worker may have parked one twice
    found = [
        letter
        for letter in newest.values()
        if (not reasons or letter.reason in reasons)
        and (since_ms is None or letter.parked_at_ms >= since_ms)
        and (until_ms is None or letter.parked_at_ms < until_ms)
    ]
    return sorted(found, key=lambda letter: letter.parked_at_ms)


def select(letters: Iterable[Parked], sent_before: Collection[str], topics: Collection[str]) -> Selection:
    """What is to be sent again to one of the topics; sent_before: places that were."""
    selection = Selection()
    for letter in letters:
        why_not = (
            "of a replay that was refused again"
            if letter.replay_of is not None
            else "sent again before"
            if letter.place in sent_before
            else "of another topic"
            if letter.topic not in topics
            else "too large to have been kept, read the original where it was"
            if letter.cut
            else ""
        )
        if why_not:
            selection.left_out[why_not] += 1
        else:
            selection.chosen.append(letter)
    return selection


def replayed(letter: Parked) -> tuple[bytes | None, bytes | None, Headers]:
    """Key, value and headers to send."""
    place = letter.place.encode()
    has_origin = any(name == ORIGIN_HEADER for name, _ in letter.headers)
    return (
        letter.key,
        letter.value,
        [*letter.headers, (REPLAY_HEADER, place), *([] if has_origin else [(ORIGIN_HEADER, place)])],
    )


def places_of(letters: Iterable[Parked], topic: str) -> dict[int, set[int]]:
    """Offsets of the bad records of a topic, by partition."""
    places: dict[int, set[int]] = defaultdict(set)
    for letter in letters:
        if letter.topic == topic:
            places[letter.partition].add(letter.offset)
    return places


async def read(settings: Settings) -> list[Parked]:
    """All dead letters there are now. Raises BrokerError, TopicError, DataError."""
    consumer = await open_consumer(settings)
    try:
        return [parse(record) async for record in _records(consumer, settings.dead_letters_topic, None)]
    finally:
        await consumer.stop()


async def sent_before(settings: Settings, letters: Collection[Parked]) -> set[str]:
    """Places of dead letters that are in their topic again. Reads it from the time of the oldest of these letters on."""
    if not letters:
        return set()
    since_ms = min(letter.parked_at_ms for letter in letters)
    consumer = await open_consumer(settings)
    try:
        found = set()
        for topic in sorted(own_topics(settings) & {letter.topic for letter in letters}):
            async for record in _records(consumer, topic, since_ms):
                found |= {(value or b"").decode() for name, value in record.headers if name == REPLAY_HEADER}
        return found
    finally:
        await consumer.stop()


async def send(settings: Settings, letters: Iterable[Parked]) -> int:
    """Send them again, in order; how many were acknowledged. Raises BrokerError, PublishError."""
    producer = AIOKafkaProducer(acks="all", enable_idempotence=True, linger_ms=5, **client_options(settings))
    await start_client(producer, settings)
    deliveries = []
    try:
        async with asyncio.timeout(SEND_TIMEOUT_S):
            for letter in letters:
                key, value, headers = replayed(letter)
                if key is None and value is None:  # `send` refuses that and Kafka does not
                    batch = producer.create_batch()
                    batch.append(timestamp=None, key=None, value=None, headers=headers)
                    deliveries.append(await producer.send_batch(batch, letter.topic, partition=letter.partition))
                    continue
                partition = letter.partition if key is None else None
                deliveries.append(await producer.send(letter.topic, value, key, partition, None, headers))
            await asyncio.gather(*deliveries)
    except (KafkaError, TimeoutError) as error:
        done = sum(each.done() and not each.exception() for each in deliveries)
        raise PublishError(
            f"{done} were sent again, then Kafka refused: {str(error) or type(error).__name__}; repeat the command, "
            "what was sent is left out"
        ) from error
    finally:
        await producer.stop()
    return len(deliveries)


def own_topics(settings: Settings) -> set[str]:
    """Where the dead letters of this pipeline come from."""
    return {settings.events_topic, settings.source_topic}


async def _records(consumer: AIOKafkaConsumer, topic: str, since_ms: int | None) -> AsyncIterator[Any]:
    """Every record from a time on up to the end now, partition after partition."""
    for partition in await partitions_of(consumer, topic):
        end = (await consumer.end_offsets([partition]))[partition]
        consumer.assign([partition])
        begin = await _begin(consumer, partition, since_ms, end)
        consumer.seek(partition, begin)
        while await consumer.position(partition) < end:
            for records in (await consumer.getmany(timeout_ms=500)).values():
                for record in records:
                    if record.offset < end:
                        yield record


async def _begin(consumer: AIOKafkaConsumer, partition: TopicPartition, since_ms: int | None, end: int) -> int:
    begin: int = (await consumer.beginning_offsets([partition]))[partition]
    if since_ms is None:
        return begin
    found = (await consumer.offsets_for_times({partition: since_ms}))[partition]
    return end if found is None else max(begin, found.offset)

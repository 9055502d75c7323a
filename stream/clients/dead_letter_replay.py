"""Reads dead letters back and sends them again as what they were, once the cause is mended.

A dead letter that is sent again is a new event at the end of its topic. It has the key, value and
headers of the original, and two headers more:

    is.replay   names the original record, as topic-partition-offset@timestamp: a topic that was
                deleted and created again has other records at the same places; and with #number a
                document of a record that held several
    is.origin   says the same, unless the original has one: the decoder takes it for the event_id
                of an event that has none

Earlier versions wrote no @timestamp there; such a replay counts for every record of its place.

A dead letter is sent once. Those whose `is.replay` is in the events topic already are left out, so
the command can be repeated after it was interrupted. What is refused again becomes a dead letter
that carries `is.replay`; it is left out too, or replaying would never end.

Other services may park their own records in the same topic. What is no dead letter of this project
is counted and left alone.

Which letters are sent is decided by pure functions; `read`, `sent_before` and `send` talk to Kafka.
"""

from __future__ import annotations

import asyncio
from collections import Counter, defaultdict
from collections.abc import AsyncIterator, Collection, Iterable
from dataclasses import dataclass, field
from typing import Any, Final

from aiokafka import AIOKafkaConsumer, TopicPartition
from aiokafka.errors import KafkaError

from stream.config import Settings
from stream.contracts.dead_letter import PREFIX, PREVIOUS
from stream.contracts.event import ORIGIN_HEADER
from stream.contracts.faults import UNREADABLE
from stream.errors import DataError, PublishError
from stream.kafka.client import open_producer
from stream.kafka.consumer import open_consumer, partitions_of

REPLAY_HEADER: Final = "is.replay"
SEND_TIMEOUT_S: Final = 60.0

Headers = list[tuple[str, bytes | None]]


@dataclass(frozen=True, slots=True)
class Parked:
    """Holds one dead letter, and what its headers say of the original record."""

    topic: str
    partition: int
    offset: int
    reason: str
    message: str
    parked_at_ms: int
    key: bytes | None
    value: bytes | None
    headers: Headers  # of the original
    cut: bool  # it was too large to be kept: the original can only be read where it was
    replay_of: str | None  # set if the record had been sent again already, before it was refused
    timestamp_ms: str = ""  # of the original; "" where it is not known
    document: str = ""  # its number, of a record that held several

    @property
    def place(self) -> str:
        """Returns where the original was."""
        place = f"{self.topic}-{self.partition}-{self.offset}"
        return f"{place}#{self.document}" if self.document else place

    @property
    def identity(self) -> str:
        """Returns what tells the original from all other records, as a replay's headers name it."""
        if not self.timestamp_ms:
            return self.place
        place, _, document = self.place.partition("#")
        return f"{place}@{self.timestamp_ms}" + (f"#{document}" if document else "")


@dataclass(frozen=True, slots=True)
class Letters:
    """Holds the dead letters of a topic, and how many records of it are none of ours."""

    parked: list[Parked]
    foreign: int


@dataclass(slots=True)
class Selection:
    """Holds the letters to send again, and why the others are not."""

    selected: list[Parked] = field(default_factory=list)
    left_out: Counter[str] = field(default_factory=Counter)  # letters by reason, in words


def parse(record: Any) -> Parked:
    """Reads a record of the dead-letter topic.

    Raises DataError if its headers do not say where it came from.
    """
    # What the worker added; then the headers of the original, those of an earlier visit included.
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
        if partition < 0 or offset < 0:
            raise ValueError("no place in a topic")
    except (KeyError, ValueError):
        raise DataError(
            f"record {record.offset} of partition {record.partition} is no dead letter: "
            f"its headers {PREFIX}topic, {PREFIX}partition, {PREFIX}offset and {PREFIX}reason "
            "do not say what it was; is --dead-letters-topic right?"
        ) from None
    replay_of = next(
        (value.decode(errors="replace") for name, value in own if name == REPLAY_HEADER and value),
        None,
    )
    cut = any(name.endswith("-sha256") for name in facts)
    parked_at_ms = int(facts["time"]) if facts.get("time", "").isdecimal() else record.timestamp
    return Parked(
        topic=topic,
        partition=partition,
        offset=offset,
        reason=reason,
        message=facts.get("message", ""),
        parked_at_ms=parked_at_ms,
        key=record.key,
        value=record.value,
        headers=own,
        cut=cut,
        replay_of=replay_of,
        timestamp_ms=facts.get("timestamp", ""),
        document=facts.get("document", ""),
    )


def matching(
    letters: Iterable[Parked], reasons: Collection[str], since_ms: int | None, until_ms: int | None
) -> list[Parked]:
    """Returns the newest dead letter of each original whose reason and time of parking fit.

    They are sorted by that time, oldest first. Without `reasons` all of them fit.
    """
    # After a crash a worker may have parked a record twice.
    newest = {letter.identity: letter for letter in letters}
    found = [
        letter
        for letter in newest.values()
        if (not reasons or letter.reason in reasons)
        and (since_ms is None or letter.parked_at_ms >= since_ms)
        and (until_ms is None or letter.parked_at_ms < until_ms)
    ]
    return sorted(found, key=lambda letter: letter.parked_at_ms)


def select(
    letters: Iterable[Parked], sent_before: Collection[str], topics: Collection[str]
) -> Selection:
    """Returns the letters to send again to one of the topics.

    `sent_before` holds the identities, or places, of those that were sent already.
    """
    selection = Selection()
    for letter in letters:
        if letter.replay_of is not None:
            selection.left_out["of a replay that was refused again"] += 1
        elif letter.identity in sent_before or letter.place in sent_before:
            selection.left_out["sent again before"] += 1
        elif letter.topic not in topics:
            selection.left_out["of another topic"] += 1
        elif letter.reason in UNREADABLE:
            selection.left_out["bytes that nobody could read, not a record"] += 1
        elif letter.cut:
            selection.left_out["too large to have been kept, read the original where it was"] += 1
        else:
            selection.selected.append(letter)
    return selection


def replayed(letter: Parked) -> tuple[bytes | None, bytes | None, Headers]:
    """Returns the key, value and headers to send."""
    identity = letter.identity.encode()
    headers: Headers = [*letter.headers, (REPLAY_HEADER, identity)]
    if all(name != ORIGIN_HEADER for name, _ in letter.headers):
        headers.append((ORIGIN_HEADER, identity))
    return letter.key, letter.value, headers


def places_of(letters: Iterable[Parked], topic: str) -> dict[int, set[int]]:
    """Returns the offsets of a topic's bad records, by partition.

    A record of which a document is bad is not one of them.
    """
    places: dict[int, set[int]] = defaultdict(set)
    for letter in letters:
        if letter.topic == topic and not letter.document:
            places[letter.partition].add(letter.offset)
    return places


async def read(settings: Settings) -> Letters:
    """Returns all dead letters there are now; raises BrokerError, TopicError."""
    consumer = await open_consumer(settings)
    parked, foreign = [], 0
    try:
        async for record in _records(consumer, settings.dead_letters_topic, None):
            try:
                parked.append(parse(record))
            except DataError:
                foreign += 1
        return Letters(parked, foreign)
    finally:
        await consumer.stop()


async def sent_before(settings: Settings, letters: Collection[Parked]) -> set[str]:
    """Returns the identities of those dead letters that are in their topic again.

    It reads the topics from the time on at which the oldest of these letters was parked.
    """
    if not letters:
        return set()
    since_ms = min(letter.parked_at_ms for letter in letters)
    consumer = await open_consumer(settings)
    try:
        found = set()
        for topic in sorted(own_topics(settings) & {letter.topic for letter in letters}):
            async for record in _records(consumer, topic, since_ms):
                found |= {
                    (value or b"").decode(errors="replace")
                    for name, value in record.headers
                    if name == REPLAY_HEADER
                }
        return found
    finally:
        await consumer.stop()


async def send(settings: Settings, letters: Iterable[Parked]) -> int:
    """Sends letters again in their order and returns how many were acknowledged.

    Raises BrokerError, PublishError.
    """
    producer = await open_producer(settings, linger_ms=5)
    deliveries = []
    try:
        async with asyncio.timeout(SEND_TIMEOUT_S):
            for letter in letters:
                key, value, headers = replayed(letter)
                if key is None and value is None:  # `send` refuses that and Kafka does not
                    batch = producer.create_batch()
                    batch.append(timestamp=None, key=None, value=None, headers=headers)
                    deliveries.append(
                        await producer.send_batch(batch, letter.topic, partition=letter.partition)
                    )
                    continue
                partition = letter.partition if key is None else None
                deliveries.append(
                    await producer.send(letter.topic, value, key, partition, None, headers)
                )
            await asyncio.gather(*deliveries)
    except (KafkaError, TimeoutError) as error:
        done = sum(each.done() and not each.exception() for each in deliveries)
        raise PublishError(
            f"{done} were sent again, then Kafka refused: {str(error) or type(error).__name__}; "
            "repeat the command, what was sent is left out"
        ) from error
    finally:
        await producer.stop()
    return len(deliveries)


def own_topics(settings: Settings) -> set[str]:
    """Returns the topics that the dead letters of this pipeline come from."""
    return {settings.events_topic, settings.source_topic}


async def _records(
    consumer: AIOKafkaConsumer, topic: str, since_ms: int | None
) -> AsyncIterator[Any]:
    """Yields every record from a time on up to the end now, one partition after the other."""
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


async def _begin(
    consumer: AIOKafkaConsumer, partition: TopicPartition, since_ms: int | None, end: int
) -> int:
    """Returns the first offset that is not older than `since_ms`, `end` if there is none."""
    begin: int = (await consumer.beginning_offsets([partition]))[partition]
    if since_ms is None:
        return begin
    found = (await consumer.offsets_for_times({partition: since_ms}))[partition]
    return end if found is None else max(begin, found.offset)

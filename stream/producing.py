"""Events onto the clickstream topic: idempotent, acks=all, paced, and counted by what was acknowledged."""

from __future__ import annotations

import asyncio
import time
from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

import msgspec
import orjson
from aiokafka import AIOKafkaProducer
from aiokafka.errors import KafkaError

from stream.config import Settings
from stream.errors import BrokerError, TopicError
from stream.events import Event, parse_time
from stream.kafka_client import check_reachable, client_options, quiet_aiokafka
from stream.simulate import Population
from stream.text_files import read_lines

IN_FLIGHT: Final = 20_000
"""Events sent and not yet acknowledged; more than that wait, so memory stays bounded."""


@dataclass(frozen=True, slots=True)
class Outgoing:
    """A record to send, and when its event happened (for --speed)."""

    key: bytes
    value: bytes
    time_ms: int


@dataclass(slots=True)
class Sent:
    """What became of the events."""

    sent: int = 0
    acknowledged: int = 0
    failed: int = 0
    seconds: float = 0.0
    partitions: Counter[int] = field(default_factory=Counter)
    last_offsets: dict[int, int] = field(default_factory=dict)
    error: str = ""
    interrupted: bool = False

    def as_json(self) -> dict[str, Any]:
        """For a program to read."""
        return {
            "sent": self.sent,
            "acknowledged": self.acknowledged,
            "failed": self.failed,
            "seconds": round(self.seconds, 2),
            "partitions": {str(partition): count for partition, count in sorted(self.partitions.items())},
            "last_offsets": {str(partition): offset for partition, offset in sorted(self.last_offsets.items())},
            "error": self.error,
            "interrupted": self.interrupted,
        }


@dataclass(frozen=True, slots=True)
class Pace:
    """At most `rate` events/s; or `speed` times the recorded time; or, with neither, as fast as Kafka takes them."""

    rate: float | None = None
    speed: float | None = None

    def due(self, number: int, time_ms: int, first_ms: int) -> float:
        """Seconds after the start at which event `number` is to be sent."""
        if self.rate:
            return number / self.rate
        if self.speed:
            return max(0, time_ms - first_ms) / 1000 / self.speed
        return 0.0


def of_events(chunks: Iterable[list[Event]]) -> Iterator[Outgoing]:
    """Events of files, encoded by the contract."""
    encoder = msgspec.json.Encoder()
    for events in chunks:
        for event in events:
            moment = event.time if isinstance(event.time, int) else parse_time(event.time)
            yield Outgoing(event.user_id.encode(), encoder.encode(event), moment)


def of_raw_lines(paths: Iterable[Path]) -> Iterator[Outgoing]:
    """Lines as they are, broken ones too; keyed by their user_id where they have one."""
    for path in paths:
        for _, line in read_lines(path):
            try:
                event = orjson.loads(line)
                key, moment = str(event["user_id"]).encode(), int(event["time"])
            except (ValueError, KeyError, TypeError):
                key, moment = b"unreadable", 0
            yield Outgoing(key, line, moment)


def of_population(users: int, seed: int) -> Iterator[Outgoing]:
    """An endless simulated population, in the present."""
    population = Population(users, seed)
    while True:
        now_ms = int(time.time() * 1000)
        event = population.next_event(now_ms).event
        yield Outgoing(event["user_id"].encode(), orjson.dumps(event), now_ms)


async def produce(
    settings: Settings, records: Iterable[Outgoing], pace: Pace, progress: Callable[[Sent], None] = lambda _: None
) -> Sent:
    """Send records and wait for their acknowledgements. On Ctrl-C (cancellation) what was sent is still awaited and counted.

    Raises BrokerError when nobody answers, TopicError when the topic is missing.
    """
    await check_reachable(settings.bootstrap)
    producer = AIOKafkaProducer(
        enable_idempotence=True, acks="all", linger_ms=5, max_batch_size=131_072, **client_options(settings)
    )
    with quiet_aiokafka():
        try:
            await asyncio.wait_for(producer.start(), 10)
        except (KafkaError, TimeoutError) as error:
            raise BrokerError(f"{settings.broker} does not answer as Kafka: {error or type(error).__name__}") from error
    sent = Sent()
    started = time.perf_counter()
    try:
        await _ensure_topic(producer, settings.events_topic)
        try:
            await _send_all(producer, settings.events_topic, records, pace, sent, progress)
        except asyncio.CancelledError:
            sent.interrupted = True
        await asyncio.wait_for(producer.flush(), 60)
    finally:
        await producer.stop()
        sent.seconds = time.perf_counter() - started
    return sent


async def _ensure_topic(producer: AIOKafkaProducer, topic: str) -> None:
    if topic not in (await producer.client.fetch_all_metadata()).topics():
        raise TopicError(f"topic {topic} does not exist; create it with 'interest-stream topics create'")


async def _send_all(
    producer: AIOKafkaProducer,
    topic: str,
    records: Iterable[Outgoing],
    pace: Pace,
    sent: Sent,
    progress: Callable[[Sent], None],
) -> None:
    room = asyncio.Semaphore(IN_FLIGHT)
    started, told = time.perf_counter(), 0.0
    first_ms: int | None = None
    for number, record in enumerate(records):
        first_ms = record.time_ms if first_ms is None else first_ms
        wait_s = started + pace.due(number, record.time_ms, first_ms) - time.perf_counter()
        if wait_s > 0:
            await asyncio.sleep(wait_s)
        await room.acquire()
        delivery = await producer.send(topic, record.value, key=record.key)
        sent.sent += 1
        delivery.add_done_callback(lambda future: _count(future, sent, room))
        if number % 256 == 0:
            await asyncio.sleep(0)
            if time.perf_counter() - told > 0.5:
                told = time.perf_counter()
                sent.seconds = told - started
                progress(sent)


def _count(future: Any, sent: Sent, room: asyncio.Semaphore) -> None:
    room.release()
    if future.cancelled() or future.exception() is not None:
        sent.failed += 1
        sent.error = "cancelled" if future.cancelled() else str(future.exception())
        return
    metadata = future.result()
    sent.acknowledged += 1
    sent.partitions[metadata.partition] += 1
    sent.last_offsets[metadata.partition] = max(metadata.offset, sent.last_offsets.get(metadata.partition, -1))

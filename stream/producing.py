"""Events onto the clickstream topic: idempotent, acks=all, paced, and counted by what was acknowledged."""

from __future__ import annotations

import asyncio
import time
from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from contextlib import suppress
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, Final

import msgspec
import orjson
from aiokafka import AIOKafkaProducer
from aiokafka.errors import KafkaError, MessageSizeTooLargeError

from stream.config import Settings
from stream.errors import TopicError
from stream.event_faults import BadEvent
from stream.events import Event, parse_time
from stream.kafka_client import client_options, start_client
from stream.simulate import Population
from stream.text_files import read_lines

UNREADABLE: Final = b"unreadable"
"""Key of a raw line that names no user."""

IN_FLIGHT: Final = 20_000
"""Events sent and not yet acknowledged; more than that wait, so memory stays bounded."""


FLUSH_TIMEOUT_S: Final = 60.0


@dataclass(frozen=True, slots=True)
class Outgoing:
    """A record to send, and when its event happened (for --speed)."""

    key: bytes
    value: bytes
    time_ms: int | None  # None: a raw line that does not say


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

    def due(self, number: int, time_ms: int | None, first_ms: int | None) -> float:
        """Seconds after the start at which event `number` is to be sent."""
        if self.rate:
            return number / self.rate
        if self.speed and time_ms is not None and first_ms is not None:
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
    """Lines as they are, broken ones too; keyed by their user_id where they have one, in time with the line before where not."""
    moment: int | None = None
    for path in paths:
        for _, line in read_lines(path):
            named = _named(line)
            user, time_ = named.user_id, named.time
            moment = _moment(time_) if isinstance(time_, int | str) else moment
            yield Outgoing(user.encode() if isinstance(user, str) and user else UNREADABLE, line, moment)


class _Named(msgspec.Struct):
    """What a raw line says of itself."""

    user_id: Any = None
    time: Any = None


def _named(line: bytes) -> _Named:
    try:
        return msgspec.json.decode(line, type=_Named)
    except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError):
        return _Named()


def _moment(time_: int | str) -> int | None:
    try:
        return time_ if isinstance(time_, int) else parse_time(time_)
    except BadEvent:
        return None


def looped(once: Callable[[], Iterable[Outgoing]]) -> Iterator[Outgoing]:
    """The same records again and again, each pass later than the one before by as long as that took; ends if there are none."""
    shift = 0
    while True:
        times: list[int] = []
        count = 0
        for count, record in enumerate(once(), start=1):  # noqa: B007
            if record.time_ms is not None:
                times = [*times[:1], record.time_ms]
            yield record if record.time_ms is None else replace(record, time_ms=record.time_ms + shift)
        if not count:
            return
        shift += max(0, times[-1] - times[0]) if times else 0


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
    """Send records and wait for their acknowledgements. On Ctrl-C (cancellation), and when the broker goes away, what was sent is
    still awaited and counted.

    Raises BrokerError when nobody answers at the start, TopicError when the topic is missing.
    """
    producer = AIOKafkaProducer(
        enable_idempotence=True, acks="all", linger_ms=5, max_batch_size=131_072, **client_options(settings)
    )
    await start_client(producer, settings)
    sent = Sent()
    started = time.perf_counter()
    try:
        await _ensure_topic(producer, settings.events_topic)
        try:
            await _send_all(producer, settings.events_topic, records, pace, sent, progress)
        except asyncio.CancelledError:
            sent.interrupted = True
        await asyncio.wait_for(producer.flush(), FLUSH_TIMEOUT_S)
    except (KafkaError, TimeoutError) as error:
        sent.error = str(error) or "the broker did not acknowledge in time"
    finally:
        with suppress(TimeoutError):
            await asyncio.wait_for(producer.stop(), FLUSH_TIMEOUT_S)
        sent.seconds = time.perf_counter() - started
    sent.failed = sent.sent - sent.acknowledged
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
        try:
            delivery = await producer.send(topic, record.value, key=record.key)
        except MessageSizeTooLargeError as error:
            sent.sent += 1
            sent.error = str(error)
            room.release()
            continue
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
        sent.error = "cancelled" if future.cancelled() else str(future.exception())
        return
    metadata = future.result()
    sent.acknowledged += 1
    sent.partitions[metadata.partition] += 1
    sent.last_offsets[metadata.partition] = max(metadata.offset, sent.last_offsets.get(metadata.partition, -1))

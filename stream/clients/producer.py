"""Sends events to the clickstream topic, at a given pace, and counts what Kafka acknowledged.

Every write is idempotent and waits for all replicas, so an acknowledged event is in the topic once.
"""

from __future__ import annotations

import asyncio
import time
from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from contextlib import suppress
from dataclasses import dataclass, field, replace
from typing import Any, Final

import msgspec
import orjson
from aiokafka import AIOKafkaProducer
from aiokafka.errors import KafkaError, MessageSizeTooLargeError

from stream.config import Settings
from stream.contracts.event import Event
from stream.contracts.faults import BadEvent
from stream.contracts.times import parse_time
from stream.errors import BrokerError, TopicError
from stream.files.lines import read_lines
from stream.files.places import File, find_files
from stream.kafka.client import open_producer
from stream.simulation.population import Population

UNREADABLE: Final = b"unreadable"
"""The key of a raw line that names no user."""

IN_FLIGHT: Final = 20_000
"""Most events sent and not yet acknowledged; more than that wait, so memory stays bounded."""

LINGER_MS: Final = 5
MAX_BATCH_BYTES: Final = 131_072
"""Events of a partition wait this long for others, and share a request of at most this size."""

PROGRESS_S: Final = 0.5
"""Between reports of progress."""

FLUSH_TIMEOUT_S: Final = 60.0


@dataclass(frozen=True, slots=True)
class Outgoing:
    """Holds a record to send, and when its event happened (for --speed)."""

    key: bytes
    value: bytes
    time_ms: int | None  # None: a raw line that does not say


@dataclass(slots=True)
class Sent:
    """Counts what became of the events."""

    sent: int = 0
    acknowledged: int = 0
    failed: int = 0
    seconds: float = 0.0
    partitions: Counter[int] = field(default_factory=Counter)
    last_offsets: dict[int, int] = field(default_factory=dict)
    error: str = ""
    interrupted: bool = False

    def as_json(self) -> dict[str, Any]:
        """Returns the counts for a program to read."""
        return {
            "sent": self.sent,
            "acknowledged": self.acknowledged,
            "failed": self.failed,
            "seconds": round(self.seconds, 2),
            "partitions": {
                str(partition): count for partition, count in sorted(self.partitions.items())
            },
            "last_offsets": {
                str(partition): offset for partition, offset in sorted(self.last_offsets.items())
            },
            "error": self.error,
            "interrupted": self.interrupted,
        }


@dataclass(frozen=True, slots=True)
class Pace:
    """Says when each event is to be sent.

    At most `rate` events/s; or at `speed` times the recorded time; or, with neither, as fast as
    Kafka takes them.
    """

    rate: float | None = None
    speed: float | None = None

    def due(self, number: int, time_ms: int | None, first_ms: int | None) -> float:
        """Returns how many seconds after the start event `number` is to be sent."""
        if self.rate:
            return number / self.rate
        if self.speed and time_ms is not None and first_ms is not None:
            return max(0, time_ms - first_ms) / 1000 / self.speed
        return 0.0


def of_events(chunks: Iterable[list[Event]]) -> Iterator[Outgoing]:
    """Yields the events of files, encoded as the contract says; their reader has checked them."""
    encoder = msgspec.json.Encoder()
    for events in chunks:
        for event in events:
            time_ms = event.time if isinstance(event.time, int) else parse_time(event.time)
            yield Outgoing(event.user_id.encode(), encoder.encode(event), time_ms)


def of_raw_lines(places: Iterable[File]) -> Iterator[Outgoing]:
    """Yields the lines of files as they are, broken ones too.

    A line is keyed by its user_id where it has one. One without a time is due with the line
    before it.
    """
    time_ms: int | None = None
    for file in (each for place in places for each in find_files(place).files):
        for _, line in read_lines(file):
            named = _named(line)
            if isinstance(named.time, int | str):
                time_ms = _time_ms(named.time)
            has_user = isinstance(named.user_id, str) and named.user_id
            key = named.user_id.encode() if has_user else UNREADABLE
            yield Outgoing(key, line, time_ms)


class _Named(msgspec.Struct):
    """Holds what a raw line says of itself."""

    user_id: Any = None
    time: Any = None


def _named(line: bytes) -> _Named:
    try:
        return msgspec.json.decode(line, type=_Named)
    except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError):
        return _Named()


def _time_ms(time_: int | str) -> int | None:
    try:
        return time_ if isinstance(time_, int) else parse_time(time_)
    except BadEvent:
        return None


def looped(once: Callable[[], Iterable[Outgoing]]) -> Iterator[Outgoing]:
    """Yields the same records again and again; ends if there are none.

    Each pass is later than the one before by as long as that took in recorded time.
    """
    shift = 0
    while True:
        times: list[int] = []
        count = 0
        for count, record in enumerate(once(), start=1):  # noqa: B007
            if record.time_ms is None:
                yield record
                continue
            times = [*times[:1], record.time_ms]  # the first and the last one of this pass
            yield replace(record, time_ms=record.time_ms + shift)
        if not count:
            return
        shift += max(0, times[-1] - times[0]) if times else 0


def of_population(users: int, seed: int) -> Iterator[Outgoing]:
    """Yields the events of a simulated population without end, dated now."""
    population = Population(users, seed)
    while True:
        now_ms = int(time.time() * 1000)
        event = population.next_event(now_ms).event
        yield Outgoing(event["user_id"].encode(), orjson.dumps(event), now_ms)


async def open_event_producer(settings: Settings) -> AIOKafkaProducer:
    """Returns a started producer after checking that the events topic exists.

    Raises BrokerError when nobody answers, TopicError when the topic is missing.
    """
    producer = await open_producer(settings, linger_ms=LINGER_MS, max_batch_size=MAX_BATCH_BYTES)
    try:
        # All topics are asked for: asking for one by name would create it on some brokers.
        if settings.events_topic not in (await producer.client.fetch_all_metadata()).topics():
            raise TopicError(
                f"topic {settings.events_topic} does not exist; "
                "create it with 'interest-stream topics create'"
            )
    except (KafkaError, TimeoutError) as error:
        await _stop(producer)
        raise BrokerError(
            f"the broker does not say which topics it has ({type(error).__name__}: {error})"
        ) from error
    except BaseException:
        await _stop(producer)
        raise
    return producer


async def _stop(producer: AIOKafkaProducer) -> None:
    with suppress(TimeoutError):
        await asyncio.wait_for(producer.stop(), FLUSH_TIMEOUT_S)


async def produce(
    settings: Settings,
    records: Iterable[Outgoing],
    pace: Pace,
    progress: Callable[[Sent], None] = lambda _: None,
) -> Sent:
    """Sends records, waits for their acknowledgements and returns the counts.

    On Ctrl-C (cancellation), and when the broker goes away, what was sent is still awaited and
    counted. Raises BrokerError when nobody answers at the start, TopicError when the topic is
    missing.
    """
    producer = await open_event_producer(settings)
    sent = Sent()
    started = time.perf_counter()
    try:
        try:
            await _send_all(producer, settings.events_topic, records, pace, sent, progress)
        except asyncio.CancelledError:
            sent.interrupted = True
        await asyncio.wait_for(producer.flush(), FLUSH_TIMEOUT_S)
    except (KafkaError, TimeoutError) as error:
        sent.error = str(error) or "the broker did not acknowledge in time"
    finally:
        await _stop(producer)
        sent.seconds = time.perf_counter() - started
    sent.failed = sent.sent - sent.acknowledged
    return sent


async def _send_all(
    producer: AIOKafkaProducer,
    topic: str,
    records: Iterable[Outgoing],
    pace: Pace,
    sent: Sent,
    progress: Callable[[Sent], None],
) -> None:
    """Hands the records to the producer when they are due; acknowledgements are counted later."""
    room = asyncio.Semaphore(IN_FLIGHT)
    started, reported = time.perf_counter(), 0.0
    first_ms: int | None = None
    for number, record in enumerate(records):
        # Wait until the record is due, and until there is room for one more on its way.
        first_ms = record.time_ms if first_ms is None else first_ms
        wait_s = started + pace.due(number, record.time_ms, first_ms) - time.perf_counter()
        if wait_s > 0:
            await asyncio.sleep(wait_s)
        await room.acquire()

        # A record that is too large fails alone; its place is free again.
        try:
            delivery = await producer.send(topic, record.value, key=record.key)
        except MessageSizeTooLargeError as error:
            sent.sent += 1
            sent.error = str(error)
            room.release()
            continue
        sent.sent += 1
        delivery.add_done_callback(lambda future: _count(future, sent, room))

        # Without a pause of its own the loop would keep the network tasks from running.
        if number % 256 == 0:
            await asyncio.sleep(0)
            if time.perf_counter() - reported > PROGRESS_S:
                reported = time.perf_counter()
                sent.seconds = reported - started
                progress(sent)


def _count(future: Any, sent: Sent, room: asyncio.Semaphore) -> None:
    """Counts one acknowledgement, or keeps why there is none."""
    room.release()
    if future.cancelled() or future.exception() is not None:
        sent.error = "cancelled" if future.cancelled() else str(future.exception())
        return
    metadata = future.result()
    sent.acknowledged += 1
    sent.partitions[metadata.partition] += 1
    sent.last_offsets[metadata.partition] = max(
        metadata.offset, sent.last_offsets.get(metadata.partition, -1)
    )

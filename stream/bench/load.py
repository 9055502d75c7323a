"""Makes the load of the benchmarks: a backlog all at once, or events at a rate in an open loop.

Open loop: event i is due at start + i / rate, whatever happened before. A latency counts from the
moment at which an event was due until an update that includes it is read, so a generator or a
worker that falls behind is seen (no coordinated omission).
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Callable, Iterable, Iterator, Sequence
from contextlib import asynccontextmanager
from functools import partial
from typing import Any, Final

import numpy as np
import orjson
from aiokafka import AIOKafkaConsumer, AIOKafkaProducer, TopicPartition
from aiokafka.partitioner import murmur2

from stream.config import Settings
from stream.kafka.client import client_options
from stream.kafka.consumer import new_consumer
from stream.kafka.record_batches import PreparedBatch, pack

PARTITIONS: Final = 4
BACKLOG_BATCH: Final = 4_000
TICK_S: Final = 0.005
"""Events that are due within one tick go out together; it counts as latency."""
ANSWER_S: Final = 60.0

Event = tuple[bytes, bytes]
"""Key and value of a record."""


def random_events(
    count: int,
    users: int,
    items: Sequence[str],
    seed: int,
    hot_share: float = 0.0,
    distinct: bool = False,
) -> Iterator[Event]:
    """Yields events of equally active users, each with a favourite stretch of the catalogue.

    `hot_share` of all events belong to one user. `distinct`: as many users as events, one event
    each.
    """
    random = np.random.default_rng(seed)
    who = random.permutation(count) if distinct else random.integers(0, users, count)
    who[random.random(count) < hot_share] = 0
    where = (who * 7919 + random.integers(0, 20, count)) % len(items)
    now_ms = int(time.time() * 1000)
    for place, (user, item) in enumerate(zip(who.tolist(), where.tolist(), strict=True)):
        name = f"user-{user}"
        event = {
            "user_id": name,
            "action": "view",
            "time": now_ms + place // 100,
            "item_id": items[item],
        }
        yield name.encode(), orjson.dumps(event)


def partition_of(key: bytes) -> int:
    """Returns the partition in which Kafka's default partitioner places a key."""
    place: int = murmur2(key) & 0x7FFFFFFF
    return place % PARTITIONS


async def produce_backlog(settings: Settings, events: Iterable[Event]) -> None:
    """Produces events, keyed by user, as full batches: a million in some ten seconds."""
    producer = AIOKafkaProducer(enable_idempotence=True, **client_options(settings))
    async with _started(producer):
        waiting: list[list[Event]] = [[] for _ in range(PARTITIONS)]
        for key, value in events:
            partition = partition_of(key)
            waiting[partition].append((key, value))
            if len(waiting[partition]) >= BACKLOG_BATCH:
                await _queue(producer, settings.events_topic, partition, waiting[partition])
                waiting[partition] = []
        for partition, rest in enumerate(waiting):
            await _queue(producer, settings.events_topic, partition, rest)
        await producer.flush()


async def _queue(
    producer: AIOKafkaProducer, topic: str, partition: int, events: Sequence[Event]
) -> list[tuple[asyncio.Future[Any], int]]:
    """Queues events of one partition; returns the future and the length of each batch."""
    keys, values = [key for key, _ in events], [value for _, value in events]
    return [
        (
            await producer.send_batch(PreparedBatch(section), topic, partition=partition),
            section.count,
        )
        for section in pack(keys, values, int(time.time() * 1000), "none")
    ]


class Answers:
    """Matches events with the updates that answer them, and keeps how long each answer took.

    An event is answered by the first update of its user whose source offset is not lower. The
    update may be read before the word that Kafka holds the event.
    """

    def __init__(self) -> None:
        self.latencies: list[float] = []  # seconds
        self.outstanding = 0  # events sent and not answered yet
        self._due: dict[str, list[tuple[int, float]]] = {}  # user: offset and due moment of events
        self._newest: dict[str, tuple[int, float]] = {}  # user: offset and moment of an update

    def acknowledged(self, first_offset: int, events: Sequence[tuple[str, float]]) -> None:
        """Kafka holds a batch from this offset on; of each event the user and when it was due."""
        for place, (user, moment) in enumerate(events):
            self._due.setdefault(user, []).append((first_offset + place, moment))
        for user in {user for user, _ in events}:
            self._match(user)

    def updated(self, user: str, offset: int, at: float) -> None:
        """An update of a user was read that includes the events up to this offset."""
        self._newest[user] = offset, at
        self._match(user)

    def _match(self, user: str) -> None:
        waiting, (newest, at) = self._due.get(user, []), self._newest.get(user, (-1, 0.0))
        self.latencies += [at - moment for offset, moment in waiting if offset <= newest]
        left = [each for each in waiting if each[0] > newest]
        if left:
            self._due[user] = left
        else:
            self._due.pop(user, None)
        self.outstanding -= len(waiting) - len(left)


class Load:
    """Sends events and reads updates, on the topics of one worker or of several."""

    def __init__(
        self, settings: Settings, producer: AIOKafkaProducer, consumer: AIOKafkaConsumer
    ) -> None:
        self._settings, self._producer, self._consumer = settings, producer, consumer
        self._answers, self._changed = Answers(), asyncio.Event()
        self.arrivals: list[list[float]] = [[] for _ in range(PARTITIONS)]
        """Moments at which updates were read, by partition."""

    async def pace(self, events: Sequence[Event], rate: float) -> np.ndarray[Any, Any]:
        """Sends at a rate until all are answered; returns the latencies in seconds.

        Raises TimeoutError when the last answers take longer than ANSWER_S.
        """
        self._answers.latencies.clear()
        async with self._reading():
            await self.send(events, rate)
            await self._all_answered()
        return np.array(self._answers.latencies)

    async def pace_while(
        self, events: Iterator[Event], rate: float, busy: Callable[[], bool]
    ) -> None:
        """Sends at a rate while something else happens, and waits until all is answered.

        `arrivals` has the moments of the updates. Raises TimeoutError as `pace`.
        """
        async with self._reading():
            while busy():
                await self.send([next(events) for _ in range(max(1, int(rate / 10)))], rate)
            await self._all_answered()

    async def send(self, events: Sequence[Event], rate: float) -> None:
        """Sends at a rate and waits for no answer."""
        where = [partition_of(key) for key, _ in events]
        started, sent = time.perf_counter(), 0
        while sent < len(events):
            pause = started + sent / rate - time.perf_counter()
            await asyncio.sleep(max(TICK_S if sent else 0.0, pause))
            # All that is due by now goes out together, a batch a partition.
            due = min(len(events), int((time.perf_counter() - started) * rate) + 1)
            places: list[list[int]] = [[] for _ in range(PARTITIONS)]
            for place in range(sent, due):
                places[where[place]].append(place)
            self._answers.outstanding += due - sent
            for partition, chosen in enumerate(places):
                if chosen:
                    moments = [started + place / rate for place in chosen]
                    await self._send(partition, [events[place] for place in chosen], moments)
            sent = due
        await self._producer.flush()

    async def _send(self, partition: int, events: Sequence[Event], moments: list[float]) -> None:
        """Sends events of a partition and notes, once Kafka has them, which offsets they got."""
        topic, begin = self._settings.events_topic, 0
        for future, count in await _queue(self._producer, topic, partition, events):
            keys = (key.decode() for key, _ in events[begin : begin + count])
            due = list(zip(keys, moments[begin : begin + count], strict=True))
            future.add_done_callback(partial(self._acknowledged, due))
            begin += count

    def _acknowledged(self, due: list[tuple[str, float]], future: asyncio.Future[Any]) -> None:
        self._answers.acknowledged(future.result().offset, due)
        self._changed.set()

    @asynccontextmanager
    async def _reading(self) -> AsyncIterator[None]:
        """Reads updates in the background while the block runs."""
        reading = asyncio.create_task(self._read())
        try:
            yield
        finally:
            reading.cancel()
            await asyncio.wait([reading])

    async def _all_answered(self) -> None:
        async with asyncio.timeout(ANSWER_S):
            while self._answers.outstanding:
                self._changed.clear()
                await self._changed.wait()

    async def _read(self) -> None:
        while True:
            fetched = await self._consumer.getmany(timeout_ms=20)
            now = time.perf_counter()
            for tp, records in fetched.items():
                self.arrivals[tp.partition].append(now)
                for record in records:
                    offset = orjson.loads(record.value)["source"]["offset"]
                    self._answers.updated(record.key.decode(), offset, now)
            self._changed.set()


@asynccontextmanager
async def load_on(settings: Settings) -> AsyncIterator[Load]:
    """Opens a load on these topics, whose reader begins at the present end of the updates."""
    consumer = new_consumer(settings, auto_offset_reset="latest", fetch_max_wait_ms=20)
    producer = AIOKafkaProducer(enable_idempotence=True, **client_options(settings))
    async with _started(consumer, producer):
        partitions = [TopicPartition(settings.updates_topic, each) for each in range(PARTITIONS)]
        consumer.assign(partitions)
        await consumer.seek_to_end(*partitions)
        for partition in partitions:
            # seek_to_end is lazy: what is written until the first fetch would be skipped
            await consumer.position(partition)
        yield Load(settings, producer, consumer)


@asynccontextmanager
async def _started(*clients: AIOKafkaProducer | AIOKafkaConsumer) -> AsyncIterator[None]:
    """Starts clients for a block; stops them, also those whose start was interrupted."""
    try:
        await asyncio.gather(*(client.start() for client in clients))
        yield
    finally:
        await asyncio.gather(*(client.stop() for client in clients))

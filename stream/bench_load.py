"""Load for benchmarks: a backlog all at once, or open loop, where event i is due at start + i / rate whatever happened before.

A latency counts from the moment at which an event was due until an update that includes it is read, so a generator or a worker that
falls behind is seen (no coordinated omission).
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Callable, Iterable, Iterator, Sequence
from contextlib import asynccontextmanager
from typing import Any, Final

import numpy as np
import orjson
from aiokafka import AIOKafkaConsumer, AIOKafkaProducer, TopicPartition
from aiokafka.partitioner import murmur2

from stream.config import Settings
from stream.kafka_client import client_options
from stream.record_batches import PreparedBatch, pack

PARTITIONS: Final = 4
BACKLOG_BATCH: Final = 4_000
TICK_S: Final = 0.005
"""Events that are due within one tick go out together; it counts as latency."""
ANSWER_S: Final = 60.0

Event = tuple[bytes, bytes]
"""Key and value."""


def random_events(
    count: int, users: int, items: Sequence[str], seed: int, hot_share: float = 0.0, distinct: bool = False
) -> Iterator[Event]:
    """Uniform users, each with a favourite stretch of the catalogue; `hot_share` of all events are of one user.

    `distinct`: as many users as events, one event each.
    """
    random = np.random.default_rng(seed)
    who = random.permutation(count) if distinct else random.integers(0, users, count)
    who[random.random(count) < hot_share] = 0
    where = (who * 7919 + random.integers(0, 20, count)) % len(items)
    now_ms = int(time.time() * 1000)
    for place, (user, item) in enumerate(zip(who.tolist(), where.tolist(), strict=True)):
        name = f"user-{user}"
        event = {"user_id": name, "action": "view", "time": now_ms + place // 100, "item_id": items[item]}
        yield name.encode(), orjson.dumps(event)


def partition_of(key: bytes) -> int:
    """As Kafka's default partitioner places a key."""
    place: int = murmur2(key) & 0x7FFFFFFF
    return place % PARTITIONS


async def produce_backlog(settings: Settings, events: Iterable[Event]) -> None:
    """Events, keyed by user, as full batches: a million in some ten seconds."""
    async with AIOKafkaProducer(enable_idempotence=True, **client_options(settings)) as producer:
        waiting: list[list[Event]] = [[] for _ in range(PARTITIONS)]
        for key, value in events:
            partition = partition_of(key)
            waiting[partition].append((key, value))
            if len(waiting[partition]) >= BACKLOG_BATCH:
                await _send(producer, settings.events_topic, partition, waiting[partition])
                waiting[partition] = []
        for partition, rest in enumerate(waiting):
            await _send(producer, settings.events_topic, partition, rest)
        await producer.flush()


async def _send(
    producer: AIOKafkaProducer, topic: str, partition: int, events: Sequence[Event]
) -> list[tuple[asyncio.Future[Any], int]]:
    """Queue events of one partition; the future and the length of each batch."""
    keys, values = [key for key, _ in events], [value for _, value in events]
    return [
        (await producer.send_batch(PreparedBatch(section), topic, partition=partition), section.count)
        for section in pack(keys, values, int(time.time() * 1000), "none")
    ]


class Load:
    """A producer of events and a reader of updates, on topics of one worker or several."""

    def __init__(self, settings: Settings, producer: AIOKafkaProducer, consumer: AIOKafkaConsumer) -> None:
        self._settings, self._producer, self._consumer = settings, producer, consumer
        self._due: dict[str, list[tuple[int, float]]] = {}  # of a user: offset, moment
        self._reached: dict[str, tuple[int, float]] = {}  # an update may be read before its event is acknowledged
        self._unanswered, self._answered = 0, asyncio.Event()
        self.latencies: list[float] = []
        self.arrivals: list[list[float]] = [[] for _ in range(PARTITIONS)]  # moments of updates by partition

    async def pace(self, events: Sequence[Event], rate: float) -> np.ndarray[Any, Any]:
        """Send at a rate until all are answered; latencies in seconds. Raises TimeoutError."""
        self.latencies = []
        reading = asyncio.create_task(self._read())
        try:
            await self._send_paced(events, rate)
            await self._all_answered()
        finally:
            reading.cancel()
            await asyncio.wait([reading])
        return np.array(self.latencies)

    async def send(self, events: Sequence[Event], rate: float) -> None:
        """Send at a rate and wait for no answer."""
        await self._send_paced(events, rate)

    async def pace_while(self, events: Iterator[Event], rate: float, busy: Callable[[], bool]) -> None:
        """Send at a rate while something else happens, and until all is answered; `arrivals` tells when updates came."""
        reading = asyncio.create_task(self._read())
        try:
            while busy():
                await self._send_paced([next(events) for _ in range(max(1, int(rate / 10)))], rate)
            await self._all_answered()
        finally:
            reading.cancel()
            await asyncio.wait([reading])

    async def _all_answered(self) -> None:
        async with asyncio.timeout(ANSWER_S):
            while self._unanswered:
                self._answered.clear()
                await self._answered.wait()

    async def _send_paced(self, events: Sequence[Event], rate: float) -> None:
        where = [partition_of(key) for key, _ in events]
        started, sent = time.perf_counter(), 0
        while sent < len(events):
            await asyncio.sleep(max(TICK_S if sent else 0.0, started + sent / rate - time.perf_counter()))
            due = min(len(events), int((time.perf_counter() - started) * rate) + 1)
            parts: list[list[int]] = [[] for _ in range(PARTITIONS)]
            for place in range(sent, due):
                parts[where[place]].append(place)
            for partition, places in enumerate(parts):
                if places:
                    batches = await _send(
                        self._producer, self._settings.events_topic, partition, [events[place] for place in places]
                    )
                    begin = 0
                    for future, count in batches:
                        which = places[begin : begin + count]
                        told = [(events[place][0].decode(), started + place / rate) for place in which]
                        future.add_done_callback(self._remember(told))
                        begin += count
            self._unanswered += due - sent
            sent = due
        await self._producer.flush()

    def _remember(self, events: list[tuple[str, float]]) -> Callable[[asyncio.Future[Any]], None]:
        def done(future: asyncio.Future[Any]) -> None:
            first = future.result().offset
            for place, (user, moment) in enumerate(events):
                self._due.setdefault(user, []).append((first + place, moment))
            self._settle({user for user, _ in events})

        return done

    async def _read(self) -> None:
        while True:
            fetched = await self._consumer.getmany(timeout_ms=20)
            now = time.perf_counter()
            for tp, records in fetched.items():
                self.arrivals[tp.partition].append(now)
                for record in records:
                    self._reached[record.key.decode()] = (orjson.loads(record.value)["source"]["offset"], now)
                self._settle({record.key.decode() for record in records})

    def _settle(self, users: Iterable[str]) -> None:
        """An event is answered by the first update of its user whose source offset is not lower."""
        for user in users:
            waiting, (offset, at) = self._due.get(user, []), self._reached.get(user, (-1, 0.0))
            self.latencies += [at - moment for sent, moment in waiting if sent <= offset]
            left = [each for each in waiting if each[0] > offset]
            if left:
                self._due[user] = left
            else:
                self._due.pop(user, None)
            self._unanswered -= len(waiting) - len(left)
        if not self._unanswered:
            self._answered.set()


@asynccontextmanager
async def load_on(settings: Settings) -> AsyncIterator[Load]:
    """A load on these topics, whose reader begins at the present end of the updates."""
    consumer = AIOKafkaConsumer(auto_offset_reset="latest", fetch_max_wait_ms=20, **client_options(settings))
    producer = AIOKafkaProducer(enable_idempotence=True, **client_options(settings))
    await asyncio.gather(consumer.start(), producer.start())
    try:
        partitions = [TopicPartition(settings.updates_topic, each) for each in range(PARTITIONS)]
        consumer.assign(partitions)
        await consumer.seek_to_end(*partitions)
        for partition in partitions:
            await consumer.position(partition)  # seek_to_end is lazy: what is written meanwhile would be skipped
        yield Load(settings, producer, consumer)
    finally:
        await asyncio.gather(consumer.stop(), producer.stop())

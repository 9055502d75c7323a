"""Sends updates at a rate to the profiles and the updates, and sees when the service answers them.

All updates are made before, so that sending them takes little from the process that measures.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Iterable
from contextlib import asynccontextmanager
from typing import Final

from aiokafka import AIOKafkaProducer

from stream.config import Settings
from stream.kafka.client import client_options
from stream.kafka.record_batches import PreparedBatch
from tests.benchmarks.serving.open_loop import Client
from tests.benchmarks.serving.population import Batch, Population

TICK_S: Final = 0.02
"""Updates that are due within one tick go out together, as a worker's batches do."""

PROBED_TICKS: Final = 5
"""Of one in so many ticks a user is asked for until the update is answered."""

POLL_S: Final = 0.01
POLL_SHARE: Final = 0.05
"""Of the time since an update was due: a service that is behind is not asked ever more often."""

PATIENCE_S: Final = 30.0


@asynccontextmanager
async def producer_of(settings: Settings) -> AsyncIterator[AIOKafkaProducer]:
    """Yields a started producer."""
    producer = AIOKafkaProducer(enable_idempotence=True, **client_options(settings))
    await producer.start()
    try:
        yield producer
    finally:
        await producer.stop()


async def send(producer: AIOKafkaProducer, settings: Settings, batch: Batch) -> None:
    """Queues a batch for both topics; one section serves both."""
    for topic in (settings.updates_topic, settings.profiles_topic):
        await producer.send_batch(PreparedBatch(batch.section), topic, partition=batch.partition)


async def send_all(settings: Settings, batches: Iterable[Batch]) -> None:
    """Sends batches as fast as they are made."""
    async with producer_of(settings) as producer:
        for batch in batches:
            await send(producer, settings, batch)
        await producer.flush()


def made(population: Population, rate: float, seconds: float, settings: Settings) -> list[Batch]:
    """Returns the updates of some seconds, a batch a tick."""
    count = max(1, round(rate * TICK_S))
    return [population.updates(count, settings) for _ in range(round(seconds / TICK_S))]


class Updates:
    """Sends what was made, tick by tick, and measures from the tick to the answer over HTTP."""

    def __init__(self, settings: Settings, client: Client) -> None:
        self._settings, self._client = settings, client
        self._probes: list[asyncio.Task[None]] = []
        self.delays: list[float] = []  # seconds
        self.unseen = self.asked = 0
        self.sent: list[tuple[float, Batch]] = []  # and when

    async def run(self, batches: list[Batch]) -> None:
        """Sends a batch a tick, and waits for the last answers."""
        async with producer_of(self._settings) as producer:
            started = time.perf_counter()
            for number, batch in enumerate(batches):
                due = started + number * TICK_S
                await asyncio.sleep(max(0.0, due - time.perf_counter()))
                await send(producer, self._settings, batch)
                self.sent.append((due, batch))
                if number % PROBED_TICKS == 0:
                    path = f"/v1/users/user-{int(batch.users[0]):07d}"
                    self.probe(path, batch.partition, int(batch.offsets[0]), due)
            await producer.flush()
            await self.wait()

    def probe(self, path: str, partition: int, offset: int, since: float) -> None:
        """Asks for a user until the answer is as of this offset or a later one."""
        task = asyncio.create_task(self._ask(path, partition, offset, since))
        self._probes.append(task)

    async def wait(self) -> None:
        """Waits until all probes were answered, or given up; raises what went wrong in one."""
        await asyncio.gather(*self._probes)

    async def _ask(self, path: str, partition: int, offset: int, since: float) -> None:
        while time.perf_counter() - since < PATIENCE_S:
            _, body = await self._client.get(path)
            self.asked += 1
            if is_as_of(body, partition, offset):
                self.delays.append(time.perf_counter() - since)
                return
            waited = time.perf_counter() - since
            await asyncio.sleep(max(POLL_S, POLL_SHARE * waited))
        self.unseen += 1


def is_as_of(body: bytes, partition: int, offset: int) -> bool:
    """Returns whether an answer shows a profile as of an offset of a partition, or later."""
    _, found, rest = body.partition(b'"partition":%d,"offset":' % partition)
    return bool(found) and int(rest[: rest.index(b"}")]) >= offset

"""Runs the demo: a Kafka of its own, topics, workers, a simulated population and its updates.

Starts clean in a temporary folder and leaves nothing: no process, no file. Events are produced
open-loop: event i is due at start + i / rate whatever happened before, and its latency counts from
then.
"""

from __future__ import annotations

import asyncio
import math
import time
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any, Final

import orjson
from aiokafka import AIOKafkaConsumer, AIOKafkaProducer, TopicPartition

from stream.broker.cleanup import Cleanup, run_in_loop
from stream.broker.local_kafka import temporary_kafka
from stream.config import Settings
from stream.demo.page import PageProcess, can_serve
from stream.demo.tracker import Tracker
from stream.demo.truth import TruthFile
from stream.demo.view import Scene, workers_in_words
from stream.demo.workers import WorkerProcess
from stream.errors import Failure
from stream.kafka.client import client_options, quiet_aiokafka
from stream.kafka.consumer import new_consumer
from stream.kafka.topics import create_topics
from stream.simulation.population import Population, catalogue

PARTITIONS: Final = 4
START_S: Final = 180.0
DRAIN_S: Final = 60.0
TICK_S: Final = 0.25
LOOK_EVERY: Final = 4
"""Ticks between looks at workers that are ready; one that is not is looked at each tick."""
WATCHED_RATE: Final = 1.2
"""Events/s of the users that are nicest to watch: slow enough to read, and something happens."""


@dataclass(frozen=True, slots=True)
class DemoOptions:
    """Holds what the command line asks for."""

    users: int = 60
    rate: float = 150.0
    workers: int = 1
    seconds: float | None = None  # None: until interrupted
    model: str = ""
    seed: int = 0


class Demo:
    """Runs the demo once.

    `announce` is called with what is being done, `show` a few times a second while it runs.
    """

    def __init__(
        self, options: DemoOptions, announce: Callable[[str], None], show: Callable[[Demo], None]
    ) -> None:
        self.options, self._announce, self._show = options, announce, show
        self.tracker = Tracker()
        self._titles = {item.item_id: item.title for item in catalogue()}
        self._categories = {item.item_id: item.categories[0] for item in catalogue()}
        self._population = Population(options.users, options.seed)
        self.workers: list[WorkerProcess] = []
        self._page: PageProcess | None = None
        self._truth: TruthFile | None = None
        self._folder = Path()
        self.started_at = self.began_at = time.monotonic()
        self._watched = self._worth_watching()
        self._settings = Settings()
        self._cleanup = Cleanup()
        self._stop = asyncio.Event()
        self._hurry = False
        self._seconds = 0.0  # of producing

    def scene(self) -> Scene:
        """Returns what there is to see now."""
        now = time.monotonic()
        views = [worker.view for worker in self.workers]
        elapsed_s = now - self.began_at
        return Scene(
            self.tracker, self._titles, self._watched, views, now, elapsed_s, self.page_address
        )

    @property
    def page_address(self) -> str:
        """Returns where the page is; empty if there is none, or none yet."""
        return "" if self._page is None else self._page.address

    @property
    def sending(self) -> bool:
        """Says whether events flow, so that rates mean something."""
        return self.tracker.sent > 0 and not self._seconds

    def interrupt(self) -> None:
        """Sends no more and waits for what was sent; called again, does not wait."""
        self._hurry = self._stop.is_set()
        self._stop.set()

    def _worth_watching(self) -> list[str]:
        shares = self._population.shares()
        far = {
            name: abs(math.log(share * self.options.rate / WATCHED_RATE))
            for name, share in shares.items()
        }
        return sorted(shares, key=lambda name: (far[name], name))

    def run(self) -> dict[str, Any]:
        """Runs the demo and returns its summary; whatever happens, nothing is left running.

        Raises Failure when a worker dies or is not ready in time, BrokerError when Kafka does not
        start, KeyboardInterrupt when it is ended before the first event.
        """

        def body() -> None:
            try:
                self._start()
                with quiet_aiokafka():
                    run_in_loop(self._live())
            finally:
                self._announce("stopping everything")

        self._cleanup.run(body)
        if not self.tracker.sent:
            raise KeyboardInterrupt
        return self.summary()

    def _start(self) -> None:
        """Starts the broker and the workers together; returns when the topics are there."""
        cleanup, count = self._cleanup, self.options.workers
        folder = self._folder = cleanup.temporary_folder("demo")
        broker = temporary_kafka(cleanup, folder)
        self._settings = Settings(broker=broker.url, model=self.options.model)
        workers = "the worker" if count == 1 else f"{count} workers"
        self._announce(f"starting Apache Kafka and {workers}; the very first time jars are fetched")
        for number in range(1, count + 1):
            log = folder / f"worker-{number}.log"
            start = partial(WorkerProcess, self._settings, number, log)
            self.workers.append(cleanup.add(start, WorkerProcess.end))
        # Undone first: all are asked to end before the end of each is waited for.
        cleanup.add(lambda: self.workers, _ask_to_end)
        broker.start(START_S)
        self._announce("creating the topics")
        run_in_loop(create_topics(self._settings, PARTITIONS, 1))
        self._announce(f"waiting for {workers}")
        for worker in self.workers:
            worker.let_go()

    async def _live(self) -> None:
        """Sends events and reads updates until the end; closes its own clients."""
        loop = asyncio.get_running_loop()
        self._cleanup.on_interrupt(lambda: loop.call_soon_threadsafe(self.interrupt))
        options = client_options(self._settings)
        consumer = new_consumer(self._settings, fetch_max_wait_ms=50, auto_offset_reset="earliest")
        producer = AIOKafkaProducer(enable_idempotence=True, acks="all", **options)
        try:
            await asyncio.gather(consumer.start(), producer.start())
            consumer.assign(
                [TopicPartition(self._settings.updates_topic, each) for each in range(PARTITIONS)]
            )
            watchers = [
                asyncio.create_task(each)
                for each in (self._listen(consumer), self._watch_workers())
            ]
            try:
                await self._stream(producer, watchers)
            finally:
                for task in watchers:
                    task.cancel()
                await asyncio.gather(*watchers, return_exceptions=True)
        finally:
            self._cleanup.ignore_interrupts()
            await asyncio.gather(consumer.stop(), producer.stop(), return_exceptions=True)

    async def _stream(self, producer: AIOKafkaProducer, watchers: list[asyncio.Task[None]]) -> None:
        ready = await self._until(
            lambda: all(worker.view.ready for worker in self.workers), watchers, START_S
        )
        if self._stop.is_set():
            return
        if not ready:
            raise Failure(
                f"after {START_S:.0f} s: {workers_in_words(self.scene().workers)}; try again on a "
                "calmer machine"
            )
        if can_serve():  # after the workers, whose start everybody waits for
            make = partial(TruthFile, self._folder / "truth.jsonl")
            self._truth = self._cleanup.add(make, TruthFile.close)
            start = partial(PageProcess, self._settings, self._folder, self._truth.path)
            self._page = self._cleanup.add(start, PageProcess.end)
        self.began_at = time.monotonic()
        await self._produce(producer, self._settings.events_topic, watchers)
        self._seconds = time.monotonic() - self.began_at
        await producer.flush()
        await self._until(self.tracker.complete, watchers, DRAIN_S)

    async def _produce(
        self, producer: AIOKafkaProducer, topic: str, watchers: list[asyncio.Task[None]]
    ) -> None:
        options, number = self.options, 0
        start = time.monotonic()
        while not self._stop.is_set() and (
            options.seconds is None or time.monotonic() - start < options.seconds
        ):
            _raise_failures(watchers)
            due = start + number / options.rate
            delay = due - time.monotonic()
            if delay > 0:
                with suppress(TimeoutError):
                    await asyncio.wait_for(self._stop.wait(), delay)
                    break
            await self._send_one(producer, topic, due)
            number += 1
            if number % 100 == 0:
                await asyncio.sleep(0)

    async def _send_one(self, producer: AIOKafkaProducer, topic: str, due: float) -> None:
        simulated = self._population.next_event(int(time.time() * 1000))
        event, truth = simulated.event, simulated.interest
        category = self._categories.get(event.get("item_id", ""), "")
        self.tracker.event_sent(event, truth, category, time.monotonic())
        if self._truth is not None:
            self._truth.note(event["user_id"], truth, event["time"])
        last = self.tracker.users[event["user_id"]].last_category
        sent = await producer.send(topic, orjson.dumps(event), key=event["user_id"].encode())

        def acknowledged(future: asyncio.Future[Any]) -> None:
            if not future.cancelled() and future.exception() is None:
                offset = future.result().offset
                self.tracker.event_acknowledged(
                    event["user_id"], offset, due, truth, last, time.monotonic()
                )

        sent.add_done_callback(acknowledged)

    async def _listen(self, consumer: AIOKafkaConsumer) -> None:
        while True:
            for records in (await consumer.getmany(timeout_ms=100)).values():
                now = time.monotonic()
                for record in records:
                    self.tracker.update_received(orjson.loads(record.value), now)

    async def _watch_workers(self) -> None:
        ticks = 0
        while True:
            if ticks % LOOK_EVERY == 0 or not all(worker.view.ready for worker in self.workers):
                await asyncio.gather(*(asyncio.to_thread(worker.look) for worker in self.workers))
            self._show(self)
            ticks += 1
            await asyncio.sleep(TICK_S)

    async def _until(
        self, condition: Callable[[], bool], watchers: list[asyncio.Task[None]], timeout_s: float
    ) -> bool:
        """Waits until a condition holds; says whether it did in time.

        Gives up when interrupted before the first event, or twice.
        """
        deadline = time.monotonic() + timeout_s
        while not condition():
            _raise_failures(watchers)
            given_up = self._hurry or (self._stop.is_set() and not self.tracker.sent)
            if given_up or time.monotonic() > deadline:
                return False
            await asyncio.sleep(0.02)
        return True

    def summary(self) -> dict[str, Any]:
        """Returns the figures of the run."""
        tracker, accuracy, first = (
            self.tracker,
            self.tracker.accuracy(),
            self.tracker.first_update_at,
        )
        return {
            "events_sent": tracker.sent,
            "events_applied": tracker.applied,
            "updates_seen": tracker.updates,
            "users": len(tracker.users),
            "seconds": round(self._seconds, 1),
            "events_per_s": round(tracker.sent / max(self._seconds, 1e-9), 1),
            "latency_p50_ms": tracker.latency_ms(0.5),
            "latency_p99_ms": tracker.latency_ms(0.99),
            "top_interest_is_truth": round(accuracy.tracked, 3),
            "last_category_is_truth": round(accuracy.last_category, 3),
            "most_popular_is_truth": round(accuracy.most_popular, 3),
            "first_update_after_s": None if first is None else round(first - self.started_at, 1),
            "complete": tracker.complete() and tracker.sent > 0,
        }


def _ask_to_end(workers: list[WorkerProcess]) -> None:
    for worker in workers:
        worker.ask_to_end()


def _raise_failures(tasks: list[asyncio.Task[None]]) -> None:
    for task in tasks:
        if task.done() and not task.cancelled() and (error := task.exception()) is not None:
            raise error

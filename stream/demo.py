"""Everything on this machine: a Kafka of its own, topics, workers, a simulated population, and what becomes of it.

Starts clean in a temporary folder and leaves nothing: no process, no file. Events are produced open-loop: event i is due at
start + i / rate whatever happened before, and its latency counts from then.
"""

from __future__ import annotations

import asyncio
import os
import re
import shutil
import signal
import subprocess
import sys
import tempfile
import time
import urllib.error
import urllib.request
from collections.abc import Callable
from contextlib import ExitStack, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import orjson
from aiokafka import AIOKafkaConsumer, AIOKafkaProducer, TopicPartition

from stream.bench import parse_sample
from stream.config import Settings
from stream.errors import Failure
from stream.kafka_client import client_options
from stream.local_kafka import LocalKafka
from stream.ports import free_ports
from stream.simulate import Population, catalogue
from stream.topics import create_topics
from stream.tracker import Tracker
from stream.view import WorkerView

PARTITIONS = 4
DRAIN_S = 60.0


@dataclass(frozen=True, slots=True)
class DemoOptions:
    """What the command line says."""

    users: int = 60
    rate: float = 150.0
    workers: int = 1
    seconds: float | None = None  # None: until interrupted
    model: str = ""
    seed: int = 0


class Demo:
    """One run. `say` tells what is being done; `show` is called a few times a second while it runs."""

    def __init__(self, options: DemoOptions, say: Callable[[str], None], show: Callable[[Demo], None]) -> None:
        self.options, self._say, self._show = options, say, show
        self.tracker = Tracker()
        self.titles = {item.item_id: item.title for item in catalogue()}
        self._categories = {item.item_id: item.categories[0] for item in catalogue()}
        self._population = Population(options.users, options.seed)
        self.workers: list[WorkerProcess] = []
        self.started_at = self.began_at = time.monotonic()
        self._stop = asyncio.Event()

    @property
    def views(self) -> list[WorkerView]:
        return [worker.view for worker in self.workers]

    @property
    def elapsed_s(self) -> float:
        return time.monotonic() - self.began_at

    def interrupt(self) -> None:
        """End as soon as possible."""
        self._stop.set()

    async def run(self) -> dict[str, Any]:
        """The summary. Raises Failure when a worker dies, BrokerError when Kafka does not start."""
        with ExitStack() as stack:
            folder = Path(tempfile.mkdtemp(prefix="interest-stream-demo-"))
            stack.callback(shutil.rmtree, folder, ignore_errors=True)
            port, controller_port = free_ports(2)
            broker = LocalKafka(folder / "kafka", port, controller_port, heap_mb=512)
            self._say("starting Apache Kafka (the first time its jars are fetched)")
            stack.callback(broker.stop)
            await asyncio.to_thread(broker.start, 180.0)
            settings = Settings(broker=broker.url, model=self.options.model)
            self._say("creating the topics")
            await create_topics(settings, PARTITIONS, 1)
            self._say(
                "starting the worker" if self.options.workers == 1 else f"starting {self.options.workers} workers"
            )
            for number in range(self.options.workers):
                worker = WorkerProcess(settings, folder / f"worker-{number}.log")
                stack.callback(worker.end)
                self.workers.append(worker)
            await self._stream(settings)
            return self.summary()

    async def _stream(self, settings: Settings) -> None:
        consumer = AIOKafkaConsumer(fetch_max_wait_ms=50, **client_options(settings))
        producer = AIOKafkaProducer(enable_idempotence=True, acks="all", **client_options(settings))
        await asyncio.gather(consumer.start(), producer.start())
        try:
            consumer.assign([TopicPartition(settings.updates_topic, each) for each in range(PARTITIONS)])
            watchers = [asyncio.create_task(each) for each in (self._listen(consumer), self._watch_workers())]
            try:
                await self._until(lambda: all(worker.ready for worker in self.workers), watchers, 60)
                self.began_at = time.monotonic()
                await self._produce(producer, settings.events_topic, watchers)
                await producer.flush()
                await self._until(self.tracker.complete, watchers, DRAIN_S)
            finally:
                for each in watchers:
                    each.cancel()
                await asyncio.gather(*watchers, return_exceptions=True)
        finally:
            await asyncio.gather(consumer.stop(), producer.stop(), return_exceptions=True)

    async def _produce(self, producer: AIOKafkaProducer, topic: str, watchers: list[asyncio.Task[None]]) -> None:
        options, number = self.options, 0
        start = time.monotonic()
        while not self._stop.is_set() and (options.seconds is None or self.elapsed_s < options.seconds):
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
        last = self.tracker.users[event["user_id"]].last_category
        sent = await producer.send(topic, orjson.dumps(event), key=event["user_id"].encode())

        def acknowledged(future: asyncio.Future[Any]) -> None:
            if not future.cancelled() and future.exception() is None:
                offset = future.result().offset
                self.tracker.event_acknowledged(event["user_id"], offset, due, truth, last, time.monotonic())

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
            if ticks % 4 == 0:
                await asyncio.gather(*(asyncio.to_thread(worker.look) for worker in self.workers))
            self._show(self)
            ticks += 1
            await asyncio.sleep(0.25)

    async def _until(self, condition: Callable[[], bool], watchers: list[asyncio.Task[None]], timeout_s: float) -> None:
        deadline = time.monotonic() + timeout_s
        while not condition() and time.monotonic() < deadline:
            _raise_failures(watchers)
            if self._stop.is_set() and not self.tracker.sent:
                return
            await asyncio.sleep(0.02)

    def summary(self) -> dict[str, Any]:
        """The figures of the run."""
        tracker = self.tracker
        right, by_last = tracker.accuracy()
        first = tracker.first_update_at
        return {
            "events_sent": tracker.sent,
            "events_applied": tracker.applied,
            "updates_seen": tracker.updates,
            "users": len(tracker.users),
            "seconds": round(self.elapsed_s, 1),
            "events_per_s": round(tracker.sent / self.elapsed_s, 1),
            "latency_p50_ms": tracker.latency_ms(0.5),
            "latency_p99_ms": tracker.latency_ms(0.99),
            "top_interest_is_truth": round(right, 3),
            "last_category_is_truth": round(by_last, 3),
            "first_update_after_s": None if first is None else round(first - self.started_at, 1),
            "complete": tracker.complete() and tracker.sent > 0,
        }


class WorkerProcess:
    """A worker of the demo, in a process of its own."""

    def __init__(self, settings: Settings, log: Path) -> None:
        self._log = log
        self._url = ""
        self.ready = False
        self.view = WorkerView("starting", 0)
        command = [sys.executable, "-m", "stream.cli", "worker", "--broker", settings.broker]
        command += ["--session-timeout-s", "10", "--heartbeat-s", "2"]
        if settings.model:
            command += ["--model", settings.model]
        with log.open("wb") as out:
            # a session of its own: Ctrl-C is for the demo, which then ends its workers in order
            self._process = subprocess.Popen(
                command, stdout=out, stderr=subprocess.STDOUT, start_new_session=True, env=_clean()
            )

    def look(self) -> None:
        """Refresh `view`. Raises Failure with the last words of a worker that ended."""
        if self._process.poll() is not None:
            tail = self._log.read_text(errors="replace").strip()[-1500:]
            raise Failure(f"the worker ended with code {self._process.returncode}. Its last words:\n{tail}")
        if not self._url:
            found = re.search(r"health and metrics on (http://\S+)", self._log.read_text(errors="replace"))
            self._url = found.group(1) if found else ""
        if not self._url:
            return
        with suppress(OSError, ValueError):
            answer = orjson.loads(_get(f"{self._url}/readyz"))
            self.ready = answer["ready"]
            lag = parse_sample(_get(f"{self._url}/metrics"))["lag"]
            self.view = WorkerView("ready" if self.ready else ", ".join(answer["reasons"]), int(lag))

    def end(self) -> None:
        """SIGTERM, and SIGKILL if that is not enough."""
        self._process.send_signal(signal.SIGTERM)
        try:
            self._process.wait(12)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()


def _get(url: str) -> str:
    try:
        with urllib.request.urlopen(url, timeout=2) as answer:
            return str(answer.read().decode())
    except urllib.error.HTTPError as error:  # 503 has the reasons in its body
        return str(error.read().decode())


def _clean() -> dict[str, str]:
    """The environment without settings meant for the user's own workers."""
    return {name: value for name, value in os.environ.items() if not name.startswith("INTEREST_STREAM_")}


def _raise_failures(tasks: list[asyncio.Task[None]]) -> None:
    for task in tasks:
        if task.done() and not task.cancelled() and task.exception() is not None:
            raise task.exception()  # type: ignore[misc]

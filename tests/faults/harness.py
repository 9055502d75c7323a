"""Real workers as real processes, on topics of their own, so that a test can kill what it started and audit what is left."""

from __future__ import annotations

import asyncio
import json
import os
import random
import re
import signal
import subprocess
import sys
import threading
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import orjson
from aiokafka import AIOKafkaConsumer, AIOKafkaProducer, TopicPartition

from stream.config import Settings
from stream.kafka_client import heed_group_errors
from stream.topics import create_topics

SESSION_S = 6
COMMAND = (sys.executable, "-m", "stream.cli")


def wait_until(condition: Callable[[], Any], timeout_s: float, what: str, interval_s: float = 0.05) -> Any:
    """The first true answer of a condition; AssertionError naming it after the timeout."""
    deadline = time.monotonic() + timeout_s
    while True:
        answer = condition()
        if answer:
            return answer
        assert time.monotonic() < deadline, f"not within {timeout_s:.0f} s: {what}"
        time.sleep(interval_s)


@dataclass
class Worker:
    """A worker process and its log."""

    process: Any  # subprocess.Popen, or what behaves like it
    log_path: Path

    @property
    def log(self) -> str:
        return self.log_path.read_text(encoding="utf-8", errors="replace")

    @property
    def web(self) -> str | None:
        found = re.search(r"health and metrics on (http://\S+)", self.log)
        return found.group(1) if found else None

    def get(self, path: str) -> tuple[int, str]:
        try:
            with urllib.request.urlopen(f"{self.web}{path}", timeout=5) as answer:
                return answer.status, answer.read().decode()
        except urllib.error.HTTPError as error:
            return error.code, error.read().decode()
        except OSError as error:
            return 0, str(error)

    def ready(self) -> bool:
        assert self.process.poll() is None, f"the worker ended with {self.process.returncode}:\n{self.log[-3000:]}"
        return bool(self.web) and self.get("/readyz")[0] == 200

    def metric(self, name: str, **labels: str) -> float:
        wanted = ",".join(f'{key}="{value}"' for key, value in labels.items())
        for line in self.get("/metrics")[1].splitlines():
            head, _, number = line.rpartition(" ")
            if head in (f"interest_stream_{name}", f"interest_stream_{name}{{{wanted}}}"):
                return float(number)
        return 0.0

    @property
    def partitions(self) -> set[int]:
        """Those it was given last, once it has their states."""
        given, _, after = self.log.rpartition("partitions assigned: ")[2].partition("\n")
        return {int(each) for each in re.findall(r"\d+", given)} if "states restored" in after else set()

    def kill(self) -> None:
        self.process.kill()
        self.process.wait(10)

    def stop(self, signal_: signal.Signals = signal.SIGTERM, timeout_s: float = 10) -> int:
        self.process.send_signal(signal_)
        code: int = self.process.wait(timeout_s)
        return code


def spawn_command(arguments: list[str], environment: Mapping[str, str], log_path: Path) -> subprocess.Popen[bytes]:
    """Start the command with its output in a file."""
    with log_path.open("wb") as log:
        return subprocess.Popen(
            [*COMMAND, *arguments], env=environment, stdout=log, stderr=subprocess.STDOUT, start_new_session=True
        )


@dataclass
class Pipeline:
    """One pipeline: topics, workers, producer and audit under unique names."""

    url: str
    settings: Settings
    folder: Path
    workers: list[Worker] = field(default_factory=list)
    spawn: Callable[[list[str], Mapping[str, str], Path], Any] = spawn_command
    _stop_load: threading.Event = field(default_factory=threading.Event)

    def stop_load(self) -> None:
        """End the loads in the background early."""
        self._stop_load.set()

    @property
    def environment(self) -> dict[str, str]:
        names = (
            "app_id",
            "events_topic",
            "updates_topic",
            "profiles_topic",
            "dead_letters_topic",
            "popularity_topic",
        )
        own = {f"INTEREST_STREAM_{name.upper()}": str(getattr(self.settings, name)) for name in names}
        return {**os.environ, **own, "INTEREST_STREAM_BROKER": self.url}

    def start(
        self,
        *arguments: str,
        failpoints: str = "",
        ready: bool = True,
        more_environment: Mapping[str, str] | None = None,
    ) -> Worker:
        """Start a worker; wait until it is ready to apply events."""
        log_path = self.folder / f"worker-{len(self.workers)}.log"
        environment = {**self.environment, **(more_environment or {})}
        if failpoints:
            environment |= {"INTEREST_STREAM_FAILPOINTS": failpoints, "INTEREST_STREAM_TEST": "1"}
        timing = ("--session-timeout-s", str(SESSION_S), "--heartbeat-s", "1", "--commit-interval-s", "0.5")
        log_path.touch()
        worker = Worker(self.spawn(["worker", *timing, *arguments], environment, log_path), log_path)
        self.workers.append(worker)
        if ready:
            wait_until(worker.ready, 60, "the worker is ready")
        return worker

    def run(self, *arguments: str, timeout_s: float = 120) -> subprocess.CompletedProcess[str]:
        """Another command of the project, to its end."""
        return subprocess.run(
            [*COMMAND, *arguments], env=self.environment, capture_output=True, text=True, timeout=timeout_s, check=False
        )

    def produce(self, events: int, users: int = 300, rate: float | None = None, seed: int = 1) -> int:
        """Send events and return when all are acknowledged."""
        return asyncio.run(self._produce(events, users, rate, seed))

    def produce_in_background(
        self, events: int, users: int = 300, rate: float | None = None, seed: int = 1
    ) -> threading.Thread:
        thread = threading.Thread(target=self.produce, args=(events, users, rate, seed), daemon=True)
        thread.start()
        return thread

    async def _produce(self, events: int, users: int, rate: float | None, seed: int) -> int:
        producer = AIOKafkaProducer(
            bootstrap_servers=self.settings.bootstrap, enable_idempotence=True, linger_ms=10, max_batch_size=65_536
        )
        await producer.start()
        random_, started = random.Random(seed), time.monotonic()
        try:
            for number in range(events):
                if self._stop_load.is_set():
                    return number
                user = f"user-{random_.randrange(users)}"
                event = {
                    "user_id": user,
                    "action": random_.choice(("view", "click", "purchase", "like")),
                    "time": int(time.time() * 1000),
                    "item_id": f"item-{random_.randrange(500)}",
                }
                if number % 3 == 0:
                    event["event_id"] = f"{seed}-{random_.randrange(events)}"  # some repeat
                await producer.send(self.settings.events_topic, orjson.dumps(event), key=user.encode())
                if rate and number % 50 == 0:
                    await asyncio.sleep(max(0.0, started + number / rate - time.monotonic()))
        finally:
            await producer.stop()
        return events

    def offsets(self) -> dict[int, tuple[int, int]]:
        """Committed and end offset of each source partition."""
        return asyncio.run(self._offsets())

    async def _offsets(self) -> dict[int, tuple[int, int]]:
        consumer = AIOKafkaConsumer(
            bootstrap_servers=self.settings.bootstrap, group_id=self.settings.app_id, enable_auto_commit=False
        )
        await consumer.start()
        heed_group_errors(consumer)
        try:
            partitions = [TopicPartition(self.settings.events_topic, each) for each in range(4)]
            ends = await consumer.end_offsets(partitions)
            return {each.partition: (await consumer.committed(each) or 0, ends[each]) for each in partitions}
        finally:
            await consumer.stop()

    def committed(self) -> int:
        return sum(committed for committed, _ in self.offsets().values())

    def wait_applied(self, timeout_s: float = 60) -> None:
        """Until everything in the topic is committed."""

        def done() -> bool:
            for worker in self.workers:
                code = worker.process.poll()
                assert code in (None, 0, -signal.SIGKILL), f"a worker ended with {code}:\n{worker.log[-3000:]}"
            return all(committed == end for committed, end in self.offsets().values())

        wait_until(done, timeout_s, "every event committed", interval_s=0.3)

    def audit(self) -> dict[str, Any]:
        """The audit's report; fails the test when it found a difference."""
        done = self.run("audit", "--json")
        assert done.returncode == 0, f"audit found differences:\n{done.stdout}\n{done.stderr}"
        report: dict[str, Any] = json.loads(done.stdout)
        return report

    def close(self) -> None:
        self.stop_load()
        for worker in self.workers:
            if worker.process.poll() is None:
                worker.kill()


def make_pipeline(
    url: str, unique: Callable[[str], str], folder: Path, partitions: int = 4, **changes: Any
) -> Iterator[Pipeline]:
    """Topics created, nothing started; everything started is ended."""
    name = unique("run")
    settings = Settings(
        broker=url,
        app_id=f"app-{name}",
        events_topic=f"events-{name}",
        updates_topic=f"updates-{name}",
        profiles_topic=f"profiles-{name}",
        dead_letters_topic=f"dead-{name}",
        popularity_topic=f"popularity-{name}",
        **changes,
    )
    asyncio.run(create_topics(settings, partitions, 1))
    pipeline = Pipeline(url, settings, folder)
    try:
        yield pipeline
    finally:
        pipeline.close()

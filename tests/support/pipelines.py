"""Runs real workers as real processes, on topics of their own.

So a test can kill what it started and audit what is left.
"""

from __future__ import annotations

import asyncio
import http.client
import json
import os
import random
import re
import signal
import subprocess
import threading
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

import orjson
from aiokafka import AIOKafkaConsumer, AIOKafkaProducer, TopicPartition

from stream.config import Settings
from stream.errors import TopicError
from stream.kafka.client import heed_group_errors
from stream.kafka.topics import create_topics
from tests.support import processes

SESSION_S: Final = 6
SHORT_SESSION_S: Final = 3
"""For tests that have to sit out the session of a worker that was killed or stopped."""
PATIENCE_S: Final = 180.0
"""How long nothing may move before a test gives up.

A machine that is much slower than ours fails no test.
"""
ANSWER_S: Final = 30.0
"""How long a worker that lives may take for an answer; a number read once has no second chance."""


def wait_until(
    condition: Callable[[], Any],
    what: str,
    patience_s: float = PATIENCE_S,
    interval_s: float = 0.05,
    moved: Callable[[], Any] = lambda: None,
) -> Any:
    """Returns the first true answer of a condition.

    Raises AssertionError, which says what was waited for, once `moved` has given the same answer
    for `patience_s`.
    """
    seen, since = moved(), time.monotonic()
    while True:
        answer = condition()
        if answer:
            return answer
        now = moved()
        if now != seen:
            seen, since = now, time.monotonic()
        assert time.monotonic() < since + patience_s, f"not within {patience_s:.0f} s: {what}"
        time.sleep(interval_s)


def is_stopped(pid: int) -> bool:
    """Returns whether a process was stopped by a SIGSTOP."""
    try:
        stat = Path(f"/proc/{pid}/stat").read_text(encoding="utf-8")
    except OSError:
        return False
    return stat.rpartition(")")[2].split()[0] == "T"


@dataclass
class Worker:
    """A worker process and its log."""

    process: processes.Process
    log_path: Path

    @property
    def log(self) -> str:
        return self.log_path.read_text(encoding="utf-8", errors="replace")

    @property
    def web(self) -> str | None:
        found = re.search(r"health and metrics on (http://\S+)", self.log)
        return found.group(1) if found else None

    def get(self, path: str) -> tuple[int, str]:
        """Returns status and text of an answer; 0 and the reason where there is none."""
        if self.web is None:
            return 0, "the worker has not said where it serves"
        try:
            with urllib.request.urlopen(f"{self.web}{path}", timeout=ANSWER_S) as answer:
                return answer.status, answer.read().decode()
        except urllib.error.HTTPError as error:
            return error.code, error.read().decode()
        except (OSError, http.client.HTTPException) as error:  # also: it ended in the middle
            return 0, str(error)

    def ready(self) -> bool:
        assert self.process.poll() is None, (
            f"the worker ended with {self.process.returncode}:\n{self.log[-3000:]}"
        )
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
        return (
            {int(each) for each in re.findall(r"\d+", given)}
            if "states restored" in after
            else set()
        )

    def kill(self) -> None:
        self.process.kill()
        self.process.wait(PATIENCE_S)

    def stop(self, signal_: signal.Signals = signal.SIGTERM) -> int:
        """Asks the worker to end and returns its exit code."""
        self.process.send_signal(signal_)
        return self.wait()

    def wait(self) -> int:
        """Returns the exit code once the worker has ended.

        Fails when its log stands still for too long before.
        """
        wait_until(
            lambda: self.process.poll() is not None,
            f"{self.log_path.stem} ends",
            moved=lambda: self.log_path.stat().st_size,
        )
        return self.process.wait()


@dataclass
class Pipeline:
    """One pipeline: topics, workers, producer and audit under unique names."""

    url: str
    settings: Settings
    folder: Path
    workers: list[Worker] = field(default_factory=list)
    spawn: processes.Spawn = processes.spawn
    session_s: float = SESSION_S
    precision: str = "float32"  # else each start measures which one is faster here
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
        own = {
            f"INTEREST_STREAM_{name.upper()}": str(getattr(self.settings, name)) for name in names
        }
        own |= {"INTEREST_STREAM_BROKER": self.url, "INTEREST_STREAM_PRECISION": self.precision}
        own["TMPDIR"] = str(self.folder)  # a worker that is killed leaves its temporary folder
        return {**os.environ, **own}

    def start(
        self,
        *arguments: str,
        failpoints: str = "",
        ready: bool = True,
        more_environment: Mapping[str, str] | None = None,
    ) -> Worker:
        """Start a worker; wait until it is ready to apply events.

        It has the demo model unless another one is named.
        """
        if not {"--model", "--null-model", "--demo-model"} & set(arguments):
            arguments = ("--demo-model", *arguments)
        log_path = self.folder / f"worker-{len(self.workers)}.log"
        environment = {**self.environment, **(more_environment or {})}
        if failpoints:
            environment |= {"INTEREST_STREAM_FAILPOINTS": failpoints, "INTEREST_STREAM_TEST": "1"}
        timing = (
            "--session-timeout-s",
            str(self.session_s),
            "--heartbeat-s",
            "0.5",
            "--commit-interval-s",
            "0.5",
        )
        log_path.touch()
        worker = Worker(
            self.spawn(["worker", *timing, *arguments], environment, log_path), log_path
        )
        self.workers.append(worker)
        if ready:
            self.wait_ready(worker)
        return worker

    def wait_ready(self, *workers: Worker) -> None:
        """Returns when all of these are ready; fails while their logs stand still for too long."""
        wait_until(
            lambda: all(worker.ready() for worker in workers),
            "the workers are ready",
            moved=lambda: [worker.log_path.stat().st_size for worker in workers],
        )

    def run(self, *arguments: str) -> subprocess.CompletedProcess[str]:
        """Another command of the project, to its end."""
        return processes.run(list(arguments), self.environment)

    def produce(
        self, events: int, users: int = 300, rate: float | None = None, seed: int = 1
    ) -> int:
        """Send events and return when all are acknowledged."""
        return asyncio.run(self._produce(events, users, rate, seed, threading.Event()))

    def produce_in_background(
        self, events: int, users: int = 300, rate: float | None = None, seed: int = 1
    ) -> threading.Thread:
        """Starts to send events, until all are sent or `stop_load` is called."""
        sending = self._produce(events, users, rate, seed, self._stop_load)
        thread = threading.Thread(target=asyncio.run, args=(sending,), daemon=True)
        thread.start()
        return thread

    async def _produce(
        self, events: int, users: int, rate: float | None, seed: int, stop: threading.Event
    ) -> int:
        producer = AIOKafkaProducer(
            bootstrap_servers=self.settings.bootstrap,
            enable_idempotence=True,
            linger_ms=10,
            max_batch_size=65_536,
            # a broker that is started again on a busy machine is away for longer than 40 s
            request_timeout_ms=int(PATIENCE_S * 1_000),
        )
        await producer.start()
        random_, started = random.Random(seed), time.monotonic()
        try:
            for number in range(events):
                if stop.is_set():
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
                await producer.send(
                    self.settings.events_topic, orjson.dumps(event), key=user.encode()
                )
                if rate and number % 50 == 0:
                    await asyncio.sleep(max(0.0, started + number / rate - time.monotonic()))
        finally:
            await producer.stop()
        return events

    def offsets(self) -> dict[int, tuple[int, int]]:
        """Committed and end offset of each source partition."""
        with self.reading_offsets() as read:
            return read()

    @contextmanager
    def reading_offsets(self) -> Iterator[Callable[[], dict[int, tuple[int, int]]]]:
        """Yields what says, again and again, the committed and end offset of each partition."""
        with asyncio.Runner() as runner:
            consumer = runner.run(self._consumer_of_the_group())
            try:
                yield lambda: runner.run(self._offsets(consumer))
            finally:
                runner.run(consumer.stop())

    async def _consumer_of_the_group(self) -> AIOKafkaConsumer:
        consumer = AIOKafkaConsumer(
            bootstrap_servers=self.settings.bootstrap,
            group_id=self.settings.app_id,
            enable_auto_commit=False,
        )
        await consumer.start()
        heed_group_errors(consumer)
        return consumer

    async def _offsets(self, consumer: AIOKafkaConsumer) -> dict[int, tuple[int, int]]:
        partitions = [TopicPartition(self.settings.events_topic, each) for each in range(4)]
        ends = await consumer.end_offsets(partitions)
        return {
            each.partition: (await consumer.committed(each) or 0, ends[each]) for each in partitions
        }

    def committed(self) -> int:
        return sum(committed for committed, _ in self.offsets().values())

    def wait_applied(self) -> None:
        """Waits until everything in the topic is committed.

        Fails while nothing more is committed for too long.
        """

        def done() -> bool:
            for worker in self.workers:
                code = worker.process.poll()
                assert code in (None, 0, -signal.SIGKILL), (
                    f"a worker ended with {code}:\n{worker.log[-3000:]}"
                )
            offsets = read()
            seen.append(offsets)
            return all(committed == end for committed, end in offsets.values())

        seen: list[dict[int, tuple[int, int]]] = [{}]
        with self.reading_offsets() as read:
            wait_until(done, "every event committed", interval_s=0.1, moved=lambda: seen[-1])

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

    def made() -> bool:
        try:
            asyncio.run(create_topics(settings, partitions, 1))
        except TopicError as error:
            # a broker that had no core for three seconds takes topics after its next heartbeat
            if "fenced" not in str(error):
                raise
            return False
        return True

    wait_until(made, "the broker takes topics")
    pipeline = Pipeline(url, settings, folder)
    try:
        yield pipeline
    finally:
        pipeline.close()

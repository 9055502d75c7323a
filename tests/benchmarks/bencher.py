"""Runs one form of the job on topics that nobody else uses.

It measures the form's rate, or what a kill -9 makes of its state; `tests.benchmarks.compare` is the
command that uses it.
"""

from __future__ import annotations

import asyncio
import json
import os
import secrets
import shutil
import signal
import subprocess
import tempfile
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Final

import orjson
from aiokafka import AIOKafkaConsumer, TopicPartition
from aiokafka.admin import AIOKafkaAdminClient, NewTopic

from models.predict import load_predictor
from stream.bench import rate as bench
from stream.bench.load import produce_backlog, random_events
from stream.config import Settings
from stream.errors import Failure
from stream.kafka.client import client_options
from stream.kafka.topics import create_topics
from tests.benchmarks.forms import EVENTS, MANY_USERS, Form, Task, command
from tests.benchmarks.report import Run, say

PEERS: Final = Path(__file__).parent / "peers"
START_S: Final = 60.0
"""A peer gets this beyond its window, to start and to flush."""

FOREVER_S: Final = 1e9


@dataclass(frozen=True, slots=True)
class Source:
    """Holds a topic with events that many forms read."""

    topic: str
    events: int


class Bencher:
    """Runs forms on topics that nobody else uses."""

    def __init__(self, settings: Settings, python: str, window: float) -> None:
        self._settings, self._python, self._window = settings, python, window
        self._items = load_predictor(None).info.items
        self._sources: dict[tuple[int, int], Source] = {}

    @contextmanager
    def sources(self, tasks: Sequence[Task]) -> Iterator[None]:
        """Makes the topics that some runs read, and deletes them afterwards."""
        try:
            for users, events in dict.fromkeys((task.users, task.events) for task in tasks):
                self._sources[users, events] = self._source(users, events)
            yield
        finally:
            self._delete([source.topic for source in self._sources.values()])
            self._sources.clear()

    def _source(self, users: int, events: int) -> Source:
        """Returns a new topic filled with random events."""
        say(f"producing {events:,} events of {users:,} users")
        source = Source(f"compare-{secrets.token_hex(4)}-{users}", events)
        self._create(source.topic)
        settings = replace(self._settings, events_topic=source.topic)
        asyncio.run(produce_backlog(settings, random_events(events, users, self._items, seed=1)))
        return source

    def run(self, task: Task) -> Run:
        """Returns the figures of one run of a form, events/s among them. Raises Failure."""
        source = self._sources[task.users, task.events]
        return self._worker(task, source) if not task.form.script else self._peer(task, source)

    def _worker(self, task: Task, source: Source) -> Run:
        """Measures a worker of this project."""
        settings = replace(bench.fresh_settings(self._settings), events_topic=source.topic)
        asyncio.run(create_topics(settings, 4, 1))
        arguments = [
            "--max-batch-events",
            str(task.form.batch),
            *(["--null-model"] if task.model == "null" else []),
        ]
        try:
            with bench.running_worker(settings, arguments) as worker:
                figures = worker.drain(source.events)
                figures["memory_mb"] = worker.peak_memory_mb()
            bench.audit(settings)
        finally:
            self._delete(
                [
                    settings.updates_topic,
                    settings.profiles_topic,
                    settings.dead_letters_topic,
                    settings.changelog_topic,
                ]
            )
        return figures

    def _peer(self, task: Task, source: Source) -> Run:
        """Measures a peer: it reports its own rate, over a window."""
        window = self._window * (2 if task.many else 1)
        with self._started(task.form, task.model, source, window) as (process, log, _):
            with suppress(subprocess.TimeoutExpired):
                process.wait(START_S + window)
            lines = [
                line for line in log.read_text(errors="replace").splitlines() if "RATE {" in line
            ]
            if not lines:
                raise Failure(f"no rate was reported:\n{log.read_text(errors='replace')[-500:]}")
        rate: Run = json.loads(lines[-1][lines[-1].index("{") :])
        return rate

    def kills(self, forms: Sequence[Form], users: int, events: int | None) -> list[Run]:
        """Returns what a kill -9 of each form lost and doubled."""
        source = self._source(users, events or EVENTS["null", users > MANY_USERS])
        try:
            return [self.kill(form, source, users) for form in forms if not form.limit]
        finally:
            self._delete([source.topic])

    @contextmanager
    def _started(
        self,
        form: Form,
        model: str,
        source: Source,
        seconds: float,
        again: dict[str, str] | None = None,
    ) -> Iterator[tuple[subprocess.Popen[bytes], Path, dict[str, str]]]:
        """Starts a peer's process, and ends it and what it left behind."""
        # The names of its topics: new ones, or those of the run that it goes on with.
        job = again or {
            "JOB_GROUP": (group := f"peer-{secrets.token_hex(4)}"),
            "JOB_UPDATES": f"{group}-updates",
        }
        job |= {"JOB_CHANGELOG": f"{job['JOB_GROUP']}-changelog"}
        profiles = f"{job['JOB_UPDATES']}-profiles"
        if again is None:
            self._create(job["JOB_UPDATES"], job["JOB_CHANGELOG"], profiles)
            job["JOB_FOLDER"] = tempfile.mkdtemp(prefix="interest-stream-peer-")
        log = Path(job["JOB_FOLDER"] + ".log")

        # Everything else it is told by its environment.
        environment = {
            **os.environ,
            **job,
            "PYTHONPATH": os.pathsep.join((str(PEERS.parents[2]), str(PEERS))),
            "JOB_BROKER": self._settings.bootstrap[0],
            "JOB_SOURCE": source.topic,
            "JOB_EVENTS": str(source.events if seconds < FOREVER_S else 1 << 60),
            "JOB_SECONDS": str(seconds),
            "JOB_MODEL": model,
            "JOB_SCORER": form.scorer,
            "JOB_FORM": form.form,
            "JOB_BATCH": str(form.batch),
        }
        with log.open("ab") as out:
            line = ["bash", "-c", command(form, self._python)]
            process = subprocess.Popen(
                line, env=environment, cwd=PEERS, stdout=out, stderr=out, start_new_session=True
            )
        try:
            yield process, log, job
        finally:
            if process.poll() is None:
                os.killpg(process.pid, signal.SIGKILL)
            process.wait()
            if seconds < FOREVER_S:
                self._forget(job)

    def kill(self, form: Form, source: Source, users: int) -> Run:
        """Kills a form in the middle, starts it again and lets it finish.

        Returns how many events each user's last update has too few or too many.
        """
        # A peer, or a worker of this project.
        if form.script:
            with self._started(form, "null", source, FOREVER_S) as (_, _, job):
                self._until_published(job["JOB_UPDATES"])
            with self._started(form, "null", source, FOREVER_S, job):
                resumed = self._until_quiet(job["JOB_UPDATES"])
            updates = job["JOB_UPDATES"]
        else:
            settings = replace(bench.fresh_settings(self._settings), events_topic=source.topic)
            asyncio.run(create_topics(settings, 4, 1))
            arguments = [
                "--null-model",
                "--max-batch-events",
                str(form.batch),
                "--session-timeout-s",
                "6",
                "--heartbeat-s",
                "1",
            ]
            with bench.running_worker(settings, arguments) as worker:
                self._until_published(settings.updates_topic)
                worker.kill()
            with bench.running_worker(settings, arguments):
                resumed = self._until_quiet(settings.updates_topic)
            updates = settings.updates_topic

        # The last update of each user has the number of events it saw; the topic has them all.
        seen: dict[bytes, int] = {}
        for key, value in asyncio.run(self._read(updates)):
            seen[key] = orjson.loads(value)["events_seen"]
        true: dict[bytes, int] = {}
        for key, _ in asyncio.run(self._read(source.topic)):
            true[key] = true.get(key, 0) + 1
        difference = [seen.get(user, 0) - count for user, count in true.items()]
        run = {
            "form": form.name,
            "users": users,
            "lost": -sum(each for each in difference if each < 0),
            "doubled": sum(each for each in difference if each > 0),
            "users_wrong": sum(each != 0 for each in difference),
            "resumed_s": round(resumed, 1),
        }
        say(json.dumps(run))
        return run

    def _until_published(self, topic: str) -> None:
        """Waits until a topic of updates has its first records."""
        while not asyncio.run(self._ends(topic)):
            time.sleep(0.05)
        time.sleep(1.5)

    def _until_quiet(self, topic: str) -> float:
        """Waits until a form that was started again publishes nothing more.

        Returns the seconds until it published first.
        """
        started = last_change = time.perf_counter()
        before, resumed = asyncio.run(self._ends(topic)), 0.0
        while time.perf_counter() - last_change < (8.0 if resumed else 40.0):
            time.sleep(0.2)
            now = asyncio.run(self._ends(topic))
            if now != before:
                before, last_change = now, time.perf_counter()
                resumed = resumed or last_change - started
        return resumed

    async def _ends(self, topic: str) -> int:
        """Returns the end offsets of a topic, added up."""
        async with AIOKafkaConsumer(**client_options(self._settings)) as consumer:
            return sum(
                (
                    await consumer.end_offsets([TopicPartition(topic, each) for each in range(4)])
                ).values()
            )

    async def _read(self, topic: str) -> list[tuple[bytes, bytes]]:
        """Returns all keys and values of a topic."""
        found: list[tuple[bytes, bytes]] = []
        async with AIOKafkaConsumer(
            auto_offset_reset="earliest", **client_options(self._settings)
        ) as consumer:
            partitions = [TopicPartition(topic, each) for each in range(4)]
            ends = await consumer.end_offsets(partitions)
            consumer.assign(partitions)
            await consumer.seek_to_beginning(*partitions)
            while any([await consumer.position(each) < ends[each] for each in partitions]):
                for records in (await consumer.getmany(timeout_ms=200)).values():
                    found += [(record.key, record.value) for record in records]
        return found

    def _create(self, *topics: str) -> None:
        """Creates topics."""

        async def create() -> None:
            admin = AIOKafkaAdminClient(**client_options(self._settings))
            await admin.start()
            await admin.create_topics([NewTopic(topic, 4, 1) for topic in topics])
            await admin.close()

        asyncio.run(create())

    def _forget(self, job: dict[str, str]) -> None:
        """Removes a peer's folder, its topics, and those that its library made for it."""
        shutil.rmtree(job["JOB_FOLDER"], ignore_errors=True)
        Path(job["JOB_FOLDER"] + ".log").unlink(missing_ok=True)
        self._delete([], job["JOB_GROUP"])

    def _delete(self, topics: list[str], named_like: str = "") -> None:
        """Deletes topics, and a consumer group if one is named."""

        async def delete() -> None:
            admin = AIOKafkaAdminClient(**client_options(self._settings))
            await admin.start()
            alike = (
                [topic for topic in await admin.list_topics() if named_like in topic]
                if named_like
                else []
            )
            await admin.delete_topics([*topics, *alike])
            await admin.close()

        asyncio.run(delete())

"""Measure one worker process on a fresh topic: the rate at which it drains a backlog, and the latency of a paced load.

Rates come from the worker's own counters, sampled from outside, from the first durable batch to the last. Latency is open-loop:
event i is due at start + i / rate whatever happened before, and counts from then until an update that includes it is read.
"""

from __future__ import annotations

import asyncio
import json
import os
import re
import secrets
import subprocess
import sys
import tempfile
import time
import urllib.request
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import orjson
from aiokafka import AIOKafkaConsumer, AIOKafkaProducer, TopicPartition
from aiokafka.admin import AIOKafkaAdminClient
from aiokafka.partitioner import murmur2

from stream.config import Settings
from stream.errors import Failure
from stream.kafka_client import client_options
from stream.record_batches import PreparedBatch, pack
from stream.topics import create_topics

SAMPLE_S = 0.05
BACKLOG_BATCH = 4_000


@dataclass(frozen=True, slots=True)
class BenchResult:
    """What one run measured."""

    events: int
    users: int
    model: str
    events_per_s: float
    updates_per_s: float
    updates: int
    seconds: float
    events_per_batch: float
    model_share: float  # of wall time spent in LSTM and scoring
    start_s: float  # process start to first durable batch
    latency_rate: float
    latency_p50_ms: float
    latency_p99_ms: float
    latency_events: int
    audit: str


def fresh_settings(settings: Settings) -> Settings:
    """The same settings on topics that nobody else uses."""
    run = f"bench-{secrets.token_hex(4)}"
    return replace(
        settings,
        app_id=run,
        events_topic=f"{run}-clickstream",
        updates_topic=f"{run}-updates",
        profiles_topic=f"{run}-profiles",
        dead_letters_topic=f"{run}-dead-letters",
    )


def run_bench(
    settings: Settings,
    *,
    events: int,
    users: int,
    items: tuple[str, ...],
    arguments: list[str],
    rate: float,
    seconds: float,
    say: Callable[[str], None],
) -> BenchResult:
    """Produce a backlog, drain it with one worker, then pace a load through the same worker; audit; remove the topics."""
    settings = fresh_settings(settings)
    asyncio.run(create_topics(settings, 4, 1))
    try:
        say(f"producing {events} events of {users} users")
        asyncio.run(produce_backlog(settings, random_events(events, users, items, seed=1)))
        say("draining them with one worker")
        with running_worker(settings, arguments) as worker:
            drained = worker.drain(events)
            say(f"latency: {rate:.0f} events/s for {seconds:.0f} s")
            latencies = asyncio.run(_paced(settings, rate, seconds, users, items)) if seconds else np.zeros(0)
        say("auditing")
        audited = audit(settings)
    finally:
        asyncio.run(remove_topics(settings))
    p50, p99 = np.percentile(latencies, (50, 99)) * 1000 if len(latencies) else (float("nan"), float("nan"))
    return BenchResult(
        events=events,
        users=users,
        **drained,
        latency_rate=rate,
        latency_p50_ms=round(float(p50), 1),
        latency_p99_ms=round(float(p99), 1),
        latency_events=len(latencies),
        audit=audited,
    )


class BenchWorker:
    """The worker process under measurement."""

    def __init__(self, process: subprocess.Popen[bytes], log: Path) -> None:
        self._process, self._log = process, log
        self._started = time.perf_counter()
        self._url = ""

    def kill(self) -> None:
        """As a machine that loses its power."""
        self._process.kill()
        self._process.wait()

    def peak_memory_mb(self) -> int:
        """Resident, at its highest; 0 where the system does not tell."""
        with suppress(OSError):
            status = Path(f"/proc/{self._process.pid}/status").read_text()
            found = re.search(r"VmHWM:\s+(\d+)", status)
            return int(found.group(1)) // 1024 if found else 0
        return 0

    def drain(self, events: int) -> dict[str, Any]:
        """Wait until all events are applied; figures from the first durable batch to the last."""
        first = self._until(lambda sample: sample["applied"] > 0)
        start_s = time.perf_counter() - self._started
        began = time.perf_counter()
        last = self._until(lambda sample: sample["applied"] >= events)
        seconds = time.perf_counter() - began
        busy = last["step"] + last["score"] - first["step"] - first["score"]
        return {
            "model": last["model"],
            "events_per_s": round((last["applied"] - first["applied"]) / seconds),
            "updates_per_s": round((last["updates"] - first["updates"]) / seconds),
            "updates": int(last["updates"]),
            "seconds": round(seconds, 2),
            "events_per_batch": round(events / last["batches"]),
            "model_share": round(busy / seconds, 3),
            "start_s": round(start_s, 2),
        }

    def _until(self, condition: Callable[[dict[str, Any]], bool]) -> dict[str, Any]:
        while True:
            if self._process.poll() is not None:
                tail = self._log.read_text(errors="replace")[-2000:]
                raise Failure(f"the worker ended with code {self._process.returncode}:\n{tail}")
            sample = self._sample()
            if sample and condition(sample):
                return sample
            time.sleep(SAMPLE_S)

    def _sample(self) -> dict[str, Any] | None:
        if not self._url:
            found = re.search(r"health and metrics on (http://\S+)", self._log.read_text(errors="replace"))
            if found is None:
                return None
            self._url = found.group(1)
        with suppress(OSError), urllib.request.urlopen(f"{self._url}/metrics", timeout=5) as answer:
            return parse_sample(answer.read().decode())
        return None


def parse_sample(text: str) -> dict[str, Any]:
    """The figures of a drain, from the worker's metrics text."""
    values = dict(line.rsplit(" ", 1) for line in text.splitlines() if not line.startswith("#"))
    number = {name: float(value) for name, value in values.items()}
    model = re.search(r'interest_stream_model_info\{.*?name="([^"]*)"', text)
    return {
        "applied": number.get('interest_stream_events_total{result="applied"}', 0.0),
        "updates": number.get("interest_stream_updates_published_total", 0.0),
        "batches": max(1.0, number.get("interest_stream_batches_total", 0.0)),
        "step": number.get("interest_stream_step_seconds_sum", 0.0),
        "score": number.get("interest_stream_score_seconds_sum", 0.0),
        "lag": sum(value for name, value in number.items() if name.startswith("interest_stream_consumer_lag")),
        "model": model.group(1) if model else "",
    }


@contextmanager
def running_worker(settings: Settings, arguments: list[str]) -> Iterator[BenchWorker]:
    """A worker process with these settings; stopped at the end."""
    names = ("app_id", "events_topic", "updates_topic", "profiles_topic", "dead_letters_topic")
    environment = {**os.environ, **{f"INTEREST_STREAM_{name.upper()}": getattr(settings, name) for name in names}}
    with tempfile.TemporaryDirectory(prefix="interest-stream-bench-") as folder:
        log = Path(folder) / "worker.log"
        with log.open("wb") as out:
            command = [sys.executable, "-m", "stream.cli", "worker", "--broker", settings.broker, *arguments]
            process = subprocess.Popen(command, env=environment, stdout=out, stderr=subprocess.STDOUT)
        try:
            yield BenchWorker(process, log)
        finally:
            process.terminate()
            try:
                process.wait(15)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()


def random_events(count: int, users: int, items: tuple[str, ...], seed: int) -> Iterator[tuple[bytes, bytes]]:
    """Key and value of events: uniform users, each with a favourite stretch of the catalogue."""
    random = np.random.default_rng(seed)
    who = random.integers(0, users, count)
    where = (who * 7919 + random.integers(0, 20, count)) % len(items)
    now_ms = int(time.time() * 1000)
    for place, (user, item) in enumerate(zip(who.tolist(), where.tolist(), strict=True)):
        name = f"user-{user}"
        yield (
            name.encode(),
            orjson.dumps({"user_id": name, "action": "view", "time": now_ms + place // 100, "item_id": items[item]}),
        )


async def produce_backlog(settings: Settings, events: Iterable[tuple[bytes, bytes]], partitions: int = 4) -> None:
    """Events, keyed by user, as full batches: a million in a few seconds."""
    async with AIOKafkaProducer(enable_idempotence=True, **client_options(settings)) as producer:
        waiting: list[list[tuple[bytes, bytes]]] = [[] for _ in range(partitions)]
        for key, value in events:
            partition = partition_of(key, partitions)
            waiting[partition].append((key, value))
            if len(waiting[partition]) >= BACKLOG_BATCH:
                await _send(producer, settings.events_topic, partition, waiting[partition])
                waiting[partition] = []
        for partition, rest in enumerate(waiting):
            await _send(producer, settings.events_topic, partition, rest)
        await producer.flush()


async def _send(
    producer: AIOKafkaProducer, topic: str, partition: int, events: list[tuple[bytes, bytes]]
) -> list[asyncio.Future[Any]]:
    """Queue events of one partition; the futures of their batches."""
    keys, values = [key for key, _ in events], [value for _, value in events]
    return [
        await producer.send_batch(PreparedBatch(section), topic, partition=partition)
        for section in pack(keys, values, int(time.time() * 1000), "none")
    ]


def partition_of(key: bytes, partitions: int) -> int:
    """As Kafka's default partitioner places a key."""
    place: int = murmur2(key) & 0x7FFFFFFF
    return place % partitions


async def _paced(
    settings: Settings, rate: float, seconds: float, users: int, items: tuple[str, ...]
) -> np.ndarray[Any, Any]:
    """Latencies in seconds of a paced load."""
    consumer = AIOKafkaConsumer(auto_offset_reset="latest", fetch_max_wait_ms=50, **client_options(settings))
    producer = AIOKafkaProducer(enable_idempotence=True, **client_options(settings))
    await asyncio.gather(consumer.start(), producer.start())
    try:
        partitions = [TopicPartition(settings.updates_topic, each) for each in range(4)]
        consumer.assign(partitions)
        await consumer.seek_to_end(*partitions)
        due: dict[str, list[tuple[int, float]]] = {}
        pending = asyncio.Event()
        reader = asyncio.create_task(_read_updates(consumer, due, pending))
        started = time.perf_counter()
        for place, (key, value) in enumerate(random_events(int(rate * seconds), users, items, seed=2)):
            intended = started + place / rate
            await asyncio.sleep(max(0.0, intended - time.perf_counter()))
            sent = await producer.send(settings.events_topic, value, key=key)
            sent.add_done_callback(_remember(due, key.decode(), intended))
        await producer.flush()
        pending.set()
        return np.array(await asyncio.wait_for(reader, 60))
    finally:
        await asyncio.gather(consumer.stop(), producer.stop())


def _remember(due: dict[str, list[tuple[int, float]]], user: str, intended: float) -> Callable[[Any], None]:
    def done(future: Any) -> None:
        due.setdefault(user, []).append((future.result().offset, intended))

    return done


async def _read_updates(
    consumer: AIOKafkaConsumer, due: dict[str, list[tuple[int, float]]], all_sent: asyncio.Event
) -> list[float]:
    """An event is answered by the first update of its user whose source offset is not lower."""
    latencies: list[float] = []
    reached: dict[str, tuple[int, float]] = {}  # an update may be read before the acknowledgement of its event
    while not (all_sent.is_set() and not due):
        for records in (await consumer.getmany(timeout_ms=50)).values():
            now = time.perf_counter()
            for record in records:
                reached[record.key.decode()] = (orjson.loads(record.value)["source"]["offset"], now)
        for user, (offset, at) in list(reached.items()):
            waiting = due.get(user, [])
            latencies += [at - intended for sent, intended in waiting if sent <= offset]
            left = [each for each in waiting if each[0] > offset]
            if left:
                due[user] = left
            else:
                due.pop(user, None)
    return latencies


def audit(settings: Settings) -> str:
    """Figures count only if every event was applied exactly once. Raises Failure."""
    command = [sys.executable, "-m", "stream.cli", "audit", "--json", "--broker", settings.broker]
    command += [
        "--app-id",
        settings.app_id,
        "--events-topic",
        settings.events_topic,
        "--dead-letters-topic",
        settings.dead_letters_topic,
    ]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode:
        raise Failure(
            f"the audit after the benchmark found differences, so its figures do not count:\n{done.stdout[-2000:]}{done.stderr[-2000:]}"
        )
    return "clean"


async def remove_topics(settings: Settings) -> None:
    admin = AIOKafkaAdminClient(**client_options(settings))
    await admin.start()
    try:
        await admin.delete_topics(
            [
                settings.events_topic,
                settings.updates_topic,
                settings.profiles_topic,
                settings.dead_letters_topic,
                settings.changelog_topic,
            ]
        )
    finally:
        await admin.close()


def as_json(result: BenchResult) -> str:
    """One JSON object."""
    return json.dumps(asdict(result))

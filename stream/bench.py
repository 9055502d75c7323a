"""Measure one worker process on a fresh topic: the rate at which it drains a backlog, and the latency of a paced load.

Rates come from the worker's own counters, sampled from outside, from the first durable batch to the last.
Load and latency: stream/bench_load.py.
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
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
from aiokafka.admin import AIOKafkaAdminClient

from stream.bench_load import load_on, produce_backlog, random_events
from stream.config import Settings
from stream.errors import Failure
from stream.kafka_client import client_options
from stream.topics import create_topics

SAMPLE_S = 0.05


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

    def stop(self) -> None:
        """As a deployment that replaces it; does not wait."""
        self._process.terminate()

    def log(self) -> str:
        """What it wrote so far."""
        return self._log.read_text(errors="replace")

    def peak_memory_mb(self) -> int:
        """Resident, at its highest; 0 where the system does not tell."""
        with suppress(OSError):
            status = Path(f"/proc/{self._process.pid}/status").read_text()
            found = re.search(r"VmHWM:\s+(\d+)", status)
            return int(found.group(1)) // 1024 if found else 0
        return 0

    def drain(self, events: int) -> dict[str, Any]:
        """Wait until all events are applied; figures from the first durable batch to the last."""
        first = self.until(lambda sample: sample["applied"] > 0)
        start_s = time.perf_counter() - self._started
        began = time.perf_counter()
        last = self.until(lambda sample: sample["applied"] >= events)
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

    def until(self, condition: Callable[[dict[str, Any]], bool]) -> dict[str, Any]:
        """The first sample of which the condition holds. Raises Failure when the worker ends."""
        while True:
            if self._process.poll() is not None:
                raise Failure(f"the worker ended with code {self._process.returncode}:\n{self.log()[-2000:]}")
            sample = self.sample()
            if sample and condition(sample):
                return sample
            time.sleep(SAMPLE_S)

    def sample(self) -> dict[str, Any] | None:
        """Its counters now; None while it does not answer."""
        if not self._url:
            found = re.search(r"health and metrics on (http://\S+)", self.log())
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
        "users": number.get("interest_stream_table_keys", 0.0),
        "state_bytes": number.get("interest_stream_state_bytes", 0.0),
        "recovery_s": number.get("interest_stream_table_recovery_seconds", 0.0),
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


async def _paced(
    settings: Settings, rate: float, seconds: float, users: int, items: tuple[str, ...]
) -> np.ndarray[Any, Any]:
    """Latencies in seconds of a paced load."""
    async with load_on(settings) as load:
        return await load.pace(list(random_events(int(rate * seconds), users, items, seed=2)), rate)


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

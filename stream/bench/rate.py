"""Measures one worker on a fresh topic: how fast it drains a backlog, and its latency at a rate.

Rates come from the worker's own counters, sampled from outside, from the first durable batch to
the last. The load and its latencies are made in stream/bench/load.py.
"""

from __future__ import annotations

import json
import os
import re
import secrets
import subprocess
import tempfile
import time
import urllib.request
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
from aiokafka.admin import AIOKafkaAdminClient

from stream.bench.load import load_on, produce_backlog, random_events
from stream.broker.cleanup import run_in_loop
from stream.broker.processes import interrupts_held, own_command, run_to_end
from stream.config import Settings, connection_variables
from stream.config.fields import variable_of
from stream.errors import Failure
from stream.kafka.client import client_options
from stream.kafka.topics import create_topics
from stream.metrics import read_figures

SAMPLE_S = 0.05
READING = ("event_format", "mapping")
"""Settings that say how events are read."""


@dataclass(frozen=True, slots=True)
class BenchResult:
    """Holds what one run measured."""

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
    """Returns the same settings with topics and a group that nobody else uses."""
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
    items: Sequence[str],
    arguments: list[str],
    rate: float,
    seconds: float,
    announce: Callable[[str], None],
) -> BenchResult:
    """Drains a backlog with one worker, then paces a load through the same worker.

    The result counts only if the audit afterwards is clean, else Failure is raised. The topics are
    removed in any case. `announce` is called with what is being done.
    """
    settings = fresh_settings(settings)
    run_in_loop(create_topics(settings, 4, 1))
    try:
        announce(f"producing {events} events of {users} users")
        run_in_loop(produce_backlog(settings, random_events(events, users, items, seed=1)))
        announce("draining them with one worker")
        with running_worker(settings, arguments) as worker:
            drained = worker.drain(events)
            announce(f"latency: {rate:.0f} events/s for {seconds:.0f} s")
            latencies = (
                run_in_loop(_paced(settings, rate, seconds, users, items))
                if seconds
                else np.zeros(0)
            )
        announce("auditing")
        audited = audit(settings)
    finally:
        run_in_loop(remove_topics(settings))
    # Without a paced load there are no latencies to take quantiles of.
    nothing = (float("nan"), float("nan"))
    p50, p99 = np.percentile(latencies, (50, 99)) * 1000 if len(latencies) else nothing
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
    """Holds the worker process that is measured."""

    def __init__(self, process: subprocess.Popen[bytes], log: Path) -> None:
        self._process, self._log = process, log
        self._started = time.perf_counter()
        self._url = ""

    def kill(self) -> None:
        """Ends it as a machine that loses its power does."""
        self._process.kill()
        self._process.wait()

    def stop(self) -> None:
        """Ends it as a deployment that replaces it does; does not wait."""
        self._process.terminate()

    def end(self) -> None:
        """Stops the worker and waits until it is gone; kills it when that takes too long."""
        self.stop()
        try:
            self._process.wait(15)
        except subprocess.TimeoutExpired:
            self.kill()

    def log(self) -> str:
        """Returns what it wrote so far."""
        return self._log.read_text(errors="replace")

    def peak_memory_mb(self) -> int:
        """Returns its highest resident memory; 0 where the system does not say."""
        with suppress(OSError):
            status = Path(f"/proc/{self._process.pid}/status").read_text()
            found = re.search(r"VmHWM:\s+(\d+)", status)
            return int(found.group(1)) // 1024 if found else 0
        return 0

    def drain(self, events: int) -> dict[str, Any]:
        """Waits until all events are applied; returns figures from the first batch to the last."""
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
        """Returns the first sample that meets a condition. Raises Failure when the worker ends."""
        while True:
            if self._process.poll() is not None:
                raise Failure(
                    f"the worker ended with code {self._process.returncode}:\n{self.log()[-2000:]}"
                )
            sample = self.sample()
            if sample and condition(sample):
                return sample
            time.sleep(SAMPLE_S)

    def sample(self) -> dict[str, Any] | None:
        """Returns its counters now; None while it does not answer."""
        if not self._url:
            found = re.search(r"health and metrics on (http://\S+)", self.log())
            if found is None:
                return None
            self._url = found.group(1)
        with suppress(OSError), urllib.request.urlopen(f"{self._url}/metrics", timeout=5) as answer:
            return read_figures(answer.read().decode())
        return None


@contextmanager
def running_worker(settings: Settings, arguments: list[str]) -> Iterator[BenchWorker]:
    """Runs a worker process with these settings until the end of the block.

    It has the demo model unless another one is named: the load of benchmarks is about its items.
    """
    if not ({"--model", "--null-model"} & set(arguments) or settings.model or settings.demo_model):
        arguments = ["--demo-model", *arguments]
    names = ("app_id", "events_topic", "updates_topic", "profiles_topic", "dead_letters_topic")
    own = {variable_of(name): getattr(settings, name) for name in (*names, *READING)}
    own |= connection_variables(settings)
    command = own_command("worker", *arguments)
    worker: BenchWorker | None = None
    with tempfile.TemporaryDirectory(prefix="interest-stream-bench-") as folder:
        log = Path(folder) / "worker.log"
        environment = {**os.environ, **own, "TMPDIR": folder}  # a killed worker tidies nothing
        try:
            with interrupts_held(), log.open("wb") as out:
                process = subprocess.Popen(
                    command,
                    env=environment,
                    stdout=out,
                    stderr=subprocess.STDOUT,
                    start_new_session=True,  # Ctrl-C is for us, and we end our workers
                )
                worker = BenchWorker(process, log)
            yield worker
        finally:
            if worker is not None:
                worker.end()


async def _paced(
    settings: Settings, rate: float, seconds: float, users: int, items: Sequence[str]
) -> np.ndarray[Any, Any]:
    """Returns the latencies in seconds of a paced load."""
    async with load_on(settings) as load:
        return await load.pace(list(random_events(int(rate * seconds), users, items, seed=2)), rate)


def audit(settings: Settings) -> str:
    """Returns "clean" if every event was applied exactly once, else raises Failure."""
    command = own_command("audit", "--json")
    command += ["--app-id", settings.app_id, "--events-topic", settings.events_topic]
    command += ["--dead-letters-topic", settings.dead_letters_topic]
    reading = {variable_of(name): getattr(settings, name) for name in READING}
    done = run_to_end(command, {**os.environ, **reading, **connection_variables(settings)})
    if done.returncode:
        raise Failure(
            "the audit after the benchmark found differences, so its figures do not count:\n"
            f"{done.stdout[-2000:]}{done.stderr[-2000:]}"
        )
    return "clean"


async def remove_topics(settings: Settings) -> None:
    """Deletes the topics of a run, its changelog included."""
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
    """Returns the result as one JSON object."""
    return json.dumps(asdict(result))

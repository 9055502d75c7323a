"""Measures how soon erased users are gone while events flow and workers are killed.

    python -m tests.benchmarks.erasure             # 1,000 erasures, 5,000 events/s, three kill -9
    python -m tests.benchmarks.erasure --kills 0   # the same without kills
    python -m tests.benchmarks.erasure --null-model
    python -m tests.benchmarks.erasure --segments  # and what the disk of the broker holds of them

It brings a broker of its own, two workers with the demo model (or none), and a load. One user after
the other is erased. Told is the time from sending a request until its marker is in the changelog
and its null among the profiles, as a reader of the two topics sees them; then `audit` judges every
user. With --segments the topics are compacted every second, and the files of changelog and profiles
are searched for what the users searched. The exit code is 1 if a request was not obeyed, audit
finds a difference, or a word is found.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import statistics
import sys
import tempfile
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

import orjson
from aiokafka import AIOKafkaConsumer, AIOKafkaProducer, TopicPartition

from stream.broker.local_kafka import LocalKafka
from stream.broker.ports import free_ports
from stream.contracts.control import Control, encode_control
from stream.contracts.state_record import decode_record
from tests.support import processes, topics
from tests.support.pipelines import SHORT_SESSION_S, Pipeline, make_pipeline, wait_until

PARTITIONS: Final = 4
USERS: Final = 10_000
"""Users of the load; those who are erased are among them, and come back with a later event."""

CANARY: Final = "canaryquery"
PATIENCE_S: Final = 60.0


@dataclass(slots=True)
class Erased:
    """Holds what was seen of one request, by this machine's clock; 0: not seen."""

    sent_s: float
    marker_s: float = 0.0
    null_s: float = 0.0


@dataclass
class Erasures:
    """Erases users and sees when they are gone."""

    pipeline: Pipeline
    seen: dict[bytes, Erased] = field(default_factory=dict)

    async def run(self, count: int, rate: float, at: dict[int, threading.Event]) -> None:
        """Erases `count` users, so many a second, and waits until all are gone.

        at: events to set when so many were sent.
        """
        settings = self.pipeline.settings
        places = [
            TopicPartition(topic, each)
            for topic in (settings.changelog_topic, settings.profiles_topic)
            for each in range(PARTITIONS)
        ]
        async with (
            AIOKafkaConsumer(
                bootstrap_servers=settings.bootstrap, isolation_level="read_committed"
            ) as consumer,
            AIOKafkaProducer(
                bootstrap_servers=settings.bootstrap, enable_idempotence=True
            ) as producer,
        ):
            consumer.assign(places)
            await consumer.seek_to_end(*places)
            reading = asyncio.create_task(self._read(consumer))
            started = time.monotonic()
            for number in range(count):
                await asyncio.sleep(max(0.0, started + number / rate - time.monotonic()))
                await self._send(producer, f"user-{number}", number)
                if number in at:
                    at[number].set()
            patience = time.monotonic() + PATIENCE_S
            while self._left() and time.monotonic() < patience:  # noqa: ASYNC110 a reader moves it
                await asyncio.sleep(0.1)
            reading.cancel()

    async def _send(self, producer: AIOKafkaProducer, user: str, number: int) -> None:
        now_ms = int(time.time() * 1000)
        key, value, headers = encode_control(Control("erase", user, f"erase-{number}", now_ms))
        self.seen[key] = Erased(time.monotonic())
        topic = self.pipeline.settings.events_topic
        await producer.send_and_wait(topic, value, key=key, headers=headers)

    async def _read(self, consumer: AIOKafkaConsumer) -> None:
        profiles = self.pipeline.settings.profiles_topic
        async for record in consumer:
            erased, now = self.seen.get(record.key), time.monotonic()
            if erased is None:
                continue
            if record.topic == profiles:
                if record.value is None and not erased.null_s:
                    erased.null_s = now
            elif (
                record.value is not None
                and not erased.marker_s
                and decode_record(record.value).erased_ms
            ):
                erased.marker_s = now  # the user's first erasure; the state may have events again

    def _left(self) -> int:
        return sum(not (each.marker_s and each.null_s) for each in self.seen.values())

    def report(self) -> dict[str, Any]:
        """Returns how long it took until marker and null, in seconds."""
        found: dict[str, Any] = {"erased": len(self.seen), "not_obeyed": self._left()}
        for name in ("marker_s", "null_s"):
            took = sorted(
                getattr(each, name) - each.sent_s
                for each in self.seen.values()
                if getattr(each, name)
            )
            if len(took) > 1:
                cuts = statistics.quantiles(took, n=100)
                found[name] = {"p50": round(cuts[49], 3), "p99": round(cuts[98], 3)}
                found[name]["max"] = round(took[-1], 3)
        return found


@contextmanager
def pipeline_of_its_own(folder: Path, session_s: float) -> Iterator[tuple[Pipeline, LocalKafka]]:
    """Yields a pipeline on a broker that nobody else uses."""
    port, controller_port = free_ports(2)
    broker = LocalKafka(folder / "kafka", port, controller_port, short_lived=True)
    broker.start(timeout_s=300)
    made = make_pipeline(f"kafka://{broker.bootstrap}", lambda name: name, folder, PARTITIONS)
    try:
        pipeline = next(made)
        pipeline.spawn, pipeline.session_s = processes.spawn_new, session_s
        yield pipeline, broker
    finally:
        next(made, None)
        broker.kill()


def kill_in_turn(pipeline: Pipeline, model: str, when: list[threading.Event]) -> None:
    """Kills the oldest living worker at each of these moments, and starts another."""
    for moment in when:
        moment.wait()
        next(each for each in pipeline.workers if each.process.poll() is None).kill()
        pipeline.start(model, ready=False)


def measure(
    pipeline: Pipeline, model: str, count: int, rate: float, erasures: float, kills: int
) -> dict[str, Any]:
    """Erases users under load with kills, and returns what was seen and what audit says."""
    for _ in range(2):
        pipeline.start(model, ready=False)
    pipeline.wait_ready(*pipeline.workers)
    seconds = count / erasures + 30
    load = pipeline.produce_in_background(int(rate * seconds), USERS, rate)
    at = {count * (each + 1) // (kills + 1): threading.Event() for each in range(kills)}
    killing = threading.Thread(
        target=kill_in_turn, args=(pipeline, model, list(at.values())), daemon=True
    )
    killing.start()
    run = Erasures(pipeline)
    asyncio.run(run.run(count, erasures, at))
    killing.join()
    pipeline.stop_load()
    load.join()
    pipeline.wait_applied()
    done = pipeline.run("audit", "--json")
    audit = json.loads(done.stdout)
    return {
        **run.report(),
        "model": model.removeprefix("--"),
        "kills": kills,
        "events_per_s": rate,
        "audit": done.returncode,
        "audited_users": audit["users"]["compared"],
        "controls": audit["controls"],
        "events_dropped": audit["events"]["erased"],
    }


def search_segments(pipeline: Pipeline, broker: LocalKafka, count: int) -> dict[str, Any]:
    """Erases users with searches and returns how often these are in the files, before and after."""
    settings = pipeline.settings
    for topic in (settings.changelog_topic, settings.profiles_topic):
        quick = {
            "segment_ms": "1000",
            "max_compaction_lag_ms": "1000",
            "file_delete_delay_ms": "100",
        }
        quick |= {"min_compaction_lag_ms": "0", "min_cleanable_dirty_ratio": "0.01"}
        topics.configure(settings, topic, **quick)
    pipeline.start("--compression", "none")
    searched = [
        (
            b"victim-%d" % number,
            orjson.dumps(
                {
                    "user_id": f"victim-{number}",
                    "action": "search",
                    "time": int(time.time() * 1000),
                    "query": f"{CANARY} {number}",
                }
            ),
        )
        for number in range(count)
    ]
    topics.send(settings, settings.events_topic, *searched)
    pipeline.wait_applied()
    before = hits(broker, settings.changelog_topic, settings.profiles_topic)

    # the others write on, because an open segment is never compacted
    load = pipeline.produce_in_background(10**9, 200, 200)
    users = pipeline.folder / "victims.txt"
    users.write_bytes(b"\n".join(key for key, _ in searched))
    done = pipeline.run("erase", "--users", str(users), "--no-count", "--json")
    began = time.monotonic()
    left = [before]

    def gone() -> bool:
        left.append(hits(broker, settings.changelog_topic, settings.profiles_topic))
        return not left[-1] or time.monotonic() - began > PATIENCE_S

    wait_until(gone, "no query is in the files", interval_s=1.0, moved=lambda: left[-1])
    pipeline.stop_load()
    load.join()
    return {
        "searches": count,
        "erase": done.returncode,
        "in_files_before": before,
        "in_files_after": left[-1],
        "after_s": round(time.monotonic() - began, 1),
    }


def hits(broker: LocalKafka, *names: str) -> int:
    """Returns how often the mark is in the segments of topics."""
    count = 0
    for path in Path(broker.data_dir).rglob("*.log"):
        if path.parent.name.rpartition("-")[0] in names:
            try:
                count += path.read_bytes().count(CANARY.encode())
            except FileNotFoundError:  # compacted meanwhile
                continue
    return count


def main() -> None:
    """Measures, prints JSON, and ends with 1 where an erasure did not hold."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--erasures", type=int, default=1_000)
    parser.add_argument("--erasures-per-s", type=float, default=20.0)
    parser.add_argument("--rate", type=float, default=5_000.0, help="events/s")
    parser.add_argument("--kills", type=int, default=3, help="kill -9, one after the other")
    parser.add_argument("--session-s", type=float, default=SHORT_SESSION_S, help="of the workers")
    parser.add_argument("--null-model", action="store_true", help="in place of the demo model")
    parser.add_argument("--segments", action="store_true", help="search the broker's files instead")
    options = parser.parse_args()
    with (
        tempfile.TemporaryDirectory() as folder,
        pipeline_of_its_own(Path(folder), options.session_s) as (pipeline, broker),
    ):
        if options.segments:
            found = search_segments(pipeline, broker, min(options.erasures, 200))
            sound = found["in_files_before"] > 0 == found["in_files_after"] + found["erase"]
        else:
            found = measure(
                pipeline,
                "--null-model" if options.null_model else "--demo-model",
                options.erasures,
                options.rate,
                options.erasures_per_s,
                options.kills,
            )
            sound = not (found["not_obeyed"] or found["audit"])
    sys.stdout.write(json.dumps(found) + "\n")
    sys.exit(0 if sound else 1)


if __name__ == "__main__":
    main()

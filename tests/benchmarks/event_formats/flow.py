"""Runs each format from a topic through a worker to updates."""

from __future__ import annotations

import asyncio
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

from aiokafka import AIOKafkaProducer

from stream.config import Settings
from tests.benchmarks.event_formats.table import environment, say
from tests.support.brokers import Kafka, broker_of_its_own
from tests.support.foreign import cases
from tests.support.foreign.shop import Case
from tests.support.pipelines import Pipeline, make_pipeline
from tests.support.topics import read


class Row(NamedTuple):
    """What one worker did with the records of a format."""

    name: str
    way: str
    records: int
    events: int
    dropped: int
    dead_letters: int
    updates: int
    clean: bool


def keyed_by_user(found: Sequence[Case]) -> list[tuple[bytes, Case]]:
    """Records whose events are of one user, with that user as key."""
    keyed = []
    for case in found:
        users = {event["user_id"] for event in case.events}
        if len(users) <= 1:
            keyed.append((next(iter(users), "nobody").encode(), case))
    return keyed


def send(settings: Settings, records: Sequence[tuple[bytes | None, Case]]) -> None:
    async def run() -> None:
        async with AIOKafkaProducer(bootstrap_servers=settings.bootstrap) as producer:
            for key, case in records:
                await producer.send(
                    settings.events_topic,
                    case.value,
                    key=key,
                    headers=list(case.headers),
                    timestamp_ms=case.received_ms,
                )
            await producer.flush()

    asyncio.run(run())


def through(pipeline: Pipeline, name: str, found: list[Case], *, rekey: bool) -> Row:
    """Sends records, runs a worker over them, and returns what became of them."""
    records: list[tuple[bytes | None, Case]] = (
        [(None, case) for case in found] if rekey else list(keyed_by_user(found))
    )
    events = sum(len(case.events) for _, case in records)
    dropped = sum(sum(case.dropped.values()) for _, case in records)
    arguments = ("--null-model", "--event-format", name, *(("--rekey",) if rekey else ()))
    with environment(event_format=name, rekey="true" if rekey else "false"):
        send(pipeline.settings, records)
        worker = pipeline.start(*arguments)
        pipeline.wait_applied()
        audit = pipeline.audit()
        while audit["events"]["applied"] < events:  # forwarded, and not applied yet
            assert worker.ready()
            audit = pipeline.audit()
        left_out = sum(
            float(line.rpartition(" ")[2])
            for line in worker.get("/metrics")[1].splitlines()
            if line.startswith("interest_stream_events_dropped_total{")
        )
        worker.stop()
        audit = pipeline.audit()
    row = Row(
        name,
        "--rekey" if rekey else "keyed by user",
        len(records),
        audit["events"]["applied"],
        int(left_out),
        audit["dead_letters"],
        len(read(pipeline.settings, pipeline.settings.updates_topic)),
        audit["clean"],
    )
    assert row[3:6] == (events, dropped, 0), (row, events, dropped)
    assert row.clean, row
    assert row.updates, row
    return row


def run(names: Sequence[str], count: int) -> None:
    """Prints a row of each format and way."""
    say(" | ".join(Row._fields))
    say("|".join(["---"] * len(Row._fields)))
    with tempfile.TemporaryDirectory() as folder, broker_of_its_own(Path(folder) / "kafka") as own:
        kafka = Kafka(own.bootstrap)
        for name in names:
            found = list(cases(name, count))
            for rekey in (False, True):
                place = Path(folder) / f"{name}-{rekey}"
                place.mkdir()
                for pipeline in make_pipeline(kafka.url, kafka.unique, place, rekey=rekey):
                    row = through(pipeline, name, found, rekey=rekey)
                say(" | ".join(map(str, row)))

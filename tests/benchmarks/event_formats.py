"""Runs each event format from a topic through a worker to updates, and says what reading costs.

    python -m tests.benchmarks.event_formats [--records 3000] [--formats segment ga4] [--decode]

Records are made by the generators of tests/support/foreign, after the specifications of the
formats' owners, with known truth. Each format goes through two workers of a real Kafka: one reads
the topic as it is, keyed by user, and its audit has a reading of its own; one forwards records
without keys (`--rekey`). A row is printed for each: records, events, what was left out, dead
letters, updates, and whether the audit was clean; the program fails if a figure is not the truth.

`--decode` starts no Kafka. It prints microseconds a record and an event of each format beside those
of the contract, whose events are the same.
"""

from __future__ import annotations

import argparse
import asyncio
import os
import statistics
import sys
import tempfile
import time
from collections.abc import Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, NamedTuple

import msgspec
from aiokafka import AIOKafkaProducer

from stream.config import OWNERS_FORMATS, Settings
from stream.contracts.event import Limits, parse_event
from stream.formats.records import read_record
from stream.formats.registry import format_named
from tests.support.brokers import Kafka, broker_of_its_own
from tests.support.foreign import cases
from tests.support.foreign.shop import Case
from tests.support.pipelines import Pipeline, make_pipeline
from tests.support.topics import read

ROUNDS = 5


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


@contextmanager
def environment(**given: str) -> Any:
    """Sets variables for the commands that are started inside."""
    names = {f"INTEREST_STREAM_{name.upper()}": value for name, value in given.items()}
    before = {name: os.environ.get(name) for name in names}
    os.environ.update(names)
    try:
        yield
    finally:
        for name, value in before.items():
            os.environ.pop(name, None) if value is None else os.environ.update({name: value})


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


class Record(NamedTuple):
    """Holds a record as a worker reads it."""

    key: bytes
    value: bytes
    headers: Any
    timestamp: int
    offset: int = 0


def decode(names: Sequence[str], count: int) -> None:
    """Prints what reading a record and an event costs, beside the same events of the contract."""
    limits = Limits()
    say("format | bytes a record | us a record | us an event | us an event of the contract")
    say("|".join(["---"] * 5))
    for name in names:
        event_format, now_ms = format_named(name), int(time.time() * 1000)
        keyed = [
            Record(key, case.value, case.headers, case.received_ms or now_ms)
            for key, case in keyed_by_user(list(cases(name, count)))
        ]
        events = [
            Record(event["user_id"].encode(), msgspec.json.encode(event), (), now_ms)
            for case in cases(name, count)
            for event in case.events
        ]
        read_ = sum(len(read_record(each, event_format, limits).events) for each in keyed)
        foreign, own = [], []
        for _ in range(ROUNDS):
            started = time.perf_counter()
            for each in keyed:
                read_record(each, event_format, limits)
            foreign.append(time.perf_counter() - started)
            started = time.perf_counter()
            for each in events:
                parse_event(each, limits)
            own.append(time.perf_counter() - started)
        whole, contract = 1e6 * statistics.median(foreign), 1e6 * statistics.median(own)
        size = statistics.mean(len(each.value) for each in keyed)
        say(
            f"{name} | {size:.0f} | {whole / len(keyed):.1f} | {whole / read_:.1f} "
            f"| {contract / len(events):.1f}"
        )


def say(row: str) -> None:
    """Writes a row of the table."""
    sys.stdout.write(f"| {row} |\n")
    sys.stdout.flush()


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--records", type=int, default=3_000)
    parser.add_argument("--formats", nargs="+", choices=OWNERS_FORMATS, default=OWNERS_FORMATS)
    parser.add_argument("--decode", action="store_true", help="Measure reading, without Kafka.")
    given = parser.parse_args()
    (decode if given.decode else run)(given.formats, given.records)


if __name__ == "__main__":
    main()

"""Runs each event format from a topic through a worker to updates, and says what reading costs.

    python -m tests.benchmarks.event_formats [--records 3000] [--formats segment ga4] [--decode]

Records are made by the generators of tests/support/foreign, after the specifications of the
formats' owners, with known truth. Each format goes through two workers of a real Kafka: one reads
the topic as it is, keyed by user, and its audit has a reading of its own; one forwards records
without keys (`--rekey`). A row is printed for each: records, events, what was left out, dead
letters, updates, and whether the audit was clean; the program fails if a figure is not the truth.

`--decode` starts no Kafka. It prints microseconds a record and an event of each format beside those
of the contract, whose events are the same; then those of the contract in each way that a schema
registry knows, and what an update costs as JSON behind a frame and as Avro.

`--throughput` starts one Kafka and prints events a second of a worker, the contract as JSON and as
Avro in turns: the same events, ready in the topic before the worker starts.
"""

from __future__ import annotations

import argparse
import asyncio
import json
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
from stream.formats.contract_format import ContractFormat
from stream.formats.framed.frame import RegisteredSchema, framed
from stream.formats.framed.readers import FramedFormat, SchemaReaders
from stream.formats.framed.updates import KIND_OF, update_encoder
from stream.formats.records import read_record
from stream.formats.registry import format_named
from stream.pipeline.decode import Decoder
from tests.support.brokers import Kafka, broker_of_its_own
from tests.support.foreign import cases
from tests.support.foreign.shop import Case
from tests.support.framed import EVENT, avro, event_proto, proto_event, serialized
from tests.support.pipelines import Pipeline, make_pipeline
from tests.support.schema_registry import schema_registry
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


def framed_ways(count: int) -> dict[str, list[Record]]:
    """Returns the same events of the contract as JSON and in each way of a registry."""
    now_ms = int(time.time() * 1000)
    ways: dict[str, list[Record]] = {"contract": [], "Avro": [], "JSON Schema": [], "Protobuf": []}
    for number in range(count):
        user = f"user-{number % 300}"
        event = {
            "user_id": user,
            "action": "view",
            "time": now_ms,
            "item_id": f"item-{number % 500:04d}",
            "value": 19.5,
            "categories": ["Outdoor", "Camping"],
        }
        text = msgspec.json.encode(event)
        values = (
            text,
            framed(1, avro(EVENT, event)),
            framed(2, text),
            framed(3, proto_event(event)),
        )
        for way, value in zip(ways, values, strict=True):
            ways[way].append(Record(user.encode(), value, (), now_ms, number))
    return ways


def decode_framed(count: int) -> None:
    """Prints what an event costs in each way of a registry, through a worker's own decoder."""
    readers = SchemaReaders()
    readers.learn(1, RegisteredSchema("AVRO", json.dumps(EVENT)))
    readers.learn(2, RegisteredSchema("JSON", "{}"))
    readers.learn(3, RegisteredSchema("PROTOBUF", serialized(event_proto())))
    framed_decoder = Decoder(Limits(), event_format=FramedFormat(ContractFormat(), readers))
    ways = framed_ways(count)
    taken: dict[str, list[float]] = {way: [] for way in ways}
    for _ in range(ROUNDS):
        for way, records in ways.items():
            decoder = Decoder(Limits()) if way == "contract" else framed_decoder
            started = time.perf_counter()
            batch = decoder.decode("t", 0, records)
            taken[way].append(time.perf_counter() - started)
            assert len(batch.users) == count, batch.rejects[:1]
    say("values | bytes | us an event, decoded to columns | beside the contract")
    say("|".join(["---"] * 4))
    base = statistics.median(taken["contract"])
    for way, records in ways.items():
        median, size = statistics.median(taken[way]), len(records[0].value)
        say(f"{way} | {size} | {1e6 * median / count:.2f} | {median / base:.2f}")


def encode_updates(count: int) -> None:
    """Prints what making the published value of an update costs."""
    golden = Path(__file__).resolve().parents[1] / "golden" / "updates-valid.jsonl"
    updates = golden.read_bytes().splitlines()
    say("updates as | bytes | us an update")
    say("|".join(["---"] * 3))
    for name in KIND_OF:
        encode, taken = update_encoder(name, 7), []
        for _ in range(ROUNDS):
            started = time.perf_counter()
            for number in range(count):
                encode(updates[number % len(updates)])
            taken.append(time.perf_counter() - started)
        size = statistics.mean(len(encode(each)) for each in updates)
        say(f"{name} | {size:.0f} | {1e6 * statistics.median(taken) / count:.2f}")


def throughput(count: int) -> None:
    """Prints events a second of a worker over a topic that is full, JSON and Avro in turns."""
    say("values | events | events/s")
    say("|".join(["---"] * 3))
    found: dict[str, list[float]] = {"contract": [], "Avro": []}
    with (
        tempfile.TemporaryDirectory() as folder,
        broker_of_its_own(Path(folder) / "kafka") as own,
        schema_registry() as registry,
        environment(schema_registry=registry.url),
    ):
        assert registry.register("clicks-value", EVENT) == 1
        kafka, ways = Kafka(own.bootstrap), framed_ways(count)
        for turn in range(2 * ROUNDS):
            way = ("contract", "Avro")[turn % 2]
            place = Path(folder) / str(turn)
            place.mkdir()
            for pipeline in make_pipeline(kafka.url, kafka.unique, place):
                fill(pipeline.settings, ways[way])
                found[way].append(_rate(pipeline, count, registry.url if way == "Avro" else ""))
            say(f"{way} | {count} | {found[way][-1]:,.0f}")
    both = [statistics.median(each) for each in found.values()]
    say(f"Avro beside the contract, medians | {count} | {both[1] / both[0]:.2f}")


def fill(settings: Settings, records: Sequence[Record]) -> None:
    """Sends records without waiting for each."""

    async def run() -> None:
        async with AIOKafkaProducer(bootstrap_servers=settings.bootstrap) as producer:
            for each in records:
                await producer.send(settings.events_topic, each.value, key=each.key)
            await producer.flush()

    asyncio.run(run())


def _rate(pipeline: Pipeline, count: int, registry: str) -> float:
    """Returns events a second between the first commit and the last event committed."""
    worker = pipeline.start(
        "--commit-interval-s", "0.1", more_environment={"INTEREST_STREAM_SCHEMA_REGISTRY": registry}
    )
    with pipeline.reading_offsets() as read_offsets:
        committed, first = 0, (0.0, 0)
        while committed < count:
            assert worker.process.poll() is None, worker.log[-2000:]
            committed = sum(done for done, _ in read_offsets().values())
            if committed and not first[1]:
                first = time.perf_counter(), committed
        ended = time.perf_counter()
    worker.stop()
    return (count - first[1]) / (ended - first[0])


def say(row: str) -> None:
    """Writes a row of the table."""
    sys.stdout.write(f"| {row} |\n")
    sys.stdout.flush()


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--records", type=int, default=3_000)
    parser.add_argument("--formats", nargs="+", choices=OWNERS_FORMATS, default=OWNERS_FORMATS)
    parser.add_argument("--decode", action="store_true", help="Measure reading, without Kafka.")
    parser.add_argument("--throughput", type=int, metavar="EVENTS", help="JSON beside Avro.")
    given = parser.parse_args()
    if given.throughput:
        throughput(given.throughput)
    elif given.decode:
        decode(given.formats, given.records)
        decode_framed(20 * given.records)
        encode_updates(given.records)
    else:
        run(given.formats, given.records)


if __name__ == "__main__":
    main()

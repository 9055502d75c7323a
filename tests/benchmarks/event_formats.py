"""Runs each event format from a topic through a worker to updates, and says what reading costs.

    python -m tests.benchmarks.event_formats [--records 3000] [--formats segment ga4] [--decode]
    python -m tests.benchmarks.event_formats --throughput 200000 [--formats segment] [--model demo]

Records are made by the generators of tests/support/foreign, after the specifications of the
formats' owners, with known truth. Each format goes through two workers of a real Kafka: one reads
the topic as it is, keyed by user, and its audit has a reading of its own; one forwards records
without keys (`--rekey`). A row is printed for each: records, events, what was left out, dead
letters, updates, and whether the audit was clean; the program fails if a figure is not the truth.

`--decode` starts no Kafka. It prints microseconds of processor time a record and an event of each
format, as those generators draw them, beside those of the contract, whose events are the same. Then
what one view of an item costs, decoded to columns by a worker's decoder, in each format and read by
a mapping, beside the contract; those of the contract in each way that a schema registry knows; and
what an update costs as JSON behind a frame and as Avro.

`--throughput` starts one Kafka and prints events a second of a worker in each format, by a
mapping and as Avro, each beside the contract in turns: the same events, ready in the topic before
the worker starts. `interest-stream bench conditions --only formats` needs no checkout for it.
"""

from __future__ import annotations

import argparse
import asyncio
import itertools
import json
import os
import statistics
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

import msgspec
from aiokafka import AIOKafkaProducer

from stream.bench.formats import MAPPED, rewritten
from stream.bench.load import random_events
from stream.config import CONTRACT, MAPPING, OWNERS_FORMATS, Settings
from stream.contracts.event import Limits, parse_event
from stream.formats.contract_format import ContractFormat
from stream.formats.event_format import EventFormat
from stream.formats.framed.frame import RegisteredSchema, framed
from stream.formats.framed.readers import FramedFormat, SchemaReaders
from stream.formats.framed.updates import KIND_OF, update_encoder
from stream.formats.mappings.mapping_file import parse_mapping
from stream.formats.mappings.mapping_format import MappingFormat
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
ITEMS = [f"item-{number:04d}" for number in range(500)]

FULL_MAPPING = """\
[event]
user_id = ["user.id", "anonymous_id"]
action = ["event", { constant = "view" }]
time = { path = "ts", unit = "s" }
item_id = ["lines[].sku", "product.sku"]
title = 'product."full.name"'
categories = { path = "category", split = " > " }
event_id = "message_id"
dwell_ms = { path = "seconds", unit = "s" }

[actions]
product_view = "view"
addtocart = "add_to_cart"

[[drop]]
path = "consent.personalization"
not_in = [true]
reason = "consent"
"""
"""The mapping of docs/operate/your-topic.md, which says all that a mapping can."""


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
    say("format, as drawn | bytes a record | us a record | us an event | us one of the contract")
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
        whole, contract = in_turns(
            partial(read_all, keyed, partial(read_record, event_format=event_format)),
            partial(read_all, events, parse_event),
        )
        size = statistics.mean(len(each.value) for each in keyed)
        say(
            f"{name} | {size:.0f} | {whole / len(keyed):.1f} | {whole / read_:.1f} "
            f"| {contract / len(events):.1f}"
        )


def read_all(records: Sequence[Record], read_one: Callable[..., object]) -> None:
    limits = Limits()
    for each in records:
        read_one(each, limits=limits)


def in_turns(*ways: Callable[[], object]) -> list[float]:
    """Returns the median microseconds of processor time of each way, taken in turns."""
    taken: list[list[float]] = [[] for _ in ways]
    for _ in range(ROUNDS):
        for way, times in zip(ways, taken, strict=True):
            started = time.process_time()
            way()
            times.append(1e6 * (time.process_time() - started))
    return [statistics.median(times) for times in taken]


class Way(NamedTuple):
    """Holds the same events in one way of writing them, and what reads it."""

    records: list[Record]
    event_format: EventFormat | None  # None: the contract, read by its own parser


def written_ways(names: Sequence[str], count: int) -> dict[str, Way]:
    """Returns the same views of items as the contract, in each format, and as mappings read."""
    now_ms, events = int(time.time() * 1000), list(random_events(count, 300, ITEMS, seed=1))

    def records(name: str) -> list[Record]:
        return [
            Record(key, value, (), now_ms, offset)
            for offset, (key, value) in enumerate(rewritten(iter(events), name))
        ]

    ways = {name: Way(records(name), format_named(name)) for name in names}
    shape = MappingFormat(parse_mapping(MAPPED, "bench.toml"))
    full = MappingFormat(parse_mapping(FULL_MAPPING, "full.toml"))
    return {
        CONTRACT: Way(records(CONTRACT), None),
        **ways,
        MAPPING: Way(records(MAPPING), shape),
        "mapping, all of its means": Way([in_full(each) for each in records(MAPPING)], full),
    }


def in_full(record: Record) -> Record:
    """Returns a record of a mapping with more in it."""
    given = json.loads(record.value)
    given |= {"message_id": f"m-{record.offset}", "category": "Outdoor > Camping", "seconds": 4.5}
    given |= {"lines": None, "consent": {"personalization": True}, "ts": given["ts"] / 1000}
    return record._replace(value=json.dumps(given).encode())


def decode_written(title: str, ways: dict[str, Way]) -> None:
    """Prints what an event costs in each way, through a worker's own decoder, and how much more."""
    decoders = {
        name: Decoder(Limits(), event_format=way.event_format) for name, way in ways.items()
    }

    def read_by(name: str) -> None:
        batch = decoders[name].decode("t", 0, ways[name].records)
        assert len(batch.users) == len(ways[name].records), batch.rejects[:1]

    taken = in_turns(*(partial(read_by, name) for name in ways))
    say(f"{title} | bytes | us an event, decoded to columns | beside the contract | more")
    say("|".join(["---"] * 5))
    count = len(ways[CONTRACT].records)
    for (name, way), whole in zip(ways.items(), taken, strict=True):
        more = (whole - taken[0]) / count
        say(
            f"{name} | {len(way.records[0].value)} | {whole / count:.2f} "
            f"| {whole / taken[0]:.2f} | {more:+.2f}"
        )


def framed_shape() -> FramedFormat:
    """Returns the contract behind a registry that knows the schemas of `framed_ways`."""
    readers = SchemaReaders()
    readers.learn(1, RegisteredSchema("AVRO", json.dumps(EVENT)))
    readers.learn(2, RegisteredSchema("JSON", "{}"))
    readers.learn(3, RegisteredSchema("PROTOBUF", serialized(event_proto())))
    return FramedFormat(ContractFormat(), readers)


def framed_ways(count: int) -> dict[str, Way]:
    """Returns the same events of the contract as JSON and in each way of a registry."""
    now_ms, shape = int(time.time() * 1000), framed_shape()
    found: dict[str, list[Record]] = {CONTRACT: [], "Avro": [], "JSON Schema": [], "Protobuf": []}
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
        for way, value in zip(found, values, strict=True):
            found[way].append(Record(user.encode(), value, (), now_ms, number))
    return {
        name: Way(records, None if name == CONTRACT else shape) for name, records in found.items()
    }


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


def throughput(names: Sequence[str], count: int, model: str, rounds: int) -> None:
    """Prints events a second of a worker over a topic that is full: the contract and each way.

    The contract is drained before each of them, so a ratio is of two runs beside each other.
    """
    say("values | model | events | events/s | beside the contract")
    say("|".join(["---"] * 5))
    ratios: dict[str, list[float]] = {}
    with (
        tempfile.TemporaryDirectory() as folder,
        broker_of_its_own(Path(folder) / "kafka") as own,
        schema_registry() as registry,
        environment(schema_registry=registry.url),
    ):
        assert registry.register("clicks-value", EVENT) == 1
        mapping = Path(folder) / "bench.toml"
        mapping.write_text(MAPPED, encoding="utf-8")
        kafka, runs = Kafka(own.bootstrap), itertools.count()

        def drained(way: Way, *arguments: str, registry_url: str = "") -> float:
            place = Path(folder) / str(next(runs))
            place.mkdir()
            (rate,) = [
                _rate(pipeline, way.records, (f"--{model}-model", *arguments), registry_url)
                for pipeline in make_pipeline(kafka.url, kafka.unique, place)
            ]
            return rate

        for _ in range(rounds):
            written, framed_ = written_ways(names, count), framed_ways(count)
            for name in (*names, MAPPING):
                own_rate = drained(written[CONTRACT])
                reading = (
                    ("--mapping", str(mapping)) if name == MAPPING else ("--event-format", name)
                )
                rate = drained(written[name], *reading)
                ratios.setdefault(name, []).append(rate / own_rate)
                say(f"{name} | {model} | {count} | {rate:,.0f} | {rate / own_rate:.2f}")
            own_rate = drained(framed_[CONTRACT])
            rate = drained(framed_["Avro"], registry_url=registry.url)
            ratios.setdefault("Avro", []).append(rate / own_rate)
            say(f"Avro | {model} | {count} | {rate:,.0f} | {rate / own_rate:.2f}")
    for name, found in ratios.items():
        say(f"{name}, median of {rounds} | {model} | {count} | | {statistics.median(found):.2f}")


def fill(settings: Settings, records: Sequence[Record]) -> None:
    """Sends records without waiting for each."""

    async def run() -> None:
        async with AIOKafkaProducer(bootstrap_servers=settings.bootstrap) as producer:
            for each in records:
                await producer.send(settings.events_topic, each.value, key=each.key)
            await producer.flush()

    asyncio.run(run())


def _rate(
    pipeline: Pipeline, records: Sequence[Record], arguments: Sequence[str], registry: str
) -> float:
    """Returns events a second between the first commit and the last event committed."""
    fill(pipeline.settings, records)
    count = len(records)
    worker = pipeline.start(
        "--commit-interval-s",
        "0.1",
        *arguments,
        more_environment={"INTEREST_STREAM_SCHEMA_REGISTRY": registry},
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
    if first[1] == count:
        raise SystemExit(f"one commit held all {count} events; give --throughput more of them")
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
    parser.add_argument("--throughput", type=int, metavar="EVENTS", help="Drain so many in turns.")
    parser.add_argument(
        "--model", choices=("null", "demo"), default="null", help="Of --throughput."
    )
    parser.add_argument("--rounds", type=int, default=ROUNDS, help="Of --throughput.")
    given = parser.parse_args()
    if given.throughput:
        throughput(given.formats, given.throughput, given.model, given.rounds)
    elif given.decode:
        decode(given.formats, given.records)
        decode_written("a view", written_ways(given.formats, given.records))
        decode_written("values", framed_ways(given.records))
        encode_updates(given.records)
    else:
        run(given.formats, given.records)


if __name__ == "__main__":
    main()

"""Measures events a second of a worker in each way of writing them."""

from __future__ import annotations

import asyncio
import itertools
import statistics
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Final

from aiokafka import AIOKafkaProducer

from stream.bench.conditions import SAME_BATCH
from stream.bench.formats import MAPPED, USERS
from stream.config import CONTRACT, MAPPING, Settings
from tests.benchmarks.event_formats.table import environment, say
from tests.benchmarks.event_formats.ways import Record, Way, framed_ways, written_ways
from tests.support.brokers import Kafka, broker_of_its_own
from tests.support.framed import EVENT
from tests.support.pipelines import Pipeline, make_pipeline
from tests.support.schema_registry import schema_registry

LOOK_S: Final = 0.02
"""Between looks at what is committed. Without a pause this program and the broker's answers take a
part of the processors that the worker is measured on."""


def throughput(names: Sequence[str], count: int, model: str, rounds: int) -> None:
    """Prints events a second of a worker over a topic that is full: the contract and each way.

    Batches and users are those of `bench compare`: at most 4,096 events of 5,000 users.
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
                _rate(
                    pipeline,
                    way.records,
                    (f"--{model}-model", *SAME_BATCH, *arguments),
                    registry_url,
                )
                for pipeline in make_pipeline(kafka.url, kafka.unique, place)
            ]
            return rate

        for _ in range(rounds):
            written, framed_ = written_ways(names, count, USERS), framed_ways(count, USERS)
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
            time.sleep(LOOK_S)
            committed = sum(done for done, _ in read_offsets().values())
            if committed and not first[1]:
                first = time.perf_counter(), committed
        ended = time.perf_counter()
    worker.stop()
    if first[1] == count:
        raise SystemExit(f"one commit held all {count} events; give --throughput more of them")
    return (count - first[1]) / (ended - first[0])

"""Measures what reading a record and an event costs, and writing an update."""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path

import msgspec

from stream.config import CONTRACT
from stream.contracts.event import Limits, parse_event
from stream.formats.framed.updates import KIND_OF, update_encoder
from stream.formats.records import read_record
from stream.formats.registry import format_named
from stream.pipeline.decode import Decoder
from tests.benchmarks.event_formats.flow import keyed_by_user
from tests.benchmarks.event_formats.table import say
from tests.benchmarks.event_formats.ways import Record, Way
from tests.support.foreign import cases

ROUNDS = 9


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


def decode_written(title: str, ways: dict[str, Way]) -> None:
    """Prints what an event costs in each way, through a worker's own decoder, and how much more."""
    decoders = {
        name: Decoder(Limits(), event_format=way.event_format) for name, way in ways.items()
    }

    def read_by(name: str) -> None:
        batch = decoders[name].decode("t", 0, ways[name].records)
        assert len(batch.users) == len(ways[name].records), batch.rejects[:1]

    def one_by_one(name: str) -> None:
        decoders[name]._one_by_one("t", 0, ways[name].records, None)

    taken = in_turns(
        *(partial(read_by, name) for name in ways), *(partial(one_by_one, name) for name in ways)
    )
    say(
        f"{title} | bytes | us an event, decoded to columns | beside the contract | more "
        "| us an event, read one by one"
    )
    say("|".join(["---"] * 6))
    count = len(ways[CONTRACT].records)
    for place, (name, way) in enumerate(ways.items()):
        whole, alone = taken[place], taken[place + len(ways)]
        more = (whole - taken[0]) / count
        say(
            f"{name} | {len(way.records[0].value)} | {whole / count:.2f} "
            f"| {whole / taken[0]:.2f} | {more:+.2f} | {alone / count:.2f}"
        )


def encode_updates(count: int) -> None:
    """Prints what making the published value of an update costs."""
    golden = Path(__file__).resolve().parents[2] / "golden" / "updates-valid.jsonl"
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

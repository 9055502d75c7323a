"""Measures what another format of the topic costs: the same events, as the contract and otherwise.

A record is one event in each of them, so only the reading differs. All ways are drained in turn,
by a worker without a model and by one with the demo model, and each drain is audited.
"""

from __future__ import annotations

import tempfile
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any, Final

import orjson

from stream.bench import rate as bench
from stream.bench.conditions import SAME_BATCH, Bench, Row
from stream.bench.load import Event, produce_backlog, random_events
from stream.broker.cleanup import run_in_loop
from stream.config import CONTRACT, MAPPING
from stream.plain_text import utc

USERS: Final = 5_000
MODELS: Final = (("null model", ("--null-model",), 200_000), ("demo model", (), 80_000))
"""What it is called, how it is asked for, and how many events are drained."""

MAPPED: Final = """\
[event]
user_id = "user.id"
action = "event"
time = { path = "ts", unit = "ms" }
item_id = "product.sku"

[actions]
product_view = "view"
"""
"""Reads documents of `_mapped`."""

Fields = dict[str, Any]


def _call(user: str, item: str, time_ms: int) -> Fields:
    """Returns a call of Segment, which RudderStack's is like."""
    return {
        "type": "track",
        "event": "Product Viewed",
        "userId": user,
        "timestamp": _iso(time_ms),
        "context": {"page": {"title": "Shop", "url": "https://shop.example/"}},
        "properties": {"product_id": item, "currency": "EUR"},
    }


def _snowplow(user: str, item: str, time_ms: int) -> Fields:
    return {
        "event": "struct",
        "event_name": "event",
        "user_id": user,
        "collector_tstamp": _iso(time_ms),
        "se_category": "shop",
        "se_action": "view",
        "se_label": item,
    }


def _ga4(user: str, item: str, time_ms: int) -> Fields:
    return {
        "event_name": "view_item",
        "event_timestamp": str(time_ms * 1_000),
        "user_pseudo_id": user,
        "event_params": [{"key": "currency", "value": {"string_value": "EUR"}}],
        "items": [{"item_id": item}],
    }


def _posthog(user: str, item: str, time_ms: int) -> Fields:
    properties = {"product_id": item, "$lib": "web"}
    call = {"event": "Product Viewed", "distinct_id": user, "timestamp": _iso(time_ms)}
    return {**call, "properties": properties}


def _cloudevents(user: str, item: str, time_ms: int) -> Fields:
    data = {"user_id": user, "item_id": item}
    envelope = {"specversion": "1.0", "source": "/shop", "type": "com.example.shop.view"}
    return {**envelope, "time": _iso(time_ms), "data": data}


def _debezium(user: str, item: str, time_ms: int) -> Fields:
    row = {"user_id": user, "product_id": item, "event_type": "view", "created_at": time_ms}
    source = {"connector": "postgresql", "table": "behaviour", "ts_ms": time_ms}
    return {"before": None, "after": row, "source": source, "op": "c", "ts_ms": time_ms}


def _mapped(user: str, item: str, time_ms: int) -> Fields:
    product = {"sku": item, "currency": "EUR"}
    return {"user": {"id": user}, "event": "product_view", "ts": time_ms, "product": product}


WRITERS: Final[dict[str, Callable[[str, str, int], Fields]]] = {
    "segment": _call,
    "rudderstack": _call,
    "snowplow": _snowplow,
    "ga4": _ga4,
    "posthog": _posthog,
    "cloudevents": _cloudevents,
    "debezium": _debezium,
    MAPPING: _mapped,
}
"""Write a view of an item as a document of each format."""


def rewritten(events: Iterator[Event], name: str) -> Iterator[Event]:
    """Yields events of the contract as records of a format."""
    if name == CONTRACT:
        yield from events
        return
    write = WRITERS[name]
    for key, value in events:
        event = orjson.loads(value)
        yield key, orjson.dumps(write(event["user_id"], event["item_id"], event["time"]))


def formats(given: Bench) -> Iterator[Row]:
    """Yields the rates of the contract and of each format, and what they are of the contract's."""
    with tempfile.TemporaryDirectory(prefix="interest-stream-bench-") as folder:
        mapping = Path(folder) / "bench.toml"
        mapping.write_text(MAPPED, encoding="utf-8")
        names = list(dict.fromkeys([CONTRACT, *given.formats]))
        for model, arguments, count in MODELS:
            for repeat in range(given.repeats):
                turned = names[repeat % len(names) :] + names[: repeat % len(names)]
                rates = {
                    name: _drained(given, count, arguments, name, str(mapping)) for name in turned
                }
                yield from _rows(model, [(name, rates[name]) for name in names])


def _rows(model: str, rates: Sequence[tuple[str, float]]) -> Iterator[Row]:
    """Yields the rates of one round; the first is that of the contract."""
    contract = rates[0][1]
    for name, rate in rates:
        yield Row("formats", f"{name}, {model}", "events/s", rate)
        if name != CONTRACT:
            yield Row("formats", f"{name}, {model}, of the contract", "%", 100 * rate / contract)


def _drained(given: Bench, count: int, arguments: Sequence[str], name: str, mapping: str) -> float:
    """Returns the events/s at which a worker drains a backlog of a format."""
    reading = {"event_format": name, "mapping": mapping if name == MAPPING else ""}
    with given.topics(**reading) as settings:
        events = random_events(count, USERS, given.items, seed=1)
        run_in_loop(produce_backlog(settings, rewritten(events, name)))
        with bench.running_worker(settings, [*SAME_BATCH, *arguments]) as worker:
            return float(worker.drain(count)["events_per_s"])


def _iso(time_ms: int) -> str:
    return f"{utc(time_ms, '%Y-%m-%dT%H:%M:%S')}.{time_ms % 1000:03}Z"

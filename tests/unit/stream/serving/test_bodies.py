"""Bodies of every format: what is written of them is what workers read."""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import msgspec
import orjson
import pytest

from stream.config import OWNERS_FORMATS, Settings
from stream.contracts.event import Limits, parse_event
from stream.contracts.faults import BadEvent
from stream.errors import SettingsError
from stream.formats.records import read_record
from stream.formats.registry import format_named
from stream.serving.bodies import (
    BadBodyError,
    Document,
    Found,
    Incoming,
    Shapes,
    by_contract,
    documents_of,
    split_body,
)
from tests.support.foreign import cases
from tests.support.serving import NOW_MS

MAPPING: Final = '[event]\nuser_id = "who"\naction = "what"\ntime = { received = true }\n' + (
    'item_id = "lines[].sku"\nevent_id = "id"\n'
)


@dataclass
class Record:
    """A record as Kafka holds it."""

    key: bytes
    value: bytes
    headers: Any
    timestamp: int = -1


def in_kafka(found: Sequence[Incoming]) -> list[Record]:
    return [Record(each.key, each.value, each.headers) for each in found]


def event(**more: Any) -> bytes:
    fields = {"user_id": "anna", "action": "view", "time": NOW_MS, "item_id": "tent"}
    return orjson.dumps({**fields, **more})


def call(user: str = "anna", *items: str, message: str | None = "m", **more: Any) -> dict[str, Any]:
    """A call of Segment about products."""
    products = [{"product_id": each} for each in items or ("tent",)]
    fields = {"type": "track", "event": "Order Completed", "userId": user, "messageId": message}
    at = "2025-11-25T10:00:00Z"
    return {**fields, "timestamp": at, "properties": {"products": products}, **more}


def read(shapes: Shapes, name: str, document: Any, **headers: bytes) -> Found:
    value = document if isinstance(document, bytes) else orjson.dumps(document)
    return shapes.named(name)(Document(value, tuple(headers.items())), NOW_MS)


def test_a_body_is_a_document_an_array_or_lines() -> None:
    one = event()
    assert split_body(b"  " + one + b"\n", "application/json") == [one]
    assert split_body(b"[%b ,%b]" % (one, one), "application/json; charset=utf-8") == [one, one]
    for content_type in ("application/x-ndjson", "text/tab-separated-values"):
        assert split_body(b"%b\n\n%b\r\n" % (one, one), content_type) == [one, one]
    for body in (b"", b"[", b"[]", b"{]", b"\xff", b"[" * 100_000):
        with pytest.raises(BadBodyError):
            split_body(body, "application/json")
    with pytest.raises(BadBodyError, match="1001 events"):
        split_body(b"[%b]" % b",".join([b"{}"] * 1_001), "")


def test_an_event_is_sent_as_it_came_under_its_user() -> None:
    value = event(user_id="ännä", unknown={"kept": [1]}, event_id="e1")
    found = by_contract(value, Limits(), NOW_MS)
    assert (found.key, found.value, found.event_ids) == ("ännä".encode(), value, ("e1",))


@pytest.mark.parametrize(
    ("value", "reason"),
    [
        (b"{}", "missing-field"),
        (b"3", "not-object"),
        (b"nonsense", "not-json"),
        (event(user_id=3), "wrong-type"),
        (event(user_id=""), "missing-field"),
        (event(user_id="a" * 257), "text-too-long"),
        (event(time=int(time.time() * 1000) + 90_000_000), "future-time"),
        (event(time=1_767_225_600), "bad-time"),
        (event(item_id=None), "no-subject"),
        (event(title="x" * 70_000), "too-large"),
    ],
    ids=lambda each: each if isinstance(each, str) else "event",  # events hold the time of now
)
def test_the_reasons_are_those_of_dead_letters(value: bytes, reason: str) -> None:
    with pytest.raises(BadEvent) as found:
        by_contract(value, Limits(), NOW_MS)
    assert found.value.reason == reason


@pytest.mark.parametrize("name", OWNERS_FORMATS)
def test_workers_of_the_contract_read_the_events_of_every_format(name: str) -> None:
    shapes, events, dropped = Shapes(Settings()), 0, 0
    for case in cases(name, 200):
        found = shapes.named(name)(Document(case.value, case.headers), case.received_ms or NOW_MS)
        written = [parse_event(each, Limits()) for each in in_kafka(found.records)]
        assert [msgspec.to_builtins(each) for each in written] == case.events
        assert dict(found.dropped or {}) == dict(case.dropped)
        events += len(written)
        dropped += sum(case.dropped.values())
    assert events > 100
    assert dropped


@pytest.mark.parametrize("name", OWNERS_FORMATS)
def test_workers_of_a_format_read_its_documents_as_they_came(name: str) -> None:
    shapes, event_format, read_ = Shapes(Settings(event_format=name)), format_named(name), 0
    for case in cases(name, 200):
        document = Document(case.value, case.headers)
        if len({each["user_id"] for each in case.events}) > 1:
            with pytest.raises(BadEvent, match="users"):
                shapes.named(name)(document, NOW_MS)
            continue
        found = shapes.named(name)(document, case.received_ms or NOW_MS)
        assert [each.value for each in found.records] == [case.value] * bool(case.events)
        for record in in_kafka(found.records):
            record.timestamp = case.received_ms or NOW_MS
            meant = read_record(record, event_format, Limits()).events
            assert [msgspec.to_builtins(each) for each in meant] == case.events
            read_ += len(meant)
    assert read_ > 100


def test_only_what_workers_read_is_taken(tmp_path: Path) -> None:
    for name in ("ga4", "contract", "nonsense"):
        with pytest.raises(BadBodyError, match="workers read segment"):
            Shapes(Settings(event_format="segment")).named(name)
    with pytest.raises(BadBodyError, match="--body-mapping"):
        Shapes(Settings()).named("mapping")
    mapping = tmp_path / "shop.toml"
    mapping.write_text(MAPPING)
    with pytest.raises(SettingsError, match="leave it out"):
        Shapes(Settings(mapping=str(mapping)), str(mapping))
    with pytest.raises(SettingsError, match=r"missing\.toml"):
        Shapes(Settings(), str(tmp_path / "missing.toml"))


def test_a_mapping_reads_bodies_for_workers_of_the_contract(tmp_path: Path) -> None:
    mapping = tmp_path / "shop.toml"
    mapping.write_text(MAPPING)
    document = {"who": 7, "what": "view", "id": "d", "lines": [{"sku": "a"}, {"sku": "b"}]}
    found = read(Shapes(Settings(), str(mapping)), "mapping", document)
    assert [orjson.loads(each.value) for each in found.records] == [
        {
            "user_id": "7",
            "action": "view",
            "time": NOW_MS,
            "item_id": item,
            "event_id": f"d#{place}",
        }
        for place, item in enumerate("ab")
    ]
    # workers with that mapping read the document itself
    shapes = Shapes(Settings(mapping=str(mapping)))
    assert shapes.own == "mapping"
    (record,) = read(shapes, "mapping", document).records
    assert (record.key, orjson.loads(record.value)) == (b"7", document)
    assert record.event_ids == ("d#0", "d#1")


def test_purposes_of_consent_are_asked_for_where_a_format_names_them() -> None:
    shapes = Shapes(Settings(consent_purposes="Ads"))
    denied = {"consent": {"categoryPreferences": {"Analytics": False, "Ads": True}}}
    assert len(read(shapes, "segment", call(context=denied)).records) == 1
    assert not read(Shapes(Settings()), "segment", call(context=denied)).records
    with pytest.raises(BadBodyError, match="consent_purposes"):
        shapes.named("ga4")


def test_a_batch_of_several_users_becomes_their_events() -> None:
    batch = {"batch": [call("anna", "a", "b"), call("berta"), {"type": "identify"}, {"type": 3}]}
    found = read(Shapes(Settings()), "segment", batch)
    assert [each.key for each in found.records] == [b"anna", b"anna", b"berta"]
    assert dict(found.dropped or {}) == {"no-behaviour": 1}
    assert [each.reason for each in found.refused] == ["wrong-type"]
    # a topic of segment takes it where `--rekey` forwards each event to its user
    shapes = Shapes(Settings(event_format="segment", rekey=True))
    assert len(read(shapes, "segment", batch).records) == 1


def test_a_document_may_be_larger_than_a_record_and_its_events_may_not() -> None:
    shapes = Shapes(Settings())
    large = call("anna", more="x" * 70_000)
    assert len(read(shapes, "segment", large).records) == 1
    with pytest.raises(BadEvent, match="max_value_bytes"):
        read(Shapes(Settings(event_format="segment")), "segment", large)
    small = Shapes(Settings(max_value_bytes=64))
    with pytest.raises(BadEvent, match="max_value_bytes"):
        read(small, "segment", call("anna"))


def test_a_cloudevent_may_have_its_attributes_in_headers() -> None:
    data = orjson.dumps({"userId": "anna", "sku": "tent"})
    headers = {
        "ce-specversion": "1.0",
        "ce-id": "1",
        "ce-source": "/shop%20one",
        "ce-type": "com.example.product_viewed",
        "content-type": "application/json",
        "host": "localhost",
    }
    (document,) = documents_of(data, headers, "cloudevents")
    (record,) = Shapes(Settings()).named("cloudevents")(document, NOW_MS).records
    assert orjson.loads(record.value) == {
        "user_id": "anna",
        "action": "view",
        "time": NOW_MS,
        "item_id": "tent",
        "event_id": "/shop one#1",
    }
    # a topic of such events holds them in its own headers
    own = Shapes(Settings(event_format="cloudevents"))
    (record,) = own.named("cloudevents")(document, NOW_MS).records
    assert (record.value, ("ce_source", b"/shop one") in record.headers) == (data, True)
    # of another format headers say nothing
    assert documents_of(data, headers, "contract") == [Document(data)]


def test_what_repeats_is_told_by_user_and_ids() -> None:
    assert Incoming(b"an", b"", ("na1",)).name() != Incoming(b"anna", b"", ("1",)).name()
    assert Incoming(b"a", b"", ("1", "2")).name() != Incoming(b"a", b"", ("12",)).name()
    assert Incoming(b"a", b"", ("1", None)).name() is None

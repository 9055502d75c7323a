"""What the owners' formats refuse names the field and the fix, and what they drop is counted."""

from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from stream.contracts.faults import REASONS, BadEvent
from stream.formats.documents import read_documents, users_named
from stream.formats.event_format import DROPS, Reading
from stream.formats.registry import format_named
from tests.support.foreign import cases
from tests.unit.stream.formats.test_owners import OWNERS

TRACK: dict[str, Any] = {
    "type": "track",
    "userId": "u",
    "timestamp": "2026-01-01T00:00:00Z",
    "event": "Product Viewed",
    "properties": {"product_id": "a"},
}
ROW: dict[str, Any] = {
    "event_name": "view_item",
    "event_timestamp": 1_767_225_600_000_000,
    "user_pseudo_id": "u",
    "items": [{"item_id": "a"}],
}
CAPTURED: dict[str, Any] = {
    "event": "Product Viewed",
    "distinct_id": "u",
    "timestamp": "2026-01-01T00:00:00Z",
    "properties": {"product_id": "a"},
}
ENRICHED: dict[str, Any] = {
    "event": "struct",
    "event_name": "event",
    "domain_userid": "u",
    "collector_tstamp": "2026-01-01T00:00:00Z",
    "se_action": "view",
    "se_label": "a",
}
CLOUD: dict[str, Any] = {
    "specversion": "1.0",
    "id": "1",
    "source": "s",
    "type": "view",
    "time": "2026-01-01T00:00:00Z",
    "data": {"user_id": "u", "item_id": "a"},
}
CHANGE: dict[str, Any] = {
    "op": "c",
    "after": {"user_id": 1, "item_id": "a"},
    "source": {"table": "t", "ts_ms": 1_767_225_600_000},
}


def read(name: str, document: Any) -> Reading:
    return read_documents(format_named(name), json.dumps(document).encode(), (), None)


def changed(document: dict[str, Any], path: str, value: Any) -> dict[str, Any]:
    """A document with another value at a path, or without what is there."""
    copy: dict[str, Any] = json.loads(json.dumps(document))
    *parents, last = path.split(".")
    inner: Any = copy
    for each in parents:
        inner = inner[int(each) if each.isdecimal() else each]
    if value is ...:
        del inner[last]
    else:
        inner[last] = value
    return copy


@pytest.mark.parametrize(
    ("name", "document", "path", "value", "reason", "said"),
    [
        ("segment", TRACK, "userId", ..., "missing-field", "userId and anonymousId are both"),
        ("segment", TRACK, "type", ..., "missing-field", "type is missing"),
        ("segment", TRACK, "type", "click", "wrong-type", "type is 'click'; it must be track"),
        ("segment", TRACK, "event", ..., "missing-field", "event is missing"),
        ("segment", TRACK, "timestamp", ..., "missing-field", "timestamp, originalTimestamp"),
        ("segment", TRACK, "timestamp", "soon", "bad-time", "timestamp: time 'soon'"),
        ("segment", TRACK, "timestamp", 5, "bad-time", "timestamp: 5 is no text"),
        ("segment", TRACK, "userId", {"id": 1}, "wrong-type", "userId: "),
        ("segment", TRACK, "userId", 1.5, "wrong-type", "userId: 1.5"),
        ("segment", TRACK, "userId", True, "wrong-type", "userId: True"),
        ("segment", TRACK, "properties", "x", "wrong-type", "properties: Expected `object"),
        ("segment", TRACK, "properties.product_id", ["a"], "wrong-type", "properties.product_id"),
        ("segment", TRACK, "properties.products", {"a": 1}, "wrong-type", "properties.products is"),
        ("segment", TRACK, "properties.products", ["a"], "wrong-type", "properties.products.0 is"),
        ("rudderstack", TRACK, "userId", ..., "missing-field", "userId and anonymousId are both"),
        ("ga4", ROW, "event_name", ..., "missing-field", "event_name is missing"),
        ("ga4", ROW, "user_pseudo_id", ..., "missing-field", "user_id and user_pseudo_id"),
        ("ga4", ROW, "event_timestamp", ..., "missing-field", "event_timestamp is missing"),
        ("ga4", ROW, "event_timestamp", "x", "bad-time", "event_timestamp: 'x'"),
        ("ga4", ROW, "items", "x", "wrong-type", "items: Expected `array"),
        ("ga4", ROW, "items.0.item_id", {}, "wrong-type", "items.0.item_id"),
        ("posthog", CAPTURED, "distinct_id", ..., "missing-field", "distinct_id is None"),
        ("posthog", CAPTURED, "event", ..., "missing-field", "event is missing"),
        ("posthog", CAPTURED, "timestamp", ..., "missing-field", "timestamp is missing"),
        ("posthog", CAPTURED, "properties", "{", "not-json", "Input data was truncated"),
        ("snowplow", ENRICHED, "domain_userid", ..., "missing-field", "user_id, domain_userid and"),
        ("snowplow", ENRICHED, "collector_tstamp", ..., "missing-field", "collector_tstamp is"),
        ("cloudevents", CLOUD, "specversion", ..., "missing-field", "specversion is missing"),
        ("cloudevents", CLOUD, "data.user_id", ..., "missing-field", "data has no user_id"),
        ("cloudevents", CLOUD, "data", [1], "wrong-type", "data is [1]"),
        ("cloudevents", CLOUD, "time", ..., "missing-field", "time is missing"),
        ("cloudevents", CLOUD, "datacontenttype", "text/xml", "wrong-type", "datacontenttype is"),
        ("debezium", CHANGE, "op", ..., "missing-field", "op is missing"),
        ("debezium", CHANGE, "op", "x", "wrong-type", "op is 'x'"),
        ("debezium", CHANGE, "op", "r", "missing-field", "a row that a snapshot read"),
        ("debezium", CHANGE, "after", None, "wrong-type", "after is None"),
        ("debezium", CHANGE, "after.user_id", ..., "missing-field", "no column of the row names"),
        ("debezium", CHANGE, "after.item_id", ..., "missing-field", "no column of the row names"),
        ("debezium", CHANGE, "source.ts_ms", ..., "missing-field", "source.ts_ms is missing"),
    ],
)
def test_a_refusal_names_the_field(
    name: str, document: dict[str, Any], path: str, value: Any, reason: str, said: str
) -> None:
    assert read(name, document).events
    with pytest.raises(BadEvent) as caught:
        read(name, changed(document, path, value))
    assert caught.value.reason == reason
    assert said in str(caught.value)


@pytest.mark.parametrize(
    ("value", "said"), [(b"a\tb", "2 columns parted by tabs"), (b"\xff", "UTF-8")]
)
def test_lines_that_are_no_enriched_event_are_refused(value: bytes, said: str) -> None:
    with pytest.raises(BadEvent, match=said):
        read_documents(format_named("snowplow"), value, (), None)


def test_one_bad_line_of_several_spoils_no_other() -> None:
    good = [case for case in cases("snowplow", 60) if b"\t" in case.value and case.events]
    broken = good[1].value.rpartition(b"\t")[0]
    value = b"\n".join([good[0].value, broken, good[2].value])
    reading = read_documents(format_named("snowplow"), value, (), None)
    assert len(reading.events) == len(good[0].events) + len(good[2].events)
    assert [(each.place, each.value) for each in reading.bad] == [(1, broken)]


def test_one_bad_call_of_a_batch_spoils_no_other() -> None:
    body = {"batch": [TRACK, changed(TRACK, "userId", ...), TRACK]}
    reading = read("segment", body)
    assert len(reading.events) == 2
    assert [json.loads(each.value) for each in reading.bad] == [body["batch"][1]]


def test_the_consent_of_a_batch_holds_for_all_its_calls() -> None:
    denied = {"consent": {"categoryPreferences": {"Analytics": False}}}
    assert read("segment", {"batch": [TRACK] * 3, "context": denied}).dropped == {"consent": 3}


def test_headers_that_describe_a_value_describe_all_of_it() -> None:
    """Else the events of an array would share the id of the one CloudEvent."""
    headers = (("ce_specversion", b"1.0"), ("ce_id", b"1"), ("ce_source", b"s"))
    value = json.dumps([CLOUD["data"]] * 2).encode()
    with pytest.raises(BadEvent, match="Expected `object`, got `array`"):
        read_documents(format_named("cloudevents"), value, headers, 1_767_225_600_000)


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(max_size=8),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=8), inner),
    max_leaves=8,
)


@pytest.mark.parametrize("name", OWNERS)
@given(data=st.data())
@settings(max_examples=80, deadline=None)
def test_a_damaged_document_is_read_refused_or_dropped(name: str, data: st.DataObject) -> None:
    """A field of a sound document holds anything: nothing else than those three may happen."""
    document = data.draw(st.sampled_from(SOUND[name]))
    paths = list(places(document))
    damaged = changed(document, data.draw(st.sampled_from(paths)), data.draw(JSON))
    reading, fault = attempted(name, damaged)
    named = users_named(MADE[name], json.dumps(damaged).encode(), ())
    assert named >= {each.user_id for each in reading.events}
    if fault is not None:
        assert fault.reason in REASONS
        assert len(str(fault)) < 1_000
        return
    assert reading.events or reading.dropped or reading.bad
    assert set(reading.dropped) <= set(DROPS)
    assert all(count > 0 for count in reading.dropped.values())
    for each in reading.events:
        assert each.user_id
        assert isinstance(each.time, int)
        assert each.item_id or each.title or each.query


def attempted(name: str, document: Any) -> tuple[Reading, BadEvent | None]:
    try:
        return read(name, document), None
    except BadEvent as error:
        return Reading(), error


def places(document: Any, path: str = "") -> list[str]:
    found: list[str] = []
    inside = document.items() if isinstance(document, dict) else enumerate(document)
    for name, value in inside:
        here = f"{path}.{name}" if path else str(name)
        if "." not in str(name) and not isinstance(document, list):
            found.append(here)
        if isinstance(value, dict | list):
            found += places(value, here)
    return found


MADE = {name: format_named(name) for name in OWNERS}
SOUND = {
    name: [json.loads(case.value) for case in cases(name, 60) if case.value.startswith(b"{")]
    for name in OWNERS
}

"""The audit reads the owners' formats as a worker does, with code of its own."""

from __future__ import annotations

import gzip
import json
from itertools import pairwise
from typing import Any, NamedTuple

import cramjam
import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from stream.audit.documents import Meant, meant_by
from stream.audit.event_rules import Limits as AuditLimits
from stream.audit.owners.envelopes import USUAL
from stream.audit.shapes import shape_of
from stream.config import OWNERS_FORMATS, Settings
from stream.contracts.event import Limits
from stream.contracts.faults import BadEvent
from stream.formats.event_format import NO_BEHAVIOUR, Headers, Reading
from stream.formats.records import read_record
from stream.formats.registry import format_named
from stream.formats.usual_names import SYNONYMS
from stream.setting_rules import words_of
from tests.support.foreign import cases
from tests.support.foreign.shop import START_MS
from tests.unit.stream.formats.test_consent import GIVEN
from tests.unit.stream.formats.test_refusals import JSON, SOUND, changed, places

COMPARED = ("user_id", "time", "event_id", "item_id", "query", "title", "session_id")
NOW_MS = START_MS + 10**9


class Record(NamedTuple):
    key: bytes
    value: bytes
    headers: Headers
    timestamp: int
    offset: int = 0


def read(name: str, record: Record, purposes: str = "") -> Reading | None:
    event_format = format_named(name, purposes=words_of(purposes))
    try:
        return read_record(record, event_format, Limits(), NOW_MS)
    except BadEvent:
        return None


def audited(name: str, record: Record, purposes: str = "") -> Meant | None:
    shape = shape_of(Settings(event_format=name, consent_purposes=purposes))
    assert shape is not None
    return meant_by(
        shape,
        record.key,
        record.value,
        record.timestamp,
        record.headers,
        AuditLimits(),
        NOW_MS,
    )


def record_of(value: bytes, events: list[dict[str, Any]], headers: Headers = ()) -> Record:
    key = events[0]["user_id"].encode() if events else b"u"
    return Record(key, value, headers, NOW_MS)


def compare(name: str, record: Record, purposes: str = "") -> None:
    reading, meant = read(name, record, purposes), audited(name, record, purposes)
    assert (reading is None) == (meant is None), record
    if reading is None or meant is None:
        return
    events = [msgspec.to_builtins(event) for event in reading.events]
    for event in (*events, *meant.events):
        event |= dict.fromkeys(COMPARED) | event
    assert [[each[name] for name in COMPARED] for each in events] == [
        [each[name] for name in COMPARED] for each in meant.events
    ], record
    assert sum(reading.dropped.values()) == meant.dropped, record
    assert [(each.place, each.value) for each in reading.bad] == meant.bad, record


def test_both_readings_know_a_field_by_the_same_names() -> None:
    names = {field: names.split() for field, names in USUAL.items()}
    assert names == {field: [field, *SYNONYMS[field]] for field in USUAL}
    assert SYNONYMS.keys() - USUAL.keys() == {"dwell_ms", "value"}  # no event needs them


def test_a_time_of_the_data_goes_before_one_of_the_envelope_that_is_none() -> None:
    event = {"specversion": "1.0", "id": "1", "source": "/s", "type": "view", "time": []}
    data = {"user_id": "u", "sku": "a", "timestamp": START_MS}
    for each in (data, {**data, "timestamp": None}):
        compare("cloudevents", record_of(json.dumps(event | {"data": each}).encode(), []))


@pytest.mark.parametrize("name", ["segment", "posthog"])
def test_bodies_in_an_array_keep_their_bad_calls_and_are_bounded(name: str) -> None:
    bodies = (b'[{"batch":[3]},{"batch":[]}]', b'{"batch":[' + b"3," * 1_000 + b"3]}", b"[]")
    for value in bodies:
        compare(name, record_of(value, []))
    array = read(name, record_of(bodies[0], []))
    assert array is not None
    assert [(each.place, each.value) for each in array.bad] == [(0, b"3")]
    assert array.dropped == {NO_BEHAVIOUR: 1}  # the empty body
    denied = {"context": {"consent": {"categoryPreferences": {"Advertising": False}}}, "batch": []}
    compare(name, record_of(json.dumps(denied).encode(), []))
    assert [read(name, record_of(each, [])) for each in bodies[1:]] == [None, None]


@pytest.mark.parametrize("name", GIVEN)
def test_the_audit_asks_for_the_same_purposes(name: str) -> None:
    for value, purposes, _ in GIVEN[name]:
        compare(name, record_of(value, [], ()), purposes)


@pytest.mark.parametrize("name", OWNERS_FORMATS)
def test_the_audit_means_what_a_worker_reads(name: str) -> None:
    for case in cases(name, 600, seed=7):
        record = record_of(case.value, case.events, case.headers)
        compare(name, record)
        if len({event["user_id"] for event in case.events}) <= 1:
            assert read(name, record) is not None, "it would be a dead letter"


@pytest.mark.parametrize("name", OWNERS_FORMATS)
def test_a_null_value_is_no_fault_of_debezium(name: str) -> None:
    record = Record(b"u", None, (), NOW_MS)  # type: ignore[arg-type]
    compare(name, record)
    reading = read(name, record)
    assert (reading is not None and reading.dropped == {"no-behaviour": 1}) is (name == "debezium")


@pytest.mark.parametrize("name", OWNERS_FORMATS)
@given(data=st.data())
@settings(max_examples=80, deadline=None)
def test_the_audit_judges_damaged_documents_alike(name: str, data: st.DataObject) -> None:
    document = data.draw(st.sampled_from(SOUND[name]))
    damaged = changed(document, data.draw(st.sampled_from(places(document))), data.draw(JSON))
    value = json.dumps(damaged).encode()
    meant = audited(name, record_of(value, []))
    users = [each["user_id"] for each in meant.events] if meant else []
    for user in {*users, "user-1", "4711"}:
        compare(name, Record(user.encode("utf-8", "replace"), value, (), NOW_MS))


@pytest.mark.parametrize("name", OWNERS_FORMATS)
def test_arrays_lines_and_packed_values_are_taken_apart_alike(name: str) -> None:
    found = [case for case in cases(name, 300) if case.events and not case.headers][:40]
    for one, other in pairwise(found):
        broken = one.value[: len(one.value) // 2]
        for value in (
            one.value + b"\n" + other.value,
            b"\n".join([one.value, broken, other.value]),
            b"[" + one.value + b", " + other.value + b"]",
        ):
            for packed in (value, gzip.compress(value), bytes(cramjam.zstd.compress(value))):
                compare(name, record_of(packed, one.events))
                compare(name, record_of(packed[:-3], one.events))

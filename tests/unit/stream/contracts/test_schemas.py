"""Checks that the published schemas and golden samples agree with each other and with the code."""

from __future__ import annotations

import json
from types import SimpleNamespace
from typing import Any

import numpy as np
import orjson
import pytest
from hypothesis import given
from hypothesis import strategies as st
from jsonschema import Draft202012Validator

from models.compact import ACTIONS, ITEM_ID, QUERY, hash64, text_of
from stream.audit.changelog import Changelog
from stream.contracts.control import parse_control
from stream.contracts.dead_letter import dead_letter
from stream.contracts.digest import DIGEST_FACTOR, digest_events
from stream.contracts.event import Event, Limits, parse_event
from stream.contracts.faults import REASONS, BadEvent, Reject
from stream.contracts.state_record import HEADER, decode_record
from stream.contracts.times import FIRST_TIME_MS
from tests.support.contracts import SCHEMAS, faults, golden, golden_bytes, header_texts, schema

LATE_MS = 253_402_300_799_999
UNSAYABLE = {"bad-time", "text-too-long", "too-deep"}
"""Reasons for which the decoder may refuse what the schema accepts; its description says so."""


def parsed(event: Any) -> Event:
    user = event.get("user_id") if isinstance(event, dict) else None
    key = user.encode() if isinstance(user, str) else b"user-7"
    return parse_event(
        SimpleNamespace(key=key, value=orjson.dumps(event), headers=(), timestamp=LATE_MS), Limits()
    )


@pytest.mark.parametrize("name", SCHEMAS)
def test_schemas_are_schemas_with_an_open_content_model(name: str) -> None:
    Draft202012Validator.check_schema(schema(name))
    assert "additionalProperties" not in json.dumps(schema(name))


@pytest.mark.parametrize("event", golden("events-valid.jsonl"))
def test_valid_events(event: dict[str, Any]) -> None:
    assert not faults("event-1", event)
    found = parsed(event)
    for name in (
        "user_id",
        "action",
        "item_id",
        "title",
        "categories",
        "query",
        "event_id",
        "dwell_ms",
        "value",
    ):
        assert getattr(found, name) == event.get(name)


def test_valid_events_cover_every_field() -> None:
    assert schema("event-1")["properties"].keys() <= {
        name for event in golden("events-valid.jsonl") for name in event
    }
    assert list(schema("event-1")["properties"]) == list(Event.__struct_fields__)


@pytest.mark.parametrize("sample", golden("events-invalid.jsonl"))
def test_invalid_events(sample: dict[str, Any]) -> None:
    assert faults("event-1", sample["event"])
    with pytest.raises(BadEvent) as caught:
        parsed(sample["event"])
    assert caught.value.reason == sample["reason"]


TEXT = st.text(st.characters(codec="utf-8"), min_size=1, max_size=20)
ID = st.text(st.characters(codec="utf-8", exclude_categories=["Cc"]), min_size=1, max_size=20)
TIMES = st.integers(FIRST_TIME_MS, LATE_MS) | st.builds(
    "{:04d}-{:02d}-{:02d}T{:02d}:{:02d}:{:02d}{}{}".format,
    st.integers(2001, 9998),
    st.integers(1, 12),
    st.integers(1, 28),
    st.integers(0, 23),
    st.integers(0, 59),
    st.integers(0, 59),
    st.sampled_from(("", ".5", ".123456789")),
    st.sampled_from(("Z", "z", "+00:00", "-11:30", "+14:00")),
)
NUMBER = st.floats(allow_nan=False, allow_infinity=False) | st.integers(-(10**15), 10**15)
VALID = st.builds(
    lambda required, subject, optional: {**required, **optional, **subject},
    st.fixed_dictionaries(
        {"user_id": ID, "action": st.sampled_from(ACTIONS) | TEXT, "time": TIMES}
    ),
    st.one_of(*(st.fixed_dictionaries({name: ID}) for name in ("item_id", "title", "query"))),
    st.fixed_dictionaries(
        {},
        optional={
            "item_id": ID | st.none(),
            "title": TEXT | st.none(),
            "query": TEXT | st.none(),
            "categories": st.lists(TEXT, max_size=3) | st.none(),
            "event_id": ID | st.none(),
            "session_id": TEXT | st.none(),
            "dwell_ms": st.floats(0, 1e9) | st.none(),
            "value": NUMBER | st.none(),
            "something": st.none() | NUMBER | TEXT | st.lists(NUMBER, max_size=2),
        },
    ),
)


@given(VALID)
def test_what_the_schema_accepts_is_taken_and_comes_back_the_same(event: dict[str, Any]) -> None:
    assert not faults("event-1", event)
    found = parsed(event)
    again = parsed(
        json.loads(orjson.dumps({name: getattr(found, name) for name in Event.__struct_fields__}))
    )
    assert again == found
    assert (found.user_id, found.item_id, found.value) == (
        event["user_id"],
        event.get("item_id"),
        event.get("value"),
    )


CHANGES: tuple[tuple[str, str, Any], ...] = (
    ("user_id", "missing-field", ...),
    ("user_id", "missing-field", ""),
    ("user_id", "wrong-type", 7),
    ("user_id", "wrong-type", None),
    ("user_id", "control-character", "a\x7f"),
    ("user_id", "text-too-long", "u" * 257),
    ("action", "missing-field", ...),
    ("action", "missing-field", ""),
    ("action", "wrong-type", ["view"]),
    ("action", "text-too-long", "a" * 2_049),
    ("time", "missing-field", ...),
    ("time", "wrong-type", None),
    ("time", "wrong-type", 1.5),
    ("time", "bad-time", -1),
    ("time", "bad-time", LATE_MS + 1),
    ("time", "bad-time", FIRST_TIME_MS - 1),
    ("time", "bad-time", 1_767_225_600),
    ("time", "bad-time", "2026-01-01"),
    ("time", "bad-time", "2026-01-01T00:00:00"),
    ("item_id", "wrong-type", 12),
    ("item_id", "control-character", "a\nb"),
    ("title", "text-too-long", "t" * 2_049),
    ("query", "wrong-type", {}),
    ("categories", "wrong-type", "Camping"),
    ("categories", "wrong-type", [None]),
    ("event_id", "control-character", "\x00"),
    ("session_id", "wrong-type", 5),
    ("dwell_ms", "out-of-range", -0.5),
    ("dwell_ms", "wrong-type", "12"),
    ("value", "wrong-type", True),
)


@pytest.mark.parametrize(("field", "reason", "value"), CHANGES)
def test_one_change_is_refused_by_both_with_its_reason(field: str, reason: str, value: Any) -> None:
    check_change(golden("events-valid.jsonl")[4], field, reason, value)


@given(VALID, st.sampled_from(CHANGES))
def test_one_change_of_any_event_is_refused_by_both(
    event: dict[str, Any], change: tuple[str, str, Any]
) -> None:
    check_change(event, *change)


def check_change(event: dict[str, Any], field: str, reason: str, value: Any) -> None:
    changed = {**event, field: value}
    if value is ...:
        del changed[field]
    assert faults("event-1", changed)
    with pytest.raises(BadEvent) as caught:
        parsed(changed)
    assert caught.value.reason == reason
    assert field in str(caught.value) or reason == "control-character"


JSON = st.recursive(
    st.none() | st.booleans() | NUMBER | st.text(st.characters(codec="utf-8"), max_size=8),
    lambda inner: (
        st.lists(inner, max_size=3) | st.dictionaries(st.text("ab", max_size=2), inner, max_size=3)
    ),
    max_leaves=6,
)


@given(VALID, st.dictionaries(st.sampled_from(Event.__struct_fields__), JSON, max_size=2))
def test_decoder_and_schema_judge_alike_whatever_a_field_holds(
    event: dict[str, Any], junk: dict[str, Any]
) -> None:
    changed = {**event, **junk}
    reason = reason_of(changed)
    # a schema calls 5.0 an integer
    integral = isinstance(changed["time"], float) and changed["time"].is_integer()
    if faults("event-1", changed):
        assert reason is not None
    else:
        assert reason is None or reason in UNSAYABLE or integral


def reason_of(event: Any) -> str | None:
    try:
        parsed(event)
    except BadEvent as error:
        return error.reason
    return None


@pytest.mark.parametrize("update", golden("updates-valid.jsonl"))
def test_valid_updates_are_profiles_too(update: dict[str, Any]) -> None:
    assert not faults("update-1", update)
    assert not faults("profile-1", update)


def test_a_profile_may_be_null_and_an_update_may_not() -> None:
    assert not faults("profile-1", None)
    assert faults("update-1", None)
    assert faults("profile-1", {})


@pytest.mark.parametrize("sample", golden("updates-invalid.jsonl"))
def test_invalid_updates(sample: dict[str, Any]) -> None:
    found = faults("update-1", {**golden("updates-valid.jsonl")[0], **sample["change"]})
    assert found
    assert all(each.startswith(f"$.{sample['where']}") for each in found)


@pytest.mark.parametrize("field", schema("update-1")["required"])
def test_an_update_without_a_required_field_is_refused(field: str) -> None:
    update = golden("updates-valid.jsonl")[0]
    del update[field]
    assert faults("update-1", update)


def test_dead_letters_carry_the_headers_of_their_schema() -> None:
    assert schema("dead-letter-1")["properties"]["is.dlq.reason"]["enum"] == list(REASONS)
    source = SimpleNamespace(
        key=b"k", value=b"v" * 700_000, headers=[("is.dlq.reason", b"old")], offset=4, timestamp=-1
    )
    for reason, record in (
        ("too-large", source),
        ("unprocessable", SimpleNamespace(**{**vars(source), "value": None})),
    ):
        _, _, headers = dead_letter(
            "clickstream", 3, record, Reject(4, reason, "BadEvent", "x", None), 1_767_225_600_000
        )
        assert not faults("dead-letter-1", header_texts(headers))
    assert faults("dead-letter-1", {**header_texts(headers), "is.dlq.reason": "bad luck"})
    assert faults("dead-letter-1", {**header_texts(headers), "is.dlq.value-bytes": "5"})


def test_the_golden_state_record_decodes_to_what_its_comments_say() -> None:
    record = decode_record(golden_bytes("state-1.hex"))
    header = {name: int(record.header[name]) for name in HEADER.names or ()}
    assert header == {
        "version": 1,
        "n_recent": 2,
        "state_size": 4,
        "topic": 0x0F54322C,
        "fingerprint": 0x0123456789ABCDEF,
        "partition": 3,
        "partitions": 4,
        "offset": 9,
        "count": 2,
        "digest": 0x3A4169D193412A43,
        "time_ms": 1_767_225_600_000,
        "flags": 0,
        "erased_ms": 0,
        "broker_ms": 0,
    }
    assert record.memory.tolist() == [0.0, 1.0, -0.5, 0.25]
    newest, before = record.recent.tolist()
    assert newest[:5] == (
        hash64("zelt für zwei"),
        0,
        1_767_225_600_000,
        ACTIONS.index("search"),
        QUERY,
    )
    assert text_of(newest[5]) == "zelt für zwei"
    assert before[:5] == (
        hash64("item-7"),
        hash64("e-1"),
        1_767_225_540_000,
        ACTIONS.index("purchase"),
        ITEM_ID,
    )
    assert text_of(before[5]) == "item-7"


def test_the_golden_digest_is_the_one_the_worker_and_the_audit_compute() -> None:
    first, second = digest_events(
        np.array([5, 9]), np.array([0x11111111, 0x22222222], np.uint32), 3
    )
    with np.errstate(over="ignore"):
        assert first * DIGEST_FACTOR + second == 0x3A4169D193412A43
    changelog = Changelog()
    changelog.add(3, 0, b"user-7", golden_bytes("state-1.hex"))
    held = changelog.held[3, b"user-7"]
    assert (held.source_partition, held.offset, held.count, held.digest) == (
        3,
        9,
        2,
        0x3A4169D193412A43,
    )


def test_the_golden_records_of_version_2_decode_to_what_their_comments_say() -> None:
    first, second = decode_record(golden_bytes("state-1.hex")), golden_bytes("state-2.hex")
    record = decode_record(second)
    assert (record.erased_ms, int(record.header["broker_ms"])) == (
        1_767_225_000_000,
        1_767_225_600_123,
    )
    assert record.memory.tolist() == first.memory.tolist()
    assert record.recent.tolist() == first.recent.tolist()
    marker = decode_record(golden_bytes("state-2-marker.hex"))
    assert (marker.is_marker, marker.suppressed, marker.erased_ms) == (
        True,
        True,
        1_767_225_700_000,
    )
    assert [int(marker.header[name]) for name in ("version", "offset", "count", "digest")] == [
        2,
        12,
        0,
        0,
    ]
    assert (len(marker.memory), len(marker.recent)) == (0, 0)
    changelog = Changelog()
    changelog.add(3, 0, b"user-7", second)
    changelog.add(3, 1, b"user-8", golden_bytes("state-2-marker.hex"))
    assert changelog.held[3, b"user-7"].erased_ms == 1_767_225_000_000
    assert changelog.held[3, b"user-8"].suppressed


def obeyed(value: dict[str, Any]) -> bool:
    record = SimpleNamespace(
        key=str(value.get("user_id", "")).encode(), value=orjson.dumps(value), headers=()
    )
    try:
        parse_control(record, Limits())
    except BadEvent:
        return False
    return True


@pytest.mark.parametrize("control", golden("controls-valid.jsonl"))
def test_valid_controls(control: dict[str, Any]) -> None:
    assert not faults("control-1", control)
    assert obeyed(control)


@pytest.mark.parametrize("sample", golden("controls-invalid.jsonl"), ids=lambda each: each["why"])
def test_invalid_controls(sample: dict[str, Any]) -> None:
    assert faults("control-1", sample["control"])
    assert not obeyed(sample["control"])

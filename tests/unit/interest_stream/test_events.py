"""An event is written once, and judged by the rules of a worker before it is sent."""

from __future__ import annotations

from typing import Any

import orjson
import pytest

from interest_stream import BadEvent, Event
from interest_stream.events import record_of
from stream.contracts.event import Limits

NOW_MS = 1_767_225_600_000
GOOD = {"user_id": "u", "action": "view", "time": NOW_MS, "item_id": "a"}


def test_an_event_is_keyed_by_its_user() -> None:
    event = Event("用户", "view", "2026-01-01T00:00:00Z", item_id="a")
    key, value = record_of(event, Limits(), NOW_MS)
    assert key == "用户".encode()
    assert orjson.loads(value) == {
        "user_id": "用户",
        "action": "view",
        "time": "2026-01-01T00:00:00Z",
        "item_id": "a",
    }


def test_fields_of_ones_own_are_sent_along() -> None:
    _, value = record_of({**GOOD, "shop": 7}, Limits(), NOW_MS)
    assert orjson.loads(value)["shop"] == 7


@pytest.mark.parametrize(
    ("change", "reason", "message"),
    [
        ({"user_id": ""}, "missing-field", "user_id is empty"),
        ({"user_id": None}, "wrong-type", "user_id has the wrong type"),
        ({"user_id": "u" * 300}, "text-too-long", "user_id is longer than 256 bytes"),
        ({"action": ""}, "missing-field", "action is empty"),
        ({"time": "yesterday"}, "bad-time", "is not RFC 3339"),
        ({"time": NOW_MS * 1_000}, "bad-time", "looks like Unix microseconds"),
        ({"time": NOW_MS + 90_000_000}, "future-time", "correct the clock"),
        ({"item_id": 5}, "wrong-type", "put numbers in quotes"),
        ({"item_id": None}, "no-subject", "send at least one"),
        ({"title": "x" * 3_000}, "text-too-long", "title is longer than 2048 bytes"),
        ({"note": "x" * 70_000}, "too-large", "send at most 65536"),
        ({"note": object()}, "not-json", "give texts and numbers"),
    ],
)
def test_a_bad_event_names_field_and_fix(change: dict[str, Any], reason: str, message: str) -> None:
    with pytest.raises(BadEvent, match=message) as raised:
        record_of({**GOOD, **change}, Limits(), NOW_MS)
    assert raised.value.reason == reason

"""The audit's reading of the contract agrees with the golden events; test_poison compares more."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import orjson
import pytest

from stream.audit.event_rules import Limits, valid_event
from stream.pipeline.decode import Decoder
from tests.support.contracts import golden

NOW_MS = 1_800_000_000_000
GOOD = {"user_id": "u", "action": "view", "time": NOW_MS, "item_id": "a"}


def _is_accepted(value: bytes) -> bool:
    """Returns what the worker says."""
    record = SimpleNamespace(key=b"u", value=value, headers=[], offset=0, timestamp=NOW_MS)
    return bool(Decoder().decode("clicks", 0, [record]).users)


def judged(event: dict[str, Any], limits: Limits | None = None) -> bool:
    value = orjson.dumps(event)
    return valid_event(b"u", value, NOW_MS, limits or Limits()) is not None


@pytest.mark.parametrize("event", golden("events-valid.jsonl"), ids=str)
def test_golden_events_are_valid(event: dict[str, Any]) -> None:
    key = event["user_id"].encode()
    assert valid_event(key, orjson.dumps(event), -1, Limits()) is not None


def test_limits_are_kept_to_the_byte() -> None:
    assert judged({**GOOD, "title": "é" * 1_024})
    assert not judged({**GOOD, "title": "é" * 1_024 + "x"})
    size = len(orjson.dumps(GOOD))
    assert judged(GOOD, Limits(value_bytes=size))
    assert not judged(GOOD, Limits(value_bytes=size - 1))
    assert judged({**GOOD, "time": NOW_MS + 86_400_000})
    assert not judged({**GOOD, "time": NOW_MS + 86_400_001})


def test_the_last_of_two_values_counts_and_both_must_be_sound() -> None:
    head = b'{"user_id":"u","action":"view","time":1800000000000,"item_id":'
    assert valid_event(b"u", head + b'null,"item_id":"a"}', NOW_MS, Limits())
    assert valid_event(b"u", head + b'"a","item_id":null}', NOW_MS, Limits()) is None
    assert valid_event(b"u", head + b'7,"item_id":"a"}', NOW_MS, Limits()) is None
    # of a time, sound is what can be read: only the one that counts must be plausible
    for first, sound in ((b"7", True), (b'"-"', True), (b"-7", False), (b"7.5", False)):
        twice = head.replace(b'"time":', b'"time":' + first + b',"time":') + b'"a"}'
        assert (valid_event(b"u", twice, NOW_MS, Limits()) is not None) == sound
        assert _is_accepted(twice) == sound


def test_a_timestamp_before_2000_says_nothing_and_the_own_clock_decides() -> None:
    value = orjson.dumps(GOOD)
    for timestamp_ms in (-1, 0, NOW_MS // 1000):
        assert valid_event(b"u", value, timestamp_ms, Limits())
        assert valid_event(b"u", value, timestamp_ms, Limits(), NOW_MS)
        assert valid_event(b"u", value, timestamp_ms, Limits(), NOW_MS - 86_400_001) is None
    assert valid_event(b"u", value, NOW_MS, Limits(), NOW_MS - 86_400_001)

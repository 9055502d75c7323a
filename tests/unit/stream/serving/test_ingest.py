"""Events over HTTP: a verdict for each, and one with an event_id counts once."""

from __future__ import annotations

import asyncio
import time
from typing import Any

import orjson
import pytest

from stream.config import Settings
from stream.contracts.event import Limits
from stream.contracts.faults import BadEvent
from stream.serving import ingest as ingests
from stream.serving.ingest import BadBodyError, Verdict, by_contract, split_body
from stream.serving.meters import Meters
from tests.support.serving import NOW_MS, Taking


def event(**more: Any) -> bytes:
    fields = {"user_id": "anna", "action": "view", "time": NOW_MS, "item_id": "tent"}
    return orjson.dumps({**fields, **more})


def take(taking: Taking, *events: bytes) -> list[str]:
    verdicts = asyncio.run(taking.take(events, by_contract))
    return [each.verdict for each in verdicts]


@pytest.fixture
def taking() -> Taking:
    return Taking(Settings(), Meters())


def test_a_body_is_an_event_an_array_or_lines() -> None:
    one = event()
    assert split_body(b"  " + one + b"\n", "application/json") == [one]
    assert split_body(b"[%b ,%b]" % (one, one), "application/json; charset=utf-8") == [one, one]
    assert split_body(b"%b\n\n%b\r\n" % (one, one), "application/x-ndjson") == [one, one]
    for body in (b"", b"[", b"[]", b"{]", b"\xff", b"[" * 100_000):
        with pytest.raises(BadBodyError):
            split_body(body, "application/json")
    with pytest.raises(BadBodyError, match="1001 events"):
        split_body(b"[%b]" % b",".join([b"{}"] * 1_001), "")


def test_an_event_is_sent_as_it_came_under_its_user() -> None:
    value = event(user_id="ännä", unknown={"kept": [1]}, event_id="e1")
    found = by_contract(value, Limits(), NOW_MS)
    assert (found.key, found.value, found.event_id) == ("ännä".encode(), value, "e1")


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


def test_each_event_has_a_verdict_of_its_own(taking: Taking) -> None:
    assert take(taking, event(), b"{}", event()) == ["taken", "refused", "taken"]
    assert len(taking.sent) == 2


def test_an_event_id_counts_once_for_a_user(taking: Taking) -> None:
    first = event(event_id="1")
    assert take(taking, first, first) == ["taken", "repeated"]
    assert take(taking, first, event(event_id="1", user_id="berta")) == ["repeated", "taken"]
    # user and event_id are not run into each other
    assert take(taking, event(user_id="an", event_id="na1")) == ["taken"]
    assert [each.key for each in taking.sent] == [b"anna", b"berta", b"an"]


def test_what_failed_can_be_sent_again(taking: Taking) -> None:
    taking.fails = True
    assert take(taking, event(event_id="1"), event(event_id="1")) == ["failed", "failed"]
    taking.fails = False
    assert take(taking, event(event_id="1")) == ["taken"]


def test_memory_has_an_end(taking: Taking, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(ingests, "REMEMBERED", 2)
    take(taking, *(event(event_id=each) for each in "123"))
    assert take(taking, event(event_id="3"), event(event_id="1")) == ["repeated", "taken"]


def test_a_verdict_says_where_the_event_lies() -> None:
    assert Verdict("taken", 0, 5).as_json(2) == {
        "index": 2,
        "verdict": "taken",
        "partition": 0,
        "offset": 5,
    }

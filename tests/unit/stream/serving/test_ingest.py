"""Events over HTTP: a verdict for each, and one with an event_id counts once."""

from __future__ import annotations

import asyncio
from typing import Any

import orjson
import pytest

from stream.config import Settings
from stream.serving import ingest as ingests
from stream.serving.bodies import Document
from stream.serving.ingest import Told, Verdict
from stream.serving.meters import Meters
from tests.support.serving import NOW_MS, Taking


def event(**more: Any) -> bytes:
    fields = {"user_id": "anna", "action": "view", "time": NOW_MS, "item_id": "tent"}
    return orjson.dumps({**fields, **more})


def take(taking: Taking, *events: bytes) -> list[str]:
    read = taking.shapes.named(taking.shapes.own)
    told = asyncio.run(taking.take([Document(each) for each in events], read))
    return [each.verdict.verdict for each in told]


@pytest.fixture
def taking() -> Taking:
    return Taking(Settings(), Meters())


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


def test_a_document_of_several_events_counts_once_as_a_whole() -> None:
    taking = Taking(Settings(event_format="segment"), Meters())

    def order(*items: str, message: str | None = "m") -> bytes:
        call = {"type": "track", "event": "Order Completed", "userId": "anna", "messageId": message}
        products = [{"product_id": each} for each in items]
        at = "2025-11-25T10:00:00Z"
        return orjson.dumps({**call, "timestamp": at, "properties": {"products": products}})

    first = order("a", "b")
    assert take(taking, first, first) == ["taken", "taken", "repeated", "repeated"]
    # another one is not taken for it, and without ids nothing is known to come again
    assert take(taking, order("a")) == ["taken"]
    assert take(taking, *[order("a", message=None)] * 2) == ["taken", "taken"]
    assert [len(each.event_ids) for each in taking.sent] == [2, 1, 1, 1]


def test_a_verdict_says_where_the_event_lies() -> None:
    place = {"verdict": "taken", "partition": 0, "offset": 5}
    assert Told(2, None, Verdict("taken", 0, 5)).as_json() == {"index": 2, **place}
    assert Told(2, 1, Verdict("taken", 0, 5)).as_json() == {"index": 2, "event": 1, **place}
    several = Verdict("dropped", reason="consent", events=3)
    assert several.count() == 3
    assert Told(0, None, several).as_json()["events"] == 3

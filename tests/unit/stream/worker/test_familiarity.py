"""Checks that a stream which the model does not know is counted, and said once."""

from __future__ import annotations

import logging
from types import SimpleNamespace

import orjson
import pytest

from models.contract import ModelInfo
from stream.contracts.event import Limits
from stream.metrics import Metrics
from stream.worker.familiarity import FIRST, Drops, Familiarity, WatchedDecoder

MODEL = ModelInfo("shop", "1", 1, ("a",), ("known-1", "known-2"), ("", ""), 8)
TIME_MS = 1_700_000_000_000


class Stream:
    """Sends events of a user through a watched decoder."""

    def __init__(self) -> None:
        self.metrics = Metrics()
        self.familiarity = Familiarity(MODEL, self.metrics)
        self._decoder = WatchedDecoder(Limits(), [self.familiarity])

    def send(self, count: int, partition: int = 0, **event: str) -> None:
        value = orjson.dumps({"user_id": "u", "action": "view", "time": TIME_MS, **event})
        record = SimpleNamespace(key=b"u", value=value, headers=[], offset=0, timestamp=TIME_MS)
        self._decoder.decode("clicks", partition, [record] * count)

    def figures(self) -> tuple[int, int]:
        return self._figure("unknown_item"), self._figure("other_action")

    def _figure(self, name: str) -> int:
        value = self.metrics.registry.get_sample_value(f"interest_stream_events_{name}_total")
        return int(value or 0)


def test_unknown_items_and_other_actions_are_counted() -> None:
    stream = Stream()
    stream.send(3, item_id="known-1")
    stream.send(2, item_id="film-9", action="Product Viewed")
    stream.send(4, item_id="known-2", action="teleport")
    stream.send(5, query="tent", action="search")  # names no item
    stream.send(1, title="a title alone")
    assert stream.figures() == (3, 4)
    assert not stream.familiarity.remarks


def test_a_strange_stream_is_said_once(caplog: pytest.LogCaptureFixture) -> None:
    stream = Stream()
    with caplog.at_level(logging.WARNING, "interest_stream"):
        stream.send(FIRST // 2 - 1, item_id="known-1")
        stream.send(FIRST // 2, item_id="film-9")
        assert not caplog.messages
        stream.send(400, item_id="film-9", partition=3)  # another partition counts for itself
        stream.send(300, item_id="film-9")
        for partition in (0, 1):
            stream.send(2 * FIRST, item_id="film-9", partition=partition)
    (said,) = caplog.messages
    assert stream.familiarity.remarks == [said]
    assert "501 are about items that the model shop does not know" in said
    assert "clicks[0]" in said
    assert "film-9" not in said


def test_what_comes_after_the_first_thousand_is_only_counted() -> None:
    stream = Stream()
    stream.send(FIRST // 2, item_id="known-1")
    stream.send(FIRST // 2, item_id="film-9")
    stream.send(5 * FIRST, item_id="film-9")
    assert not stream.familiarity.remarks
    assert stream.figures()[0] == 5 * FIRST + FIRST // 2


def test_what_is_left_out_is_counted_and_told_once_a_minute(
    caplog: pytest.LogCaptureFixture,
) -> None:
    metrics = Metrics()
    drops = Drops(metrics)
    with caplog.at_level(logging.INFO, "interest_stream"):
        drops.count("clicks", {})
        drops.count("clicks", {"consent": 2, "filter": 1})
        drops.count("clicks", {"consent": 1})
    assert caplog.messages == [
        "clicks: left out on purpose since the last such line: 2 consent, 1 filter"
    ]
    name, labels = "interest_stream_events_dropped_total", {"reason": "consent"}
    assert metrics.registry.get_sample_value(name, labels) == 3

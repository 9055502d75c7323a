"""Following snapshots stops no worker, never races with its model, and ends if that takes none."""

from __future__ import annotations

import asyncio
import logging
import re
import threading
from collections.abc import AsyncIterator, Iterator
from concurrent.futures import ThreadPoolExecutor
from types import SimpleNamespace
from typing import Any

import pytest
from aiokafka import TopicPartition

from models.errors import ModelDataError
from models.predict import null_predictor
from stream.config import Settings
from stream.errors import BrokerError
from stream.metrics import Metrics
from stream.popularity import follower
from stream.popularity.counts import Counts, encode

NOW = 1_767_225_600_000


class Recording:
    """Remembers what it was given, and in which thread; or fails as the test wants."""

    def __init__(self, *failures: Exception | None) -> None:
        self.given: list[tuple[list[str], list[float], int]] = []
        self.threads: set[str] = set()
        self._failures = list(failures)

    def set_popularity(self, item_ids: list[str], shares: Any, as_of_ms: int) -> None:
        self.threads.add(threading.current_thread().name)
        failure = self._failures.pop(0) if self._failures else None
        if failure is not None:
            raise failure
        self.given.append((item_ids, shares.tolist(), as_of_ms))


class Topic:
    """Stands for a consumer of a topic with these values.

    Each None is a BrokerError. Behind the last value nothing comes any more.
    """

    def __init__(self, *values: bytes | None, key: bytes = b"clickstream") -> None:
        self.key = key
        self.values = list(values)
        self.at = 0
        self.opened = self.stopped = 0
        self.read = asyncio.Event()

    async def open(self, settings: Settings, **options: Any) -> Topic:
        self.opened += 1
        if self.values and self.values[0] is None:
            self.values.pop(0)
            raise BrokerError("nobody answers")
        return self

    async def partitions(self, consumer: Topic, topic: str) -> list[TopicPartition]:
        return [TopicPartition(topic, 0)]

    async def beginning_offsets(self, partitions: list[Any]) -> dict[Any, int]:
        return dict.fromkeys(partitions, 0)

    async def end_offsets(self, partitions: list[Any]) -> dict[Any, int]:
        return dict.fromkeys(partitions, len(self.values))

    def assign(self, partitions: list[Any]) -> None: ...

    def seek(self, partition: Any, offset: int) -> None:
        self.at = offset

    async def position(self, partition: Any) -> int:
        return self.at

    async def getmany(self, partition: Any, timeout_ms: int) -> dict[Any, list[Any]]:
        records = [SimpleNamespace(offset=each) for each in range(self.at, len(self.values))]
        self.at = len(self.values)
        return {partition: records}

    async def __aiter__(self) -> AsyncIterator[Any]:
        while self.at < len(self.values):
            value = self.values[self.at]
            self.at += 1
            if value is None:
                raise BrokerError("the connection is gone")
            yield SimpleNamespace(topic="item-popularity", offset=7, key=self.key, value=value)
        self.read.set()
        await asyncio.Event().wait()

    async def stop(self) -> None:
        self.stopped += 1


def snapshot(as_of: int = NOW) -> bytes:
    counts = Counts()
    counts.add(["a", "b", "a", "a"], [as_of] * 4)
    return encode(counts.snapshot({0: 4}))


@pytest.fixture
def model_thread() -> Iterator[ThreadPoolExecutor]:
    with ThreadPoolExecutor(1, thread_name_prefix="model") as executor:
        yield executor


def follow(
    predictor: Any, topic: Topic, executor: ThreadPoolExecutor, monkeypatch: pytest.MonkeyPatch
) -> tuple[Metrics, bool]:
    """Until the topic has been read; the metrics, and whether it would go on."""
    monkeypatch.setattr(follower, "open_consumer", topic.open)
    monkeypatch.setattr(follower, "partitions_of", topic.partitions)
    metrics = Metrics()

    async def run() -> bool:
        following = asyncio.ensure_future(
            follower.PopularityFollower(Settings(), predictor, executor, metrics, 0).run()
        )
        read = asyncio.ensure_future(topic.read.wait())
        await asyncio.wait({following, read}, return_when=asyncio.FIRST_COMPLETED)
        goes_on = not following.done()
        for each in (following, read):
            each.cancel()
        await asyncio.gather(following, read, return_exceptions=True)
        return goes_on

    return metrics, asyncio.run(run())


def as_of(metrics: Metrics) -> float:
    (value,) = re.findall(
        r"^interest_stream_popularity_as_of_seconds (\S+)$", metrics.text().decode(), re.MULTILINE
    )
    return float(value)


def test_the_model_is_given_the_last_snapshot_in_its_own_thread(
    model_thread: ThreadPoolExecutor, monkeypatch: pytest.MonkeyPatch
) -> None:
    model, topic = Recording(), Topic(snapshot(NOW - 2), snapshot(NOW - 1), snapshot())
    metrics, goes_on = follow(model, topic, model_thread, monkeypatch)
    assert model.given == [(["a", "b"], [0.75, 0.25], NOW)]
    assert model.threads == {"model_0"}
    assert (as_of(metrics), goes_on, topic.stopped) == (NOW / 1000, True, 1)


def test_a_broker_that_is_away_is_asked_again(
    model_thread: ThreadPoolExecutor,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> None:
    model, topic = Recording(), Topic(None, None, snapshot())
    _, goes_on = follow(model, topic, model_thread, monkeypatch)
    assert (topic.opened, topic.stopped, len(model.given), goes_on) == (3, 1, 1, True)
    assert caplog.text.count("nobody answers") == 2


@pytest.mark.parametrize("value", [b"{", b'{"schema":"item-popularity/9"}'])
def test_a_snapshot_that_cannot_be_read_is_left_out(
    value: bytes,
    model_thread: ThreadPoolExecutor,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> None:
    model, topic = Recording(), Topic(value)
    metrics, goes_on = follow(model, topic, model_thread, monkeypatch)
    assert (model.given, as_of(metrics), goes_on) == ([], 0, True)
    assert "offset 7 of item-popularity is left out" in caplog.text


def test_a_snapshot_of_another_topic_is_left_out(
    model_thread: ThreadPoolExecutor,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> None:
    model = Recording()
    follow(model, Topic(snapshot(), key=b"other"), model_thread, monkeypatch)
    assert model.given == []
    assert "not of topic clickstream" in caplog.text


def test_a_failure_of_the_model_leaves_out_the_snapshot_and_stops_nothing(
    model_thread: ThreadPoolExecutor,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> None:
    metrics, goes_on = follow(
        Recording(RuntimeError("no")), Topic(snapshot()), model_thread, monkeypatch
    )
    assert (as_of(metrics), goes_on) == (0, True)
    assert "is left out: RuntimeError in" in caplog.text


@pytest.mark.parametrize(
    ("predictor", "said"),
    [
        (Recording(ModelDataError("train it again")), "train it again"),
        (null_predictor(), "knows nothing"),
    ],
    ids=["trained without", "null"],
)
def test_a_model_that_cannot_follow_is_told_once_and_left_alone(
    predictor: Any,
    said: str,
    model_thread: ThreadPoolExecutor,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> None:
    metrics, goes_on = follow(predictor, Topic(snapshot()), model_thread, monkeypatch)
    assert (as_of(metrics), goes_on) == (0, False)
    assert [said in each.message for each in caplog.records if each.levelno == logging.WARNING] == [
        True
    ]

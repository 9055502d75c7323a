"""Updates are read alone or by a group, and a group misses none; tests/kafka has a real Kafka."""

from __future__ import annotations

import asyncio
from types import SimpleNamespace
from typing import Any

import pytest
from aiokafka import TopicPartition
from aiokafka.errors import CommitFailedError

from stream.clients import reader
from stream.clients.reader import UpdateReader, recent_events
from stream.config import Settings
from stream.contracts.state_record import decode_record
from tests.support.contracts import golden_bytes

PARTITION = TopicPartition("interest-updates", 0)


class Topic:
    """Stands for a consumer of one partition with these values; a value is its own key."""

    def __init__(self, *values: bytes | None, refuses: Exception | None = None) -> None:
        self.refuses = refuses
        self.batches = [
            [
                SimpleNamespace(key=value, value=value, offset=offset)
                for offset, value in enumerate(values)
            ]
        ]
        self.calls: list[Any] = []

    async def open(self, settings: Settings, **options: Any) -> Topic:
        self.calls.append(options)
        return self

    async def partitions(self, consumer: Topic, topic: str) -> list[TopicPartition]:
        return [PARTITION]

    def assign(self, partitions: list[TopicPartition]) -> None:
        self.calls.append("assign")

    def subscribe(self, topics: list[str], listener: Any) -> None:
        self.listener = listener

    async def seek_to_beginning(self, *partitions: TopicPartition) -> None:
        self.calls.append("beginning")

    async def seek_to_end(self, *partitions: TopicPartition) -> None:
        self.calls.append("end")

    def assignment(self) -> set[TopicPartition]:
        return {PARTITION}

    async def getmany(self, timeout_ms: int) -> dict[TopicPartition, list[Any]]:
        await asyncio.sleep(0)
        return {PARTITION: self.batches.pop(0)} if self.batches else {}

    async def commit(self, offsets: dict[TopicPartition, int]) -> None:
        if self.refuses is not None:
            raise self.refuses
        self.calls.append(offsets[PARTITION])

    async def stop(self) -> None:
        self.calls.append("stop")


def read(
    topic: Topic, count: int, monkeypatch: pytest.MonkeyPatch, **options: Any
) -> list[bytes | None]:
    """The first values that a reader yields before it is closed."""
    monkeypatch.setattr(reader, "open_consumer", topic.open)
    monkeypatch.setattr(reader, "partitions_of", topic.partitions)

    async def values() -> list[bytes | None]:
        updates = UpdateReader(Settings(), **options)
        found = []
        async for record in updates:
            found.append(record.value)
            if len(found) == count:
                break
        await updates.close()
        return found

    return asyncio.run(values())


def test_a_reader_without_a_group_commits_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    topic = Topic(b"a", b"b")
    assert read(topic, 2, monkeypatch) == [b"a", b"b"]
    assert topic.calls == [
        {"group_id": None, "auto_offset_reset": "latest"},
        "assign",
        "end",
        "stop",
    ]
    topic = Topic(b"a")
    read(topic, 1, monkeypatch, from_beginning=True)
    assert topic.calls[2] == "beginning"


def test_one_user_is_singled_out_and_a_null_is_no_update(monkeypatch: pytest.MonkeyPatch) -> None:
    topic = Topic(b"a", b"b", None, b"a")
    assert read(topic, 2, monkeypatch, user="a") == [b"a", b"a"]
    assert read(Topic(None, b"b"), 1, monkeypatch) == [b"b"]


def test_an_update_is_committed_once_the_next_one_is_asked_for(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    topic = Topic(b"a", b"b", b"c")
    assert read(topic, 2, monkeypatch, group="letters", from_beginning=True) == [b"a", b"b"]
    assert topic.calls == [
        {"group_id": "letters", "auto_offset_reset": "earliest"},
        1,  # b is read again: it may have failed
        "stop",
    ]


def test_what_was_read_is_committed_before_partitions_go(monkeypatch: pytest.MonkeyPatch) -> None:
    topic = Topic(b"a", b"b")
    monkeypatch.setattr(reader, "open_consumer", topic.open)
    monkeypatch.setattr(reader, "partitions_of", topic.partitions)

    async def rebalanced() -> None:
        updates = UpdateReader(Settings(), group="letters")
        async for record in updates:
            if record.value == b"b":
                await topic.listener.on_partitions_revoked([PARTITION])
                break
        assert topic.calls[1:] == [1]
        await updates.close()
        assert topic.calls[1:] == [1, "stop"]

    asyncio.run(rebalanced())


def test_a_commit_that_comes_too_late_stops_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    topic = Topic(b"a", b"b", refuses=CommitFailedError())
    assert read(topic, 2, monkeypatch, group="letters") == [b"a", b"b"]
    assert topic.calls[-1] == "stop"


def test_recent_events_are_in_the_words_of_the_contract() -> None:
    newest, before = recent_events(decode_record(golden_bytes("state-1.hex")))
    assert newest["query"] == "zelt für zwei"
    assert (before["item or title"], before["action"], before["time"]) == (
        "item-7",
        "purchase",
        1_767_225_540_000,
    )

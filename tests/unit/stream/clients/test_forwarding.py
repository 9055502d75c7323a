"""Where a group goes on, what it tells, and which records one request has; without a broker."""

from __future__ import annotations

import asyncio
import time
from dataclasses import dataclass, field
from types import SimpleNamespace
from typing import Any

import orjson
import pytest
from aiokafka import TopicPartition
from aiokafka.structs import OffsetAndMetadata

from stream.clients import forwarding
from stream.clients.forwarding import Forwarder, Route
from stream.clients.webhook import Webhook
from stream.config import Settings
from stream.errors import BrokerError
from tests.support.contracts import golden

TOPIC = Settings().profiles_topic
ONE, TWO = TopicPartition(TOPIC, 0), TopicPartition(TOPIC, 1)
NOW_MS = int(time.time() * 1000)
DAY_MS = 86_400_000
PROFILE = golden("updates-valid.jsonl")[0]


@dataclass
class Consumer:
    """Stands for a consumer of a topic with a beginning and an end."""

    committed: dict[TopicPartition, OffsetAndMetadata] = field(default_factory=dict)
    sought: dict[TopicPartition, int] = field(default_factory=dict)
    fails: bool = False

    async def beginning_offsets(self, places: list[TopicPartition]) -> dict[TopicPartition, int]:
        return dict.fromkeys(places, 5)

    async def end_offsets(self, places: list[TopicPartition]) -> dict[TopicPartition, int]:
        return dict.fromkeys(places, 90)

    def seek(self, place: TopicPartition, offset: int) -> None:
        self.sought[place] = offset


@pytest.fixture(autouse=True)
def offsets_of_the_consumer(monkeypatch: pytest.MonkeyPatch) -> None:
    async def commits(consumer: Any, places: Any) -> Any:
        if consumer.fails:
            raise BrokerError("Kafka is away")
        return {each: at for each, at in consumer.committed.items() if each in places}

    monkeypatch.setattr(forwarding, "commits", commits)


async def begun(consumer: Consumer, route: Route, topic_id: str = "new") -> tuple[Any, list[str]]:
    """A forwarder that was given two partitions, and what it told."""
    told: list[str] = []
    found: Any = Forwarder(Settings(), route, Webhook("http://host", [], told.append), told.append)
    found._topic_id = topic_id
    await found.begin(consumer, {ONE, TWO})
    return found, told


def at(offset: int, topic_id: str, age_ms: int = 0) -> OffsetAndMetadata:
    return OffsetAndMetadata(offset, f"{topic_id} {NOW_MS - age_ms}")


@pytest.mark.parametrize(
    ("from_beginning", "offset", "words"), [(False, 90, "from now on"), (True, 5, "the beginning")]
)
def test_a_new_group_begins_where_it_is_told_and_commits_that(
    from_beginning: bool, offset: int, words: str
) -> None:
    consumer = Consumer({ONE: at(7, "new")})
    forwarder, told = asyncio.run(begun(consumer, Route("crm", from_beginning=from_beginning)))
    assert consumer.sought == {ONE: 7, TWO: offset}
    assert forwarder._taken == {TWO: offset}
    assert len(told) == 1
    assert words in told[0]
    assert not forwarder._moved.is_set()


@pytest.mark.parametrize(
    ("committed", "offset", "words"),
    [
        (at(7, "new", DAY_MS), 7, ""),
        (at(7, "old"), 0, "was deleted and created again"),
        (at(7, "new", 4 * DAY_MS), 7, "was away for 4 days: erasures of that time may be gone"),
        (OffsetAndMetadata(7, ""), 7, ""),  # by a tool of an operator
        (OffsetAndMetadata(7, "moved by hand"), 7, ""),
    ],
)
def test_what_may_be_missing_is_told(committed: OffsetAndMetadata, offset: int, words: str) -> None:
    consumer = Consumer({ONE: committed, TWO: at(8, "new")})
    forwarder, told = asyncio.run(begun(consumer, Route("crm")))
    assert consumer.sought == {ONE: offset, TWO: 8}
    assert len(told) == bool(words)
    assert words in "".join(told)
    assert not forwarder._taken


def test_a_broker_without_ids_of_topics_is_believed() -> None:
    consumer = Consumer({ONE: at(7, "old"), TWO: at(8, "old")})
    _, told = asyncio.run(begun(consumer, Route("crm"), topic_id=""))
    assert consumer.sought == {ONE: 7, TWO: 8}
    assert not told


def test_what_fails_in_a_rebalance_is_kept_and_nothing_is_sent() -> None:
    forwarder, _ = asyncio.run(begun(Consumer(fails=True), Route("crm")))
    assert isinstance(forwarder._failure, BrokerError)
    assert forwarder._moved.is_set()


def record(offset: int, user: str, value: bytes | None = b"") -> Any:
    own = orjson.dumps(PROFILE | {"user_id": user}) if value == b"" else value
    return SimpleNamespace(topic=TOPIC, partition=0, offset=offset, key=user.encode(), value=own)


def test_a_request_has_as_many_records_as_it_may_and_none_that_is_no_profile() -> None:
    records = [
        record(1, "anna"),
        record(2, ""),  # no: the key of a marker has no user
        record(3, "berta", None),
        record(4, "anna", b"{}"),
        record(5, "anna", orjson.dumps(PROFILE)),  # another user's
        record(6, "carla"),
        SimpleNamespace(topic=TOPIC, partition=0, offset=7, key=None, value=b"x"),
    ]
    forwarder, told = asyncio.run(
        begun(Consumer({ONE: at(1, "new"), TWO: at(1, "new")}), Route("a", most=2))
    )
    portions = [
        ([(each.offset, each.user_id, each.profile is None) for each in some], behind)
        for some, behind in forwarder._portions(records)
    ]
    assert portions == [
        ([(1, "anna", False), (3, "berta", True)], 4),
        ([(6, "carla", False)], 8),
    ]
    assert forwarder.foreign == 3
    assert told == [f"left out, no profile: {TOPIC}[0] offset 4; more are counted"]


def test_one_user_is_singled_out() -> None:
    consumer = Consumer({ONE: at(1, "new"), TWO: at(1, "new")})
    forwarder, _ = asyncio.run(begun(consumer, Route("crm", user="anna")))
    ((some, behind),) = forwarder._portions([record(1, "anna"), record(2, "berta")])
    assert [each.user_id for each in some] == ["anna"]
    assert behind == 3

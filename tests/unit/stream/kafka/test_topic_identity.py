"""Checks how topics are told apart, what is remembered of them, and what ends a living worker."""

from __future__ import annotations

import asyncio
from types import SimpleNamespace
from typing import Any
from uuid import UUID

import pytest
from aiokafka.errors import NodeNotReadyError
from aiokafka.protocol.metadata import MetadataRequest_v5

from stream.config import Settings
from stream.config.marks import Mark
from stream.errors import BrokerError
from stream.kafka.topic_identity import (
    NO_ID,
    Shape,
    ShapesRequest,
    difference,
    remember,
    remembered,
    remembered_mark,
    replaced,
    shapes,
)

SETTINGS = Settings()
MARK = Mark("segment", "1a2b")
ID = UUID("7f1c2f8e-5a54-4f0a-9a55-9d6fbd9f3c11")


class Client:
    """Stands for the network client of a consumer, with one broker that answers of three."""

    def __init__(self, topics: list[Any], answers: bool = True) -> None:
        self.topics, self.answers = topics, answers
        self._client = self  # of the consumer that it is too
        self.cluster = SimpleNamespace(
            brokers=lambda: [SimpleNamespace(nodeId=each) for each in range(3)]
        )

    async def send(self, node: int, request: ShapesRequest) -> Any:
        if node != 1 or not self.answers:
            raise NodeNotReadyError(str(node))
        return SimpleNamespace(topics=self.topics)


def test_ids_and_partitions_are_those_of_the_broker_that_answers() -> None:
    topics: list[Any] = [
        (0, "clicks", ID, False, [0, 1, 2], -1, {}),
        (0, "without-id", NO_ID, False, [0], -1, {}),
        (3, "missing", NO_ID, False, [], -1, {}),
    ]
    found = asyncio.run(shapes(Client(topics), ["clicks"]))
    assert found == {"clicks": Shape(str(ID), 3), "without-id": Shape("", 1)}
    with pytest.raises(BrokerError, match="which topics there are"):
        asyncio.run(shapes(Client(topics, answers=False), ["clicks"]))


def test_a_broker_that_knows_no_ids_tells_partitions() -> None:
    old = asyncio.run(shapes(Client([(0, "clicks", False, [0, 1])]), ["clicks"]))
    assert old == {"clicks": Shape("", 2)}
    assert isinstance(ShapesRequest(["clicks"]).prepare({3: (0, 9)}), MetadataRequest_v5)


def test_the_request_asks_for_names_and_creates_nothing() -> None:
    request = ShapesRequest(["clicks"]).prepare({3: (0, 13)})
    assert request.API_VERSION == 10
    assert request.encode() == b"\x02" + bytes(16) + b"\x07clicks\x00" + b"\x00\x00\x00" + b"\x00"


def test_what_was_remembered_is_read_again_and_nothing_else_is_believed() -> None:
    now = {SETTINGS.source_topic: Shape("a", 4), SETTINGS.updates_topic: Shape("b", 4)}
    metadata = remember(SETTINGS, now, MARK)
    assert remembered(metadata) == {SETTINGS.source_topic: "a"}
    assert remembered_mark(metadata) == MARK
    without_ids = remember(SETTINGS, {SETTINGS.source_topic: Shape("", 4)}, MARK)
    assert (remembered(without_ids), remembered_mark(without_ids)) == ({}, MARK)
    for other in ("", "{", "[]", "null", '{"topics":3}', '{"topics":["a"]}', "by hand"):
        assert remembered(other) == {}
        assert remembered_mark(other) is None
    for reading in ("3", "{}", '{"said":"a"}', '{"said":1,"digest":"b"}', '["said"]'):
        assert remembered_mark(f'{{"reading":{reading}}}') is None
    assert remembered('{"topics":{"a":1,"b":"x"},"more":2}') == {"b": "x"}


def test_only_another_id_is_another_topic() -> None:
    now = {"a": Shape("new", 1), "b": Shape("", 1), "c": Shape("same", 1)}
    assert replaced({"a": "old", "b": "old", "c": "same", "d": "gone", "e": ""}, now) == ["a"]


def test_a_living_worker_ends_when_its_topics_are_others_or_have_grown() -> None:
    names = (SETTINGS.source_topic, SETTINGS.updates_topic, SETTINGS.dead_letters_topic)
    before = {name: Shape("id", 4) for name in names}
    assert difference(SETTINGS, before, before) is None
    assert difference(SETTINGS, before, {}) is None
    assert difference(SETTINGS, before, {**before, names[2]: Shape("id", 9)}) is None
    for name in names[:2]:
        grown = difference(SETTINGS, before, {**before, name: Shape("id", 6)})
        assert grown is not None
        assert grown.startswith(f"{name} has 6 partitions now and had 4")
    other = difference(SETTINGS, before, {**before, names[0]: Shape("other", 4)})
    assert other is not None
    assert f"{names[0]} was deleted and created again" in other

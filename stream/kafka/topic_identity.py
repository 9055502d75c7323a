"""Tells a topic from another one of the same name, and remembers which one was read and written.

A topic that is deleted and created again has the same name and the same offsets, with other events
behind them. Kafka gives each topic an id of its own (KIP-516); aiokafka 0.14 asks for no version of
Metadata that has it, so the request is made here. A worker writes the ids of its topics into the
metadata of every offset that it commits, those of the changelog included, and the next start
compares them (docs/understand/decisions/0012-a-topic-is-its-id.md). Beside them stands how it reads
events, because another reading of the same records makes other states (stream/config/marks.py).
"""

from __future__ import annotations

import json
import random
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from io import BytesIO
from typing import Any, Final
from uuid import UUID

from aiokafka import AIOKafkaConsumer
from aiokafka.errors import KafkaError
from aiokafka.protocol.abstract import AbstractType
from aiokafka.protocol.api import Request, RequestStruct, Response
from aiokafka.protocol.metadata import MetadataRequest_v5
from aiokafka.protocol.types import (
    Boolean,
    CompactArray,
    CompactString,
    Int16,
    Int32,
    Schema,
    TaggedFields,
)

from stream.config import Settings
from stream.config.marks import Mark
from stream.errors import BrokerError
from stream.kafka.topic_rules import declared

NO_ID: Final = UUID(int=0)
"""What a broker answers that keeps no ids of topics."""


@dataclass(frozen=True, slots=True)
class Shape:
    """Holds the id of a topic, "" where the broker has none, and how many partitions it has."""

    topic_id: str
    partitions: int


class _Uuid(AbstractType[UUID]):  # type: ignore[misc]  # aiokafka carries no types
    """Writes and reads 16 bytes."""

    @classmethod
    def encode(cls, value: UUID) -> bytes:
        """Returns the bytes of an id."""
        return value.bytes

    @classmethod
    def decode(cls, data: BytesIO) -> UUID:
        """Returns the id of the next bytes."""
        return UUID(bytes=data.read(16))


class _Answer(Response):  # type: ignore[misc]
    """Holds version 10 of the answer, the first with ids."""

    API_KEY = 3
    API_VERSION = 10
    SCHEMA = Schema(
        ("throttle_time_ms", Int32),
        (
            "brokers",
            CompactArray(
                ("node_id", Int32),
                ("host", CompactString("utf-8")),
                ("port", Int32),
                ("rack", CompactString("utf-8")),
                ("tags", TaggedFields),
            ),
        ),
        ("cluster_id", CompactString("utf-8")),
        ("controller_id", Int32),
        (
            "topics",
            CompactArray(
                ("error_code", Int16),
                ("topic", CompactString("utf-8")),
                ("topic_id", _Uuid),
                ("is_internal", Boolean),
                (
                    "partitions",
                    CompactArray(
                        ("error_code", Int16),
                        ("partition", Int32),
                        ("leader", Int32),
                        ("leader_epoch", Int32),
                        ("replicas", CompactArray(Int32)),
                        ("isr", CompactArray(Int32)),
                        ("offline_replicas", CompactArray(Int32)),
                        ("tags", TaggedFields),
                    ),
                ),
                ("authorized_operations", Int32),
                ("tags", TaggedFields),
            ),
        ),
        ("cluster_authorized_operations", Int32),
        ("tags", TaggedFields),
    )


class _Question(RequestStruct):  # type: ignore[misc]
    """Holds version 10 of the request."""

    FLEXIBLE_VERSION = True
    API_KEY = 3
    API_VERSION = 10
    RESPONSE_TYPE = _Answer
    SCHEMA = Schema(
        (
            "topics",
            CompactArray(
                ("topic_id", _Uuid), ("name", CompactString("utf-8")), ("tags", TaggedFields)
            ),
        ),
        ("allow_auto_topic_creation", Boolean),
        ("include_cluster_authorized_operations", Boolean),
        ("include_topic_authorized_operations", Boolean),
        ("tags", TaggedFields),
    )


class ShapesRequest(Request[MetadataRequest_v5 | _Question]):  # type: ignore[misc]
    """Asks for ids and partitions, or for partitions alone where a broker knows no ids."""

    API_KEY = 3

    def __init__(self, names: Iterable[str]) -> None:
        self._names = sorted(names)

    def build(self, request_struct_class: Any) -> Any:
        """Returns the request in the version that the broker takes; it creates no topic."""
        if request_struct_class is _Question:
            no_tags: dict[int, bytes] = {}
            topics = [(NO_ID, name, no_tags) for name in self._names]
            return _Question(topics, False, False, False, no_tags)
        return request_struct_class(self._names, False)


async def shapes(consumer: AIOKafkaConsumer, names: Iterable[str]) -> dict[str, Shape]:
    """Returns the shape of those of the topics that exist, as the first broker that answers says.

    Raises BrokerError.
    """
    # only the network client behind a consumer sends requests that aiokafka has no method for
    client = consumer._client
    answer, reason = None, "none is known"
    nodes = [broker.nodeId for broker in client.cluster.brokers()]
    for node in random.sample(nodes, len(nodes)):
        try:
            answer = await client.send(node, ShapesRequest(names))
            break
        except KafkaError as error:
            reason = f"{node}: {type(error).__name__}"
    if answer is None:
        raise BrokerError(f"no Kafka broker says which topics there are ({reason})")
    found = {}
    for topic in answer.topics:
        code, name, partitions = topic[0], topic[1], topic[4 if len(topic) > 4 else 3]
        if code == 0 and partitions:
            topic_id = topic[2] if len(topic) > 4 else NO_ID
            found[name] = Shape("" if topic_id == NO_ID else str(topic_id), len(partitions))
    return found


def followed(settings: Settings) -> set[str]:
    """Returns the topics whose offsets or records a worker relies on from one start to the next."""
    return {
        settings.source_topic,
        settings.events_topic,
        settings.changelog_topic,
        settings.profiles_topic,
    }


def watched(settings: Settings) -> set[str]:
    """Returns every topic of a worker."""
    return {topic.name for topic in declared(settings, settings.min_replication)}


def remember(settings: Settings, found: Mapping[str, Shape], mark: Mark) -> str:
    """Returns the metadata of a committed offset; Kafka takes up to 4,096 bytes by default.

    mark: of how events are read.
    """
    ids = {
        name: shape.topic_id
        for name, shape in sorted(found.items())
        if shape.topic_id and name in followed(settings)
    }
    reading = {"said": mark.said, "digest": mark.digest}
    return json.dumps({"topics": ids, "reading": reading}, separators=(",", ":"))


def remembered(metadata: str) -> dict[str, str]:
    """Returns the ids in the metadata of a committed offset; whatever else stands there says none.

    An operator's tool, or an earlier version, leaves it empty.
    """
    try:
        ids = json.loads(metadata)["topics"]
        return {name: topic_id for name, topic_id in ids.items() if isinstance(topic_id, str)}
    except (ValueError, TypeError, KeyError, AttributeError):
        return {}


def remembered_mark(metadata: str) -> Mark | None:
    """Returns how events were read, by the metadata of a committed offset; None: it does not say.

    An operator's tool, or an earlier version, leaves it out.
    """
    try:
        reading = json.loads(metadata)["reading"]
        said, digest = reading["said"], reading["digest"]
    except (ValueError, TypeError, KeyError):
        return None
    return Mark(said, digest) if isinstance(said, str) and isinstance(digest, str) else None


def replaced(before: Mapping[str, str], now: Mapping[str, Shape]) -> list[str]:
    """Returns the topics that are not those of these ids any more; a missing id says nothing."""
    return sorted(
        name
        for name, topic_id in before.items()
        if topic_id and name in now and now[name].topic_id not in ("", topic_id)
    )


def difference(
    settings: Settings, before: Mapping[str, Shape], now: Mapping[str, Shape]
) -> str | None:
    """Returns why a worker cannot go on with its topics as they are now, None if it can.

    A topic that is missing says nothing: one broker may be the last to know of it, and writes to a
    topic that is gone fail by themselves.
    """
    ids = {name: shape.topic_id for name, shape in before.items()}
    if gone := replaced(ids, now):
        return (
            f"{', '.join(gone)} was deleted and created again under this worker: its offsets name "
            "other events now. The next start says what to do"
        )
    for topic in declared(settings, settings.min_replication):
        had, has = before.get(topic.name), now.get(topic.name)
        if had is None or has is None or not (topic.owned or topic.name == settings.source_topic):
            continue
        if has.partitions > had.partitions:
            why = f"{topic.why_partitions}; see 'interest-stream topics check'"
            if topic.name == settings.source_topic:
                why = (
                    "users have moved between partitions, and their states have not. Start with a "
                    "new --app-id, and topics created for it"
                )
            return (
                f"{topic.name} has {has.partitions} partitions now and had {had.partitions}: {why}"
            )
    return None

"""Readers find partitions and last records; a missing topic is named with what to do."""

from __future__ import annotations

import ast
import asyncio
from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

import pytest
from aiokafka import TopicPartition
from aiokafka.coordinator.assignors.roundrobin import RoundRobinPartitionAssignor
from aiokafka.errors import KafkaError, TopicAuthorizationFailedError

from stream.config import Settings
from stream.errors import BrokerError, TopicError
from stream.kafka.consumer import ISOLATION, partitions_of, record_at, records_of, seek_to_last
from stream.kafka.consumer_thread import ConsumerThread

ROOT = Path(__file__).resolve().parents[4]
PARTITION = TopicPartition("snapshots", 0)


class Topic:
    """Stands for a consumer of a topic that holds the records from `begin` up to `end`.

    The last `markers` of these offsets are no records.
    """

    def __init__(self, begin: int, end: int, markers: int = 0) -> None:
        self.begin, self.end, self.markers = begin, end, markers
        self.assigned: list[TopicPartition] = []
        self.at = -1

    async def position(self, partition: TopicPartition) -> int:
        return self.at

    async def getmany(
        self, partition: TopicPartition, timeout_ms: int, max_records: int = 2
    ) -> dict[TopicPartition, list[Any]]:
        records = [
            SimpleNamespace(offset=each)
            for each in range(max(self.at, self.begin), self.end - self.markers)
        ][:max_records]
        self.at = records[-1].offset + 1 if records else self.end
        return {partition: records} if records else {}

    async def topics(self) -> set[str]:
        return {"snapshots"}

    async def beginning_offsets(self, partitions: list[Any]) -> dict[Any, int]:
        return dict.fromkeys(partitions, self.begin)

    async def end_offsets(self, partitions: list[Any]) -> dict[Any, int]:
        return dict.fromkeys(partitions, self.end)

    def assign(self, partitions: list[TopicPartition]) -> None:
        self.assigned = partitions

    def seek(self, partition: TopicPartition, offset: int) -> None:
        assert self.assigned == [partition]
        self.at = offset


@pytest.mark.parametrize(
    ("begin", "end", "markers", "position"),
    [
        (0, 3, 0, 2),
        (3, 4, 0, 3),
        (4, 4, 0, 4),
        (0, 0, 0, 0),
        (0, 9, 1, 7),
        (2, 9, 6, 2),
        (2, 9, 7, 9),
    ],
)
def test_the_last_record_is_found(begin: int, end: int, markers: int, position: int) -> None:
    """Also where a topic ends in the marker of a transaction, or in one that was aborted."""
    topic = Topic(begin, end, markers)
    assert asyncio.run(seek_to_last(topic, PARTITION)) == end
    assert topic.at == position


@pytest.mark.parametrize(("offset", "found"), [(1, None), (2, 2), (7, 7), (8, None), (9, None)])
def test_the_record_at_an_offset_is_found_or_there_is_none(offset: int, found: int | None) -> None:
    record = asyncio.run(record_at(Topic(2, 9, 1), PARTITION, offset))
    assert (record and record.offset) == found


@pytest.mark.parametrize(
    ("given", "found"), [((2, 7), [2, 3, 4, 5, 6]), ((2, 20), [2, 3, 4, 5, 6, 7]), ((4, 4), [])]
)
def test_a_range_is_read_to_its_end_and_an_empty_one_assigns_nothing(
    given: tuple[int, int], found: list[int]
) -> None:
    """Of aiokafka 0.14 a consumer that was assigned nothing fetches nothing ever after."""
    topic = Topic(0, max(8, given[1]), 0 if given[1] < 8 else given[1] - 8)

    async def offsets() -> list[int]:
        return [
            each.offset
            async for records in records_of(topic, {PARTITION: given})
            for each in records
        ]

    assert asyncio.run(offsets()) == found
    assert bool(topic.assigned) == bool(found)


def test_every_consumer_reads_committed_data_only() -> None:
    """A consumer that is made anywhere else would be one that nobody told."""
    made = {
        (file.relative_to(ROOT).as_posix(), keyword.arg)
        for file in sorted((ROOT / "stream").rglob("*.py"))
        for node in ast.walk(ast.parse(file.read_text(encoding="utf-8")))
        if isinstance(node, ast.Call) and ast.unparse(node.func).endswith("AIOKafkaConsumer")
        for keyword in node.keywords or [ast.keyword("nothing", ast.Constant(None))]
    }
    assert {file for file, _ in made} == {"stream/kafka/consumer.py"}
    assert ("stream/kafka/consumer.py", "isolation_level") in made
    assert ISOLATION == "read_committed"


def test_the_consumer_of_a_worker_is_made_as_all_are() -> None:
    """Faust would make it: with a fetch that waits long, and what is read by its transactions."""
    settings = Settings(fetch_max_wait_ms=7, kafka_options="client.rack=a")
    thread = ConsumerThread.__new__(ConsumerThread)
    thread._settings = settings
    conf = SimpleNamespace(
        id="app",
        consumer_group_instance_id="worker-1",
        broker_client_id="faust",
        consumer_auto_offset_reset="earliest",
        broker_max_poll_records=16_384,
        broker_max_poll_interval=86_400.0,
        consumer_max_fetch_size=settings.fetch_max_bytes,
        broker_request_timeout=90.0,
        broker_session_timeout=30.0,
        broker_rebalance_timeout=60.0,
        broker_heartbeat_interval=3.0,
    )
    assignor = RoundRobinPartitionAssignor()
    thread.app = cast(Any, SimpleNamespace(conf=conf, assignor=assignor))

    async def made() -> dict[str, Any]:
        consumer = thread._create_worker_consumer(cast(Any, None))
        await consumer.stop()
        return dict(vars(consumer))

    found = asyncio.run(made())
    wanted = {
        "_isolation_level": ISOLATION,
        "_fetch_max_wait_ms": 7,
        "_enable_auto_commit": False,
        "_group_id": "app",
        "_group_instance_id": "worker-1",
        "_auto_offset_reset": "earliest",
        "_session_timeout_ms": 30_000,
        "_heartbeat_interval_ms": 3_000,
        "_rebalance_timeout_ms": 60_000,
        "_request_timeout_ms": 90_000,
        "_max_poll_interval_ms": 86_400_000,
        "_max_partition_fetch_bytes": settings.fetch_max_bytes,
        "_partition_assignment_strategy": [assignor],
    }
    assert {name: found[name] for name in wanted} == wanted


def test_a_missing_topic_is_named_with_what_to_do() -> None:
    with pytest.raises(TopicError, match="topic clicks does not exist; create it with"):
        asyncio.run(partitions_of(Topic(0, 0), "clicks"))
    with pytest.raises(TopicError, match="topic clicks does not exist; check --app-id"):
        asyncio.run(partitions_of(Topic(0, 0), "clicks", "check --app-id"))


@pytest.mark.parametrize(
    ("error", "raised", "message"),
    [
        (KafkaError("Unable to get cluster metadata"), BrokerError, "advertise 10.255.255.1:9092"),
        (TopicAuthorizationFailedError("no"), TopicAuthorizationFailedError, "no"),
    ],
)
def test_brokers_that_say_nothing_are_named_by_their_addresses(
    error: Exception, raised: type[Exception], message: str
) -> None:
    async def topics() -> set[str]:
        raise error

    brokers = [SimpleNamespace(host="10.255.255.1", port=9092)]
    cluster = SimpleNamespace(brokers=lambda: brokers)
    consumer: Any = SimpleNamespace(topics=topics, _client=SimpleNamespace(cluster=cluster))
    with pytest.raises(raised, match=message):
        asyncio.run(partitions_of(consumer, "clicks"))

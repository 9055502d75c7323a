"""Opens consumers, lists the partitions of a topic and finds its last record, for every reader.

Every consumer of this package is made here, or in consumer_thread.py with what is decided here, so
what a reader may see is decided in one place: committed data. Records of a transaction that was
aborted, or is still open, are no events, and the markers that end transactions are no records. A
reader knows that it has come to the end by its position, which moves past them; the offset of the
last record does not.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable, Iterable, Mapping, Sequence
from typing import Any, Final

from aiokafka import AIOKafkaConsumer, TopicPartition
from aiokafka.coordinator.protocol import ConsumerProtocol
from aiokafka.errors import GroupAuthorizationFailedError, KafkaError, NoError, for_code
from aiokafka.partitioner import murmur2
from aiokafka.protocol.admin import DescribeGroupsRequest
from aiokafka.structs import OffsetAndMetadata

from stream.config import Settings
from stream.errors import TopicError
from stream.kafka.batches.checked_records import check_records
from stream.kafka.client import client_options, silent, start_client

LOOK_MS: Final = 500
"""Longest wait of one fetch for a last record."""

ISOLATION: Final = "read_committed"
"""What every consumer may see; aiokafka's word for it."""


def new_consumer(settings: Settings, **options: Any) -> AIOKafkaConsumer:
    """Returns a consumer of committed data, not started, that never commits by itself.

    `options` are aiokafka's and come before the defaults here.
    """
    check_records()
    options = {"fetch_max_wait_ms": 100, **options, **client_options(settings, consumer=True)}
    return AIOKafkaConsumer(enable_auto_commit=False, isolation_level=ISOLATION, **options)


async def open_consumer(settings: Settings, **options: Any) -> AIOKafkaConsumer:
    """Returns a started consumer that never commits by itself; it joins no group.

    `options` are aiokafka's and come before the defaults here; with `group_id` the offsets that a
    group committed can be read, and its owner may assign partitions without joining that group.
    Raises BrokerError.
    """
    consumer = new_consumer(settings, **options)
    await start_client(consumer, settings)
    return consumer


async def partitions_of(
    consumer: AIOKafkaConsumer,
    topic: str,
    advice: str = "create it with 'interest-stream topics create'",
) -> list[TopicPartition]:
    """Returns all partitions of a topic, in order.

    Raises TopicError with `advice` if the topic is missing.
    """
    try:
        names = await consumer.topics()
    except KafkaError as error:
        # aiokafka raises the bare class where no broker said which topics there are
        if type(error) is not KafkaError:
            raise
        raise silent(consumer._client, str(error)) from error
    if topic not in names:
        raise TopicError(f"topic {topic} does not exist; {advice}")
    # `topics()` asks for names only: without this, the partitions of a topic that the consumer was
    # not assigned yet are unknown to it, and aiokafka has no public way to ask for them
    await consumer._client._wait_on_metadata(topic)
    return [
        TopicPartition(topic, each) for each in sorted(consumer.partitions_for_topic(topic) or ())
    ]


def home_of(key: bytes, partitions: Sequence[TopicPartition]) -> TopicPartition:
    """Returns the partition where Kafka's default partitioner puts a key."""
    return partitions[(murmur2(key) & 0x7FFFFFFF) % len(partitions)]


async def ranges_of(
    consumer: AIOKafkaConsumer, partitions: Sequence[TopicPartition]
) -> dict[TopicPartition, tuple[int, int]]:
    """Returns the first and the next offset of each partition, as they are now."""
    begins = await consumer.beginning_offsets(partitions) if partitions else {}
    ends = await consumer.end_offsets(partitions) if partitions else {}
    return {each: (begins[each], ends[each]) for each in partitions}


async def records_of(
    consumer: AIOKafkaConsumer, ranges: Mapping[TopicPartition, tuple[int, int]]
) -> AsyncIterator[list[Any]]:
    """Yields the records of these ranges of offsets, by the fetch; those of a partition in order.

    It assigns the partitions, and leaves the consumer anywhere in them.
    """
    left = [each for each, (begin, end) in ranges.items() if begin < end]
    if not left:  # a consumer that is assigned nothing fetches nothing of the next assignment
        return
    consumer.assign(left)
    for each in left:
        consumer.seek(each, ranges[each][0])
    while left:
        for place, records in (await consumer.getmany(*left, timeout_ms=LOOK_MS)).items():
            end = ranges[place][1]
            yield (
                records
                if records[-1].offset < end
                else [record for record in records if record.offset < end]
            )
        left = [each for each in left if await consumer.position(each) < ranges[each][1]]


async def seek_to_last(consumer: AIOKafkaConsumer, partition: TopicPartition) -> int:
    """Assigns a partition at its last record and returns the end of the partition.

    The consumer then stands at the end if the partition holds no record.
    """
    last, end = await last_record(consumer, partition)
    consumer.seek(partition, end if last is None else last.offset)
    return end


async def last_record(
    consumer: AIOKafkaConsumer,
    partition: TopicPartition,
    wanted: Callable[[Any], bool] = lambda record: True,
) -> tuple[Any, int]:
    """Returns the last wanted record of a partition, None if there is none, and its end.

    It assigns the partition and leaves the consumer anywhere in it.
    """
    begin = (await consumer.beginning_offsets([partition]))[partition]
    end: int = (await consumer.end_offsets([partition]))[partition]
    consumer.assign([partition])

    # the last offset may be that of a marker or of aborted data, so look further and further back
    back, last = 1, None
    while last is None and end - back // 2 > begin:
        consumer.seek(partition, max(begin, end - back))
        while await consumer.position(partition) < end:
            for records in (await consumer.getmany(partition, timeout_ms=LOOK_MS)).values():
                found = [each for each in records if each.offset < end and wanted(each)]
                last = found[-1] if found else last
        back *= 2
    return last, end


async def record_at(consumer: AIOKafkaConsumer, partition: TopicPartition, offset: int) -> Any:
    """Returns the record at an offset, None if there is none.

    It assigns the partition and leaves the consumer anywhere in it.
    """
    begin = (await consumer.beginning_offsets([partition]))[partition]
    end = (await consumer.end_offsets([partition]))[partition]
    if not begin <= offset < end:
        return None
    consumer.assign([partition])
    consumer.seek(partition, offset)
    while await consumer.position(partition) <= offset:
        fetched = await consumer.getmany(partition, timeout_ms=LOOK_MS, max_records=1)
        for record in fetched.get(partition, ()):
            return record if record.offset == offset else None
    return None


async def commits(
    consumer: AIOKafkaConsumer, partitions: Iterable[TopicPartition]
) -> dict[TopicPartition, OffsetAndMetadata]:
    """Returns the offsets that the consumer's group has committed, with their metadata."""
    # aiokafka's consumer gives out the offset alone; its coordinator has the metadata too
    found = await consumer._coordinator.fetch_committed_offsets(list(partitions))
    return {place: each for place, each in found.items() if each.offset >= 0}


async def current_partitions(consumer: AIOKafkaConsumer, topic: str) -> list[TopicPartition]:
    """Returns the partitions that a topic has now, in order; raises TopicError if it is missing."""
    # a client asks for metadata when it starts and every five minutes; a topic may be newer, and
    # only the private network client can be made to ask again
    await consumer._client.force_metadata_update()
    if not consumer.partitions_for_topic(topic):
        await consumer._client._wait_on_metadata(topic)
    found = consumer.partitions_for_topic(topic)
    if not found:
        raise TopicError(
            f"topic {topic} is missing; create it with 'interest-stream topics create'"
        )
    return [TopicPartition(topic, each) for each in sorted(found)]


async def subscriptions(consumer: AIOKafkaConsumer, group: str) -> list[tuple[str, list[str]]]:
    """Returns what each member of a consumer's group reads: "client id at host", and topics.

    A group that is rebalancing does not say what its members read. Raises aiokafka's errors.
    """
    # aiokafka's admin client asks any broker; the coordinator is the one that knows, and a request
    # goes to it through this private attribute alone
    coordinator = consumer._coordinator
    await coordinator.ensure_coordinator_known()
    answer = await coordinator._send_req(DescribeGroupsRequest([group]))
    ((code, _, _, _, _, members, *_),) = answer.groups
    if for_code(code) is GroupAuthorizationFailedError:
        raise GroupAuthorizationFailedError(group)
    return [
        (f"{client_id} at {host}", list(ConsumerProtocol.METADATA.decode(metadata).subscription))
        for _, client_id, host, metadata, _ in members
        if metadata
    ]


async def members_of(
    consumer: AIOKafkaConsumer, group: str
) -> tuple[str, list[tuple[str, str, list[TopicPartition]]]]:
    """Returns the state of a consumer's group, and of each member: client id, host, partitions.

    A group that is rebalancing does not say what its members have. Raises aiokafka's errors.
    """
    coordinator = consumer._coordinator
    await coordinator.ensure_coordinator_known()
    answer = await coordinator._send_req(DescribeGroupsRequest([group]))
    ((code, _, state, _, _, members, *_),) = answer.groups
    if (error := for_code(code)) is not NoError:
        raise error(group)
    return state, [
        (
            client_id,
            host.lstrip("/"),
            [
                TopicPartition(topic, partition)
                for topic, partitions in (
                    ConsumerProtocol.ASSIGNMENT.decode(assignment).assignment if assignment else ()
                )
                for partition in partitions
            ],
        )
        for _, client_id, host, _, assignment in members
    ]


async def readers_of(consumer: AIOKafkaConsumer, group: str) -> set[TopicPartition]:
    """Returns the partitions that members of a consumer's group have now; see `members_of`."""
    _, members = await members_of(consumer, group)
    return {each for _, _, partitions in members for each in partitions}

"""What an operator, or an accident, does to topics and offsets."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from typing import Any

from aiokafka import AIOKafkaConsumer, AIOKafkaProducer, TopicPartition
from aiokafka.admin import AIOKafkaAdminClient, NewPartitions
from aiokafka.admin.config_resource import ConfigResource, ConfigResourceType
from aiokafka.client import AIOKafkaClient
from aiokafka.errors import NoError, UnknownMemberIdError, for_code
from aiokafka.protocol.admin import DescribeGroupsRequest
from aiokafka.protocol.group import LeaveGroupRequest

from stream.config import Settings
from stream.kafka.topics import create_topics, describe


def administer(settings: Settings, action: Callable[[AIOKafkaAdminClient], Awaitable[Any]]) -> None:
    """Run an action with an admin client."""

    async def run() -> None:
        admin = AIOKafkaAdminClient(bootstrap_servers=settings.bootstrap)
        await admin.start()
        try:
            await action(admin)
        finally:
            await admin.close()

    asyncio.run(run())


def request(settings: Settings, *requests: Any) -> list[Any]:
    """Returns the answers of the only broker to requests.

    They are such as aiokafka's admin client has no method for.
    """

    async def run() -> list[Any]:
        client = AIOKafkaClient(bootstrap_servers=settings.bootstrap)
        await client.bootstrap()
        try:
            return [await client.send(client.get_random_node(), each) for each in requests]
        finally:
            await client.close()

    return asyncio.run(run())


def configure(settings: Settings, topic: str, **configs: str) -> None:
    """Replaces a topic's own settings (names with _ for .) and waits until the broker has them.

    Unless it is given, cleanup.policy of a compacted topic is kept.
    """
    wanted = {name.replace("_", "."): value for name, value in configs.items()}
    if topic in (settings.changelog_topic, settings.profiles_topic):
        wanted.setdefault("cleanup.policy", "compact")

    async def change(admin: AIOKafkaAdminClient) -> None:
        await admin.alter_configs([ConfigResource(ConfigResourceType.TOPIC, topic, configs=wanted)])
        while True:
            found = (await describe(admin, [topic])).get(topic)
            if found is not None and wanted.items() <= found.settings.items():
                return
            await asyncio.sleep(0.05)

    administer(settings, change)


def delete(settings: Settings, topic: str) -> None:
    """Deletes a topic and waits until the broker has forgotten it."""

    async def change(admin: AIOKafkaAdminClient) -> None:
        await admin.delete_topics([topic])
        while topic in await admin.list_topics():  # noqa: ASYNC110 the broker changes it
            await asyncio.sleep(0.05)

    administer(settings, change)


def recreate(settings: Settings, topic: str, partitions: int) -> None:
    """Deletes a topic and makes it anew."""
    delete(settings, topic)
    asyncio.run(create_topics(settings, partitions, 1))


def grow(settings: Settings, names: Sequence[str], partitions: int) -> None:
    """Gives topics more partitions and waits until the broker shows them."""

    async def change(admin: AIOKafkaAdminClient) -> None:
        await admin.create_partitions({topic: NewPartitions(partitions) for topic in names})
        while True:
            found = await describe(admin, list(names))
            if [each.partitions for each in found.values()] == [partitions] * len(names):
                return
            await asyncio.sleep(0.05)

    administer(settings, change)


def reset_offsets(settings: Settings, offsets: dict[int, int]) -> None:
    """Set the group's offsets; no member may be there."""

    async def run() -> None:
        consumer = AIOKafkaConsumer(
            bootstrap_servers=settings.bootstrap, group_id=settings.app_id, enable_auto_commit=False
        )
        await consumer.start()
        try:
            places = {
                TopicPartition(settings.source_topic, each): offset
                for each, offset in offsets.items()
            }
            consumer.assign(list(places))
            await consumer.commit(places)
        finally:
            await consumer.stop()

    asyncio.run(run())


def forget_members(settings: Settings) -> None:
    """Takes all members out of the group now, as the group does when their sessions end."""
    (described,) = request(settings, DescribeGroupsRequest([settings.app_id]))
    members = [member[0] for group in described.groups for member in group[5]]
    for answer in request(settings, *(LeaveGroupRequest(settings.app_id, id) for id in members)):
        assert for_code(answer.error_code) in (NoError, UnknownMemberIdError), answer


def produce(
    settings: Settings, topic: str, partition: int, records: list[tuple[bytes | None, bytes | None]]
) -> None:
    """Write records straight into a topic."""

    async def run() -> None:
        async with AIOKafkaProducer(bootstrap_servers=settings.bootstrap) as producer:
            for key, value in records:
                batch = (
                    producer.create_batch()
                )  # `send` refuses null key and null value together, which Kafka does not
                batch.append(timestamp=None, key=key, value=value)
                await (await producer.send_batch(batch, topic, partition=partition))

    asyncio.run(run())


def read(settings: Settings, topic: str, partitions: int = 4) -> list[Any]:
    """Returns every record of a topic that is there now."""

    async def run() -> list[Any]:
        async with AIOKafkaConsumer(
            bootstrap_servers=settings.bootstrap,
            enable_auto_commit=False,
            isolation_level="read_committed",
        ) as consumer:
            places = [TopicPartition(topic, each) for each in range(partitions)]
            consumer.assign(places)
            await consumer.seek_to_beginning()
            ends, found = await consumer.end_offsets(places), list[Any]()
            while any([await consumer.position(each) < ends[each] for each in places]):
                for records in (await consumer.getmany(timeout_ms=500)).values():
                    found += records
            return found

    return asyncio.run(run())


async def send_record(
    producer: Any, topic: str, key: bytes | None, value: bytes | None, headers: list[Any]
) -> Any:
    """Returns the future of a delivery.

    Where key and value are null, the record has a batch of its own: `send` refuses it and Kafka
    does not.
    """
    if key is not None or value is not None:
        return await producer.send(topic, value, key=key, headers=headers)
    batch = producer.create_batch()
    batch.append(timestamp=None, key=None, value=None)
    return await producer.send_batch(batch, topic, partition=0)


def send(settings: Settings, topic: str, *records: tuple[bytes | None, bytes]) -> None:
    """Sends keys and values to a topic, one after the other."""

    async def run() -> None:
        async with AIOKafkaProducer(bootstrap_servers=settings.bootstrap) as producer:
            for key, value in records:
                await producer.send_and_wait(topic, value, key=key)

    asyncio.run(run())

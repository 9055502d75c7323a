"""What an operator, or an accident, does to topics and offsets."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from typing import Any

from aiokafka import AIOKafkaConsumer, AIOKafkaProducer, TopicPartition
from aiokafka.admin import AIOKafkaAdminClient
from aiokafka.admin.config_resource import ConfigResource, ConfigResourceType

from stream.config import Settings
from stream.topics import create_topics


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


def configure(settings: Settings, topic: str, **configs: str) -> None:
    """Replace the topic's own settings (names with _ for .); cleanup.policy of the changelog is kept."""
    wanted = {name.replace("_", "."): value for name, value in configs.items()}
    if topic in (settings.changelog_topic, settings.profiles_topic):
        wanted["cleanup.policy"] = "compact"
    resource = ConfigResource(ConfigResourceType.TOPIC, topic, configs=wanted)
    administer(settings, lambda admin: admin.alter_configs([resource]))


def recreate(settings: Settings, topic: str, partitions: int) -> None:
    """Delete a topic and make it anew."""

    async def delete(admin: AIOKafkaAdminClient) -> None:
        await admin.delete_topics([topic])
        while topic in await admin.list_topics():  # noqa: ASYNC110 the broker changes it
            await asyncio.sleep(0.1)

    administer(settings, delete)
    asyncio.run(create_topics(settings, partitions, 1))


def reset_offsets(settings: Settings, offsets: dict[int, int]) -> None:
    """Set the group's offsets; no member may be there."""

    async def run() -> None:
        consumer = AIOKafkaConsumer(
            bootstrap_servers=settings.bootstrap, group_id=settings.app_id, enable_auto_commit=False
        )
        await consumer.start()
        try:
            places = {TopicPartition(settings.source_topic, each): offset for each, offset in offsets.items()}
            consumer.assign(list(places))
            await consumer.commit(places)
        finally:
            await consumer.stop()

    asyncio.run(run())


def produce(settings: Settings, topic: str, partition: int, records: list[tuple[bytes | None, bytes | None]]) -> None:
    """Write records straight into a topic."""

    async def run() -> None:
        async with AIOKafkaProducer(bootstrap_servers=settings.bootstrap) as producer:
            for key, value in records:
                batch = producer.create_batch()  # `send` refuses null key and null value together, which Kafka does not
                batch.append(timestamp=None, key=key, value=value)
                await (await producer.send_batch(batch, topic, partition=partition))

    asyncio.run(run())

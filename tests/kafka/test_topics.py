"""Checks topics on a real broker.

They are created as declared, and every difference is found by the same declaration.
"""

from __future__ import annotations

import asyncio
import json
import subprocess
import time
from typing import TYPE_CHECKING

import pytest
from aiokafka import ConsumerRebalanceListener, TopicPartition
from aiokafka.admin import NewPartitions, NewTopic
from aiokafka.admin.config_resource import ConfigResource, ConfigResourceType

from stream.config import Settings
from stream.errors import BrokerError, TopicError
from stream.kafka.client import admin_client
from stream.kafka.consumer import new_consumer
from stream.kafka.consumer_thread import ask_again
from stream.kafka.topic_identity import shapes
from stream.kafka.topics import check_topics, create_topics, describe
from tests.support import processes
from tests.support.pipelines import PATIENCE_S

if TYPE_CHECKING:
    from tests.support.brokers import Kafka

pytestmark = pytest.mark.kafka


@pytest.fixture
def settings(kafka: Kafka) -> Settings:
    """A pipeline whose topics no other test touches."""
    return Settings(
        broker=kafka.url,
        app_id=kafka.unique("app"),
        events_topic=kafka.unique("clicks"),
        updates_topic=kafka.unique("updates"),
        profiles_topic=kafka.unique("profiles"),
        dead_letters_topic=kafka.unique("dead"),
    )


def test_created_topics_pass_the_check_and_creating_again_changes_nothing(
    settings: Settings,
) -> None:
    first = asyncio.run(create_topics(settings, partitions=3))
    assert all(created for _topic, created in first)
    assert asyncio.run(check_topics(settings, everything=True)) == []
    again = asyncio.run(create_topics(settings))
    assert [topic.name for topic, _created in again] == [topic.name for topic, _created in first]
    assert not any(created for _topic, created in again)


def test_a_source_topic_that_exists_gives_the_partition_count(settings: Settings) -> None:
    async def scenario() -> set[int]:
        async with admin_client(settings.bootstrap) as admin:
            await admin.create_topics([NewTopic(settings.events_topic, 5, 1)])
            made = await create_topics(settings, admin=admin)
            found = await describe(admin, [topic.name for topic, _created in made])
        return {each.partitions for each in found.values()}

    assert asyncio.run(scenario()) == {5}
    with pytest.raises(TopicError, match="exists with 5 partitions, 4 were asked for"):
        asyncio.run(create_topics(settings, partitions=4))


def test_changed_partitions_and_settings_are_found(settings: Settings) -> None:
    async def scenario() -> list[str]:
        await create_topics(settings, partitions=2)
        async with admin_client(settings.bootstrap) as admin:
            await admin.create_partitions({settings.events_topic: NewPartitions(total_count=4)})
            changed = {"cleanup.policy": "compact,delete"}
            await admin.alter_configs(
                [ConfigResource(ConfigResourceType.TOPIC, settings.changelog_topic, changed)]
            )
            await admin.delete_topics([settings.updates_topic])
            found: list[str] = []
            deadline = time.monotonic() + PATIENCE_S
            while len(found) < 4 and time.monotonic() < deadline:
                # the broker applies them one after the other
                found = [str(each) for each in await check_topics(settings, admin)]
        return found

    found = asyncio.run(scenario())
    told = "\n".join(found)
    assert f"{settings.updates_topic}: topic is missing" in told
    assert f"{settings.profiles_topic}: partitions is 2, must be 4" in told
    assert f"{settings.changelog_topic}: partitions is 2, must be 4" in told
    assert f"{settings.changelog_topic}: cleanup.policy is compact,delete, must be compact" in told
    assert len(found) == 4


def test_asking_never_creates_a_topic(settings: Settings) -> None:
    async def scenario() -> list[str]:
        missing = await check_topics(settings)
        async with admin_client(settings.bootstrap) as admin:
            listed: list[str] = await admin.list_topics()
        assert len(missing) == 5
        return listed

    assert settings.events_topic not in asyncio.run(scenario())


def test_more_replicas_than_brokers_are_refused_in_the_brokers_words(settings: Settings) -> None:
    with pytest.raises(TopicError, match=f"topic {settings.events_topic} could not be created"):
        asyncio.run(create_topics(settings, replication=100))


def test_the_commands_say_what_was_done_and_what_differs(kafka: Kafka) -> None:
    names = [
        "--events-topic",
        kafka.unique("clicks"),
        "--app-id",
        kafka.unique("app"),
        "--broker",
        kafka.url,
    ]

    def run(*words: str) -> subprocess.CompletedProcess[str]:
        return processes.run(["topics", *words, *names])

    missing = run("check")
    assert missing.returncode == 1
    assert f"{names[1]}: topic is missing" in missing.stderr
    created = run("create", "--partitions", "2", "--json")
    assert created.returncode == 0, created.stderr
    rows = json.loads(created.stdout)["topics"]
    eight_days = {"value_ms": 691_200_000, "key_ms": 691_200_000, "newest_stays": False}
    mine = {"topic": names[1], "purpose": "events in", "done": "created", "life": eight_days}
    assert {**mine, "differences": []} in rows
    checked = run("check")
    assert (checked.returncode, checked.stderr) == (0, "")
    assert names[1] in checked.stdout
    assert "  8 d" in checked.stdout


def test_a_wrong_address_is_told_soon_with_its_reason(ports: list[int]) -> None:
    settings = Settings(broker=f"kafka://127.0.0.1:{ports[0]}")
    began = time.monotonic()
    with pytest.raises(
        BrokerError, match=rf"127\.0\.0\.1:{ports[0]}: connection refused.*--broker"
    ):
        asyncio.run(check_topics(settings))
    assert time.monotonic() - began < 10


class Given(ConsumerRebalanceListener):  # type: ignore[misc]  # aiokafka carries no types
    """Keeps what a consumer was given, one assignment after the other."""

    def __init__(self) -> None:
        self.all: asyncio.Queue[set[int]] = asyncio.Queue()

    def on_partitions_revoked(self, revoked: object) -> None: ...

    def on_partitions_assigned(self, assigned: set[TopicPartition]) -> None:
        self.all.put_nowait({each.partition for each in assigned})


def test_a_topic_that_was_not_known_when_the_group_was_joined_is_assigned(
    settings: Settings,
) -> None:
    """Else a worker would be given nothing for five minutes, until aiokafka asks again."""

    async def scenario() -> tuple[set[int], set[int]]:
        topic, given = settings.events_topic, Given()
        async with (
            asyncio.timeout(PATIENCE_S),
            new_consumer(settings, group_id=settings.app_id) as consumer,
        ):
            consumer.subscribe([topic], listener=given)  # after its start, as Faust does
            before = await given.all.get()
            await create_topics(settings, partitions=3)
            while given.all.empty():
                ask_again(consumer, await shapes(consumer, [topic]))
                await asyncio.sleep(0.1)
            return before, await given.all.get()

    assert asyncio.run(scenario()) == (set(), {0, 1, 2})

"""Creates, describes and checks the topics of the pipeline on a real broker.

What they must be like is declared in stream/kafka/topic_rules.py.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Iterable
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Any

from aiokafka.admin import AIOKafkaAdminClient, NewTopic
from aiokafka.admin.config_resource import ConfigResource, ConfigResourceType
from aiokafka.errors import KafkaError, for_code

from stream.config import Settings
from stream.errors import TopicError
from stream.kafka.client import admin_client, client_options
from stream.kafka.topic_rules import Difference, Found, Topic, compare, declared

DEFAULT_PARTITIONS = 4
UNKNOWN_TOPIC = 3
TOPIC_EXISTS = 36


@dataclass(frozen=True, slots=True)
class Checked:
    """Holds the topics of a pipeline, how the broker has those that exist, and what differs."""

    topics: list[Topic]
    found: dict[str, Found]
    differences: list[Difference]


async def check_topics(
    settings: Settings, admin: AIOKafkaAdminClient | None = None, *, everything: bool = False
) -> list[Difference]:
    """Returns where the broker's topics are not as declared.

    Those that workers refuse, or `everything`. Raises BrokerError when nobody answers, TopicError
    when the settings may not be read.
    """
    checked = await look_at_topics(settings, admin)
    return [each for each in checked.differences if everything or each.unsafe]


async def look_at_topics(settings: Settings, admin: AIOKafkaAdminClient | None = None) -> Checked:
    """Returns the topics as they are and as they must be; raises as check_topics."""
    async with _admin(settings, admin) as client:
        topics = declared(settings, settings.min_replication)
        found = await describe(client, [topic.name for topic in topics])
    source = found.get(settings.source_topic)
    partitions = source.partitions if source else None
    differences = [
        each
        for topic in topics
        for each in compare(topic, found.get(topic.name), partitions, settings.min_replication)
    ]
    return Checked(topics, found, differences)


async def create_topics(
    settings: Settings,
    partitions: int | None = None,
    replication: int = 1,
    admin: AIOKafkaAdminClient | None = None,
    timeout_s: float = 30.0,
) -> list[tuple[Topic, bool]]:
    """Creates what is missing and waits until it can be used.

    Returns each topic, and whether it was created now.

    partitions: None takes those of a source topic that exists, else DEFAULT_PARTITIONS. Raises
    TopicError when a source topic exists with another count, or the broker refuses; BrokerError
    when nobody answers.
    """
    topics = declared(settings, replication)
    names = [topic.name for topic in topics]
    async with _admin(settings, admin) as client:
        found = await describe(client, names)
        created: set[str] = set()
        if settings.source_topic not in found:
            # first and alone: it may exist since a moment ago and not be seen yet, and then its
            # count is the one that holds
            source = [topic for topic in topics if topic.name == settings.source_topic]
            created |= await _create(
                client, source, partitions or DEFAULT_PARTITIONS, replication, timeout_s
            )
            found |= await _wait_for(client, [settings.source_topic], timeout_s)

        # the others have as many partitions as the source topic
        count = _count(settings, found[settings.source_topic], partitions)
        missing = [topic for topic in topics if topic.name not in found]
        if missing:
            created |= await _create(client, missing, count, replication, timeout_s)
            await _wait_for(client, names, timeout_s)
    return [(topic, topic.name in created) for topic in topics]


async def create_topic(settings: Settings, name: str, timeout_s: float = 30.0) -> None:
    """Creates one declared topic that does not depend on the source topic.

    It waits until the topic can be used, and raises as create_topics.
    """
    replication = settings.min_replication
    wanted = [topic for topic in declared(settings, replication) if topic.name == name]
    async with _admin(settings, None) as client:
        await _create(client, wanted, 1, replication, timeout_s)
        await _wait_for(client, [name], timeout_s)


async def describe(admin: AIOKafkaAdminClient, names: list[str]) -> dict[str, Found]:
    """Returns those of the named topics that exist and can be used."""
    # all are asked for, not some by name: a broker that creates topics on demand would create what
    # is only asked for
    listed = {
        topic["topic"]: topic for topic in await admin.describe_topics() if topic["topic"] in names
    }
    usable = [
        name
        for name, topic in listed.items()
        if topic["partitions"] and not any(each["error_code"] for each in topic["partitions"])
    ]
    # the broker that answers may not know yet of a topic made just now; such a one is left out
    settings = await _settings(admin, usable)
    return {
        name: Found(
            len(listed[name]["partitions"]),
            min(len(each["replicas"]) for each in listed[name]["partitions"]),
            settings[name],
        )
        for name in usable
        if name in settings
    }


async def _settings(admin: AIOKafkaAdminClient, names: list[str]) -> dict[str, dict[str, str]]:
    if not names:
        return {}
    answers = await admin.describe_configs(
        [ConfigResource(ConfigResourceType.TOPIC, name) for name in names]
    )
    settings: dict[str, dict[str, str]] = {}
    for code, message, _kind, name, entries in (
        resource for answer in answers for resource in answer.resources
    ):
        if code == UNKNOWN_TOPIC:
            continue
        if code:
            raise TopicError(
                f"the settings of topic {name} cannot be read: "
                f"{message or for_code(code).__name__}; "
                "allow DescribeConfigs on it"
            )
        settings[name] = {entry[0]: entry[1] for entry in entries}
    return settings


def _count(settings: Settings, source: Found, wanted: int | None) -> int:
    if wanted is not None and wanted != source.partitions:
        raise TopicError(
            f"topic {settings.source_topic} exists with {source.partitions} partitions, "
            f"{wanted} were asked for; "
            "leave --partitions out to take what it has. "
            "Changing the count of a topic with states moves users: it needs a new topic or a new "
            "--app-id"
        )
    return source.partitions


async def _create(
    admin: AIOKafkaAdminClient,
    topics: Iterable[Topic],
    partitions: int,
    replication: int,
    timeout_s: float,
) -> set[str]:
    """Returns the names of those that were created; the others exist already."""
    wanted = [
        NewTopic(
            topic.name,
            topic.partitions or partitions,
            replication,
            topic_configs={name: str(rule.value) for name, rule in topic.rules.items()},
        )
        for topic in topics
    ]
    try:
        answer: Any = await admin.create_topics(wanted, timeout_ms=int(timeout_s * 1000))
    except KafkaError as error:
        raise TopicError(f"the topics could not be created: {error}") from error
    for name, code, message in answer.topic_errors:
        if code not in (0, TOPIC_EXISTS):
            raise TopicError(
                f"topic {name} could not be created: {message or for_code(code).__name__}"
            )
    return {name for name, code, _message in answer.topic_errors if code == 0}


async def _wait_for(
    admin: AIOKafkaAdminClient, names: list[str], timeout_s: float
) -> dict[str, Found]:
    deadline = time.monotonic() + timeout_s
    while True:
        # what is found is returned as it is: the next request may go to a broker that lags behind
        found = await describe(admin, names)
        absent = set(names) - set(found)
        if not absent:
            return found
        if time.monotonic() > deadline:
            raise TopicError(
                f"created, but not usable after {timeout_s:g} s: {', '.join(sorted(absent))}; see "
                "the broker's log"
            )
        await asyncio.sleep(0.05)


@asynccontextmanager
async def _admin(
    settings: Settings, given: AIOKafkaAdminClient | None
) -> AsyncIterator[AIOKafkaAdminClient]:
    if given is not None:
        yield given
        return
    options = client_options(settings)
    async with admin_client(options.pop("bootstrap_servers"), **options) as admin:
        yield admin

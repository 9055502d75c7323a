"""The topics of the pipeline (DESIGN.md section 4): declared once here, created and checked from the declaration."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Iterable, Iterator, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Any

from aiokafka.admin import AIOKafkaAdminClient, NewTopic
from aiokafka.admin.config_resource import ConfigResource, ConfigResourceType
from aiokafka.errors import KafkaError, for_code

from stream.config import Settings
from stream.errors import TopicError
from stream.kafka_client import admin_client, client_options

DEFAULT_PARTITIONS = 4
HOUR_MS = 3_600_000
DAY_MS = 24 * HOUR_MS
MESSAGE_BYTES = 1_048_588  # Kafka's default; the worker's own batches are smaller (stream/transport.py)
HEADER_BYTES = 65_536  # room for the headers that a dead letter has more than the event it was
TOPIC_EXISTS = 36


class Must(StrEnum):
    """How the found value of a setting must relate to the declared one."""

    EQUAL = "must be"
    LEAST = "must be at least"
    MOST = "must be at most"


@dataclass(frozen=True, slots=True)
class Rule:
    """One setting of a topic: what it is created with, and what is demanded of a topic that exists."""

    value: str | int
    must: Must | None = None  # None: a good value to create with; any other is the owner's choice
    bound: int | None = None  # of LEAST and MOST, where it differs from `value`
    unsafe: bool = False  # a violation loses or doubles events: workers refuse to start
    why: str = ""

    def violated(self, found: str) -> bool:
        if self.must is None:
            return False
        if self.must is Must.EQUAL:
            return ",".join(sorted(found.split(","))) != str(self.value)
        number, bound = int(found), int(self.value if self.bound is None else self.bound)
        unlimited = number == -1
        return (number < bound and not unlimited) if self.must is Must.LEAST else (number > bound or unlimited)

    def wanted(self) -> str:
        return f"{self.must} {self.value if self.bound is None else self.bound}"


@dataclass(frozen=True, slots=True)
class Topic:
    """A declared topic. `owned`: written by the worker, so partition for partition like the source topic."""

    name: str
    purpose: str
    rules: Mapping[str, Rule] = field(default_factory=dict)
    owned: bool = False
    why_partitions: str = ""


@dataclass(frozen=True, slots=True)
class Found:
    """A topic as the broker has it."""

    partitions: int
    replication: int  # of its least replicated partition
    settings: Mapping[str, str]


@dataclass(frozen=True, slots=True)
class Difference:
    """Where a topic is not as declared. `unsafe`: events could be lost or doubled, a worker does not start."""

    topic: str
    setting: str
    found: str
    wanted: str
    why: str = ""
    unsafe: bool = True

    def __str__(self) -> str:
        return f"{self.topic}: {self.setting} is {self.found}, {self.wanted}" + (f" ({self.why})" if self.why else "")


def min_isr(replication: int) -> int:
    """Replicas that must have a record before it is acknowledged: two where three are kept."""
    return 2 if replication >= 3 else 1


def declared(settings: Settings, replication: int) -> list[Topic]:
    """Every topic of a pipeline with these settings, source topic first. Pure."""
    durable = {
        "min.insync.replicas": Rule(
            min_isr(replication), Must.LEAST, unsafe=True, why="an acknowledged record must survive the loss of one broker"
        ),
        "unclean.leader.election.enable": Rule(
            "false", Must.EQUAL, unsafe=replication > 1, why="a stale replica that is elected drops acknowledged records"
        ),
        "max.message.bytes": Rule(MESSAGE_BYTES, Must.LEAST, unsafe=True, why="a larger batch or state would be rejected"),
    }
    log = {
        **durable,
        "cleanup.policy": Rule("delete", Must.EQUAL, unsafe=True, why="compaction removes all but the last record of a user"),
        "retention.ms": Rule(7 * DAY_MS, Must.LEAST, bound=DAY_MS, why="what is not read by then is lost"),
    }
    compacted = {
        **durable,
        "cleanup.policy": Rule("compact", Must.EQUAL, unsafe=True, why="deletion by age forgets users that have been quiet"),
        "delete.retention.ms": Rule(7 * DAY_MS, Must.LEAST, bound=DAY_MS, why="a reader that was away longer misses erasures"),
        "max.compaction.lag.ms": Rule(7 * DAY_MS, Must.MOST, why="erasure has to be real within bounded time"),
        "segment.ms": Rule(6 * HOUR_MS),
    }
    events = {**log, "message.timestamp.type": Rule("LogAppendTime")}  # lag, latency and the check of future times need the broker's clock
    source = [Topic(settings.events_topic, "events in", events)]
    if settings.rekey:
        source = [Topic(settings.source_topic, "events in, keyed by user", events), Topic(settings.events_topic, "events in, keyed otherwise", events)]
    letters = {
        **log,
        "retention.ms": Rule(14 * DAY_MS, Must.LEAST, bound=DAY_MS, why="what is not looked at by then is lost"),
        "max.message.bytes": Rule(2 * MESSAGE_BYTES, Must.LEAST, MESSAGE_BYTES + HEADER_BYTES, True, "a bad record goes there whole, with more headers"),
    }
    profiles = {**compacted, "min.compaction.lag.ms": Rule(60_000)}
    states = {
        **compacted,
        "min.compaction.lag.ms": Rule(HOUR_MS, Must.LEAST, 60_000, False, "restore needs the newest state even if a paused worker wrote an older one after it"),
    }
    moved = "users have moved between partitions, states no longer match them; start with a new --app-id, and topics for it"
    same = "the worker writes partition by partition, so that a user's order holds"
    return [
        *source,
        Topic(settings.updates_topic, "interest updates out", log, True, same),
        Topic(settings.profiles_topic, "latest update of each user", profiles, True, same),
        Topic(settings.changelog_topic, "state of each user", states, True, moved),
        Topic(settings.dead_letters_topic, "bad records out", letters),
    ]


def compare(topic: Topic, found: Found | None, source_partitions: int | None, replication: int) -> Iterator[Difference]:
    """Where a topic is not as declared. `source_partitions`: None when the source topic is missing. Pure."""
    if found is None:
        yield Difference(topic.name, "topic", "missing", "must exist", topic.purpose)
        return
    if topic.owned and source_partitions is not None and found.partitions != source_partitions:
        yield Difference(topic.name, "partitions", str(found.partitions), f"must be {source_partitions} as in the source topic", topic.why_partitions)
    if found.replication < replication:
        yield Difference(topic.name, "replication", str(found.replication), f"must be at least {replication}", "min_replication of the settings")
    for name, rule in topic.rules.items():
        value = found.settings.get(name)
        if value is not None and rule.violated(value):
            yield Difference(topic.name, name, value, rule.wanted(), rule.why, rule.unsafe)
    wanted = int(found.settings.get("min.insync.replicas", 1))
    if wanted > found.replication:
        yield Difference(topic.name, "min.insync.replicas", str(wanted), f"must be at most its replication {found.replication}", "nothing can be written")


async def check_topics(settings: Settings, admin: AIOKafkaAdminClient | None = None, *, everything: bool = False) -> list[Difference]:
    """Where the broker's topics are not as declared: what workers refuse, or `everything`.

    Raises BrokerError when nobody answers, TopicError when the settings may not be read.
    """
    async with _admin(settings, admin) as client:
        topics = declared(settings, settings.min_replication)
        found = await describe(client, [topic.name for topic in topics])
    source = found.get(settings.source_topic)
    partitions = source.partitions if source else None
    differences = [each for topic in topics for each in compare(topic, found.get(topic.name), partitions, settings.min_replication)]
    return [each for each in differences if everything or each.unsafe]


async def create_topics(
    settings: Settings, partitions: int | None = None, replication: int = 1, admin: AIOKafkaAdminClient | None = None, timeout_s: float = 30.0
) -> list[tuple[Topic, bool]]:
    """Create what is missing and wait until it can be used; each topic, and whether it was created now.

    `partitions`: None takes those of a source topic that exists, else DEFAULT_PARTITIONS. Raises TopicError when a source topic
    exists with another count, or the broker refuses; BrokerError when nobody answers.
    """
    topics = declared(settings, replication)
    names = [topic.name for topic in topics]
    async with _admin(settings, admin) as client:
        found = await describe(client, names)
        count = _count(settings, found.get(settings.source_topic), partitions)
        missing = [topic for topic in topics if topic.name not in found]
        if missing:
            await _create(client, missing, count, replication, timeout_s)
            await _wait_for(client, names, timeout_s)
    return [(topic, topic in missing) for topic in topics]


async def describe(admin: AIOKafkaAdminClient, names: list[str]) -> dict[str, Found]:
    """Those of the named topics that exist and can be used."""
    # Asking for all, not by name: a broker that creates topics on demand would create what is only asked for.
    listed = {topic["topic"]: topic for topic in await admin.describe_topics() if topic["topic"] in names}
    usable = [name for name, topic in listed.items() if topic["partitions"] and not any(each["error_code"] for each in topic["partitions"])]
    settings = await _settings(admin, usable)
    return {
        name: Found(len(listed[name]["partitions"]), min(len(each["replicas"]) for each in listed[name]["partitions"]), settings[name])
        for name in usable
    }


async def _settings(admin: AIOKafkaAdminClient, names: list[str]) -> dict[str, dict[str, str]]:
    if not names:
        return {}
    answers = await admin.describe_configs([ConfigResource(ConfigResourceType.TOPIC, name) for name in names])
    settings: dict[str, dict[str, str]] = {}
    for code, message, _kind, name, entries in (resource for answer in answers for resource in answer.resources):
        if code:
            raise TopicError(f"the settings of topic {name} cannot be read: {message or for_code(code).__name__}; allow DescribeConfigs on it")
        settings[name] = {entry[0]: entry[1] for entry in entries}
    return settings


def _count(settings: Settings, source: Found | None, asked: int | None) -> int:
    if source is None:
        return asked or DEFAULT_PARTITIONS
    if asked is not None and asked != source.partitions:
        raise TopicError(
            f"topic {settings.source_topic} exists with {source.partitions} partitions, {asked} were asked for; leave --partitions out to take "
            "what it has. Changing the count of a topic with states moves users: it needs a new topic or a new --app-id"
        )
    return source.partitions


async def _create(admin: AIOKafkaAdminClient, topics: Iterable[Topic], partitions: int, replication: int, timeout_s: float) -> None:
    wanted = [
        NewTopic(topic.name, partitions, replication, topic_configs={name: str(rule.value) for name, rule in topic.rules.items()})
        for topic in topics
    ]
    try:
        answer: Any = await admin.create_topics(wanted, timeout_ms=int(timeout_s * 1000))
    except KafkaError as error:
        raise TopicError(f"the topics could not be created: {error}") from error
    for name, code, message in answer.topic_errors:
        if code not in (0, TOPIC_EXISTS):
            raise TopicError(f"topic {name} could not be created: {message or for_code(code).__name__}")


async def _wait_for(admin: AIOKafkaAdminClient, names: list[str], timeout_s: float) -> None:
    deadline = time.monotonic() + timeout_s
    while True:
        absent = set(names) - set(await describe(admin, names))
        if not absent:
            return
        if time.monotonic() > deadline:
            raise TopicError(f"created, but not usable after {timeout_s:g} s: {', '.join(sorted(absent))}; see the broker's log")
        await asyncio.sleep(0.05)


@asynccontextmanager
async def _admin(settings: Settings, given: AIOKafkaAdminClient | None) -> AsyncIterator[AIOKafkaAdminClient]:
    if given is not None:
        yield given
        return
    options = client_options(settings)
    async with admin_client(options.pop("bootstrap_servers"), **options) as admin:
        yield admin

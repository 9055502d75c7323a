"""What the topics of the pipeline must be like (DESIGN.md section 4): declared once, for creating and for checking. Pure."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from enum import StrEnum

from stream.config import Settings

HOUR_MS = 3_600_000
DAY_MS = 24 * HOUR_MS
MESSAGE_BYTES = 1_048_588  # Kafka's default; the worker's own batches are smaller (stream/transport.py)
HEADER_BYTES = 65_536  # room for the headers that a dead letter has more than the event it was


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
    partitions: int | None = None  # None: as many as the source topic has


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
    """Every topic of a pipeline with these settings, source topic first."""
    durable = {
        "min.insync.replicas": Rule(
            min_isr(replication),
            Must.LEAST,
            unsafe=True,
            why="an acknowledged record must survive the loss of one broker",
        ),
        "unclean.leader.election.enable": Rule(
            "false",
            Must.EQUAL,
            unsafe=replication > 1,
            why="a stale replica that is elected drops acknowledged records",
        ),
        "max.message.bytes": Rule(
            MESSAGE_BYTES, Must.LEAST, unsafe=True, why="a larger batch or state would be rejected"
        ),
    }
    log = {
        **durable,
        "cleanup.policy": Rule(
            "delete", Must.EQUAL, unsafe=True, why="compaction removes all but the last record of a user"
        ),
        "retention.ms": Rule(7 * DAY_MS, Must.LEAST, bound=DAY_MS, why="what is not read by then is lost"),
    }
    compacted = {
        **durable,
        "cleanup.policy": Rule(
            "compact", Must.EQUAL, unsafe=True, why="deletion by age forgets users that have been quiet"
        ),
        "delete.retention.ms": Rule(
            7 * DAY_MS, Must.LEAST, bound=DAY_MS, why="a reader that was away longer misses erasures"
        ),
        "max.compaction.lag.ms": Rule(7 * DAY_MS, Must.MOST, why="erasure has to be real within bounded time"),
        "segment.ms": Rule(6 * HOUR_MS),
    }
    events = {
        **log,
        "message.timestamp.type": Rule("LogAppendTime"),
    }  # lag, latency and the check of future times need the broker's clock
    source = [Topic(settings.events_topic, "events in", events)]
    if settings.rekey:
        source = [
            Topic(settings.source_topic, "events in, keyed by user", events),
            Topic(settings.events_topic, "events in, keyed otherwise", events),
        ]
    letters = {
        **log,
        "retention.ms": Rule(14 * DAY_MS, Must.LEAST, bound=DAY_MS, why="what is not looked at by then is lost"),
        "max.message.bytes": Rule(
            2 * MESSAGE_BYTES,
            Must.LEAST,
            MESSAGE_BYTES + HEADER_BYTES,
            True,
            "a bad record goes there whole, with more headers",
        ),
    }
    profiles = {**compacted, "min.compaction.lag.ms": Rule(60_000)}
    states = {
        **compacted,
        "min.compaction.lag.ms": Rule(
            HOUR_MS,
            Must.LEAST,
            60_000,
            False,
            "restore needs the newest state even if a paused worker wrote an older one after it",
        ),
    }
    moved = (
        "users have moved between partitions, states no longer match them; start with a new --app-id, and topics for it"
    )
    same = "the worker writes partition by partition, so that a user's order holds"
    snapshots = {
        **durable,
        "cleanup.policy": Rule("compact", Must.EQUAL, why="deletion by age would take the one snapshot there is"),
        "segment.ms": Rule(6 * HOUR_MS),
    }
    one = "a reader follows one partition, the newest record of it is what holds"
    live = Topic(settings.popularity_topic, "what all users met lately", snapshots, why_partitions=one, partitions=1)
    return [
        *source,
        Topic(settings.updates_topic, "interest updates out", log, True, same),
        Topic(settings.profiles_topic, "latest update of each user", profiles, True, same),
        Topic(settings.changelog_topic, "state of each user", states, True, moved),
        Topic(settings.dead_letters_topic, "bad records out", letters),
        *([live] if settings.live_popularity else []),
    ]


def compare(topic: Topic, found: Found | None, source_partitions: int | None, replication: int) -> Iterator[Difference]:
    """Where a topic is not as declared. `source_partitions`: None when the source topic is missing."""
    if found is None:
        yield Difference(topic.name, "topic", "missing", "must exist", topic.purpose)
        return
    if topic.owned and source_partitions is not None and found.partitions != source_partitions:
        yield Difference(
            topic.name,
            "partitions",
            str(found.partitions),
            f"must be {source_partitions} as in the source topic",
            topic.why_partitions,
        )
    if topic.partitions is not None and found.partitions != topic.partitions:
        wanted = f"must be {topic.partitions}"
        yield Difference(topic.name, "partitions", str(found.partitions), wanted, topic.why_partitions)
    if found.replication < replication:
        yield Difference(
            topic.name,
            "replication",
            str(found.replication),
            f"must be at least {replication}",
            "min_replication of the settings",
        )
    for name, rule in topic.rules.items():
        value = found.settings.get(name)
        if value is not None and rule.violated(value):
            yield Difference(topic.name, name, value, rule.wanted(), rule.why, rule.unsafe)
    in_sync = int(found.settings.get("min.insync.replicas", 1))
    if in_sync > found.replication:
        yield Difference(
            topic.name,
            "min.insync.replicas",
            str(in_sync),
            f"must be at most its replication {found.replication}",
            "nothing can be written",
        )

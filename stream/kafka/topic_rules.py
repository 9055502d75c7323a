"""Declares what the topics of the pipeline must be like, once, for creating and for checking them.

docs/reference/topics.md lists them. Pure.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Any

from stream.config import Settings
from stream.kafka.topic_life import life_of

HOUR_MS = 3_600_000
DAY_MS = 24 * HOUR_MS

MESSAGE_BYTES = 1_048_588
"""Kafka's default; the worker's own batches are smaller (stream/kafka/record_batches.py)."""

MOST_SEGMENT_MS = 2 * DAY_MS
"""Longest time that a log may keep a record beyond its retention."""

MOST_LIFE_MS = 30 * DAY_MS
"""Longest time that a topic of the pipeline may keep what a user had before an erasure."""

HEADER_BYTES = 65_536
"""Room for the headers that a dead letter has more than the event it was."""


class Must(StrEnum):
    """Says how the found value of a setting must relate to the declared one."""

    EQUAL = "must be"
    LEAST = "must be at least"
    MOST = "must be at most"


@dataclass(frozen=True, slots=True)
class Rule:
    """Holds one setting of a topic.

    It says what the topic is created with, and what is demanded of a topic that exists.
    """

    value: str | int
    must: Must | None = None  # None: a good value to create with; any other is the owner's choice
    bound: int | None = None  # of LEAST and MOST, where it differs from `value`
    unsafe: bool = False  # a violation loses or doubles events: workers refuse to start
    why: str = ""

    def violated(self, found: str) -> bool:
        """Returns whether a value found on the broker breaks the rule."""
        if self.must is None:
            return False
        if self.must is Must.EQUAL:
            return ",".join(sorted(found.split(","))) != str(self.value)
        number, bound = int(found), int(self.value if self.bound is None else self.bound)
        unlimited = number == -1  # as Kafka writes it
        return (
            (number < bound and not unlimited)
            if self.must is Must.LEAST
            else (number > bound or unlimited)
        )

    def wanted(self) -> str:
        """Returns what is demanded, for a message."""
        return f"{self.must} {self.value if self.bound is None else self.bound}"


@dataclass(frozen=True, slots=True)
class Topic:
    """Holds a declared topic.

    `owned`: written by the worker, so partition for partition like the source topic.
    """

    name: str
    purpose: str
    rules: Mapping[str, Rule] = field(default_factory=dict)
    owned: bool = False
    why_partitions: str = ""
    partitions: int | None = None  # None: as many as the source topic has
    most_life_ms: int | None = None  # until nothing is left of an erased user; None: no demand
    why_life: str = ""


@dataclass(frozen=True, slots=True)
class Found:
    """Holds a topic as the broker has it."""

    partitions: int
    replication: int  # of its least replicated partition
    settings: Mapping[str, str]


@dataclass(frozen=True, slots=True)
class Difference:
    """Says where a topic is not as declared.

    `unsafe`: events could be lost or doubled, so a worker does not start.
    """

    topic: str
    setting: str
    found: str
    wanted: str
    why: str = ""
    unsafe: bool = True

    def __str__(self) -> str:
        return f"{self.topic}: {self.setting} is {self.found}, {self.wanted}" + (
            f" ({self.why})" if self.why else ""
        )


def min_isr(replication: int) -> int:
    """Returns how many replicas must have a record before it is acknowledged.

    Two where three are kept.
    """
    return 2 if replication >= 3 else 1


def declared(settings: Settings, replication: int) -> list[Topic]:
    """Returns every topic of a pipeline with these settings, the source topic first."""
    # rules that several topics share: durable ones, then logs, then compacted topics
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
            "delete",
            Must.EQUAL,
            unsafe=True,
            why="compaction removes all but the last record of a user",
        ),
        "retention.ms": Rule(
            7 * DAY_MS, Must.LEAST, bound=DAY_MS, why="what is not read by then is lost"
        ),
        # Kafka deletes whole segments: a record lives for the retention and a segment's time more
        "segment.ms": Rule(
            DAY_MS,
            Must.MOST,
            bound=MOST_SEGMENT_MS,
            why="whole segments are deleted, so a record lives that much longer than retention.ms",
        ),
    }
    lag = Rule(7 * DAY_MS, Must.MOST, why="erasure has to be real within bounded time")
    segment = Rule(
        6 * HOUR_MS,
        Must.MOST,
        bound=MOST_SEGMENT_MS,
        why="an open segment is not compacted, so an erased value lives that much longer",
    )
    compacted = {
        **durable,
        "cleanup.policy": Rule(
            "compact",
            Must.EQUAL,
            unsafe=True,
            why="deletion by age forgets users that have been quiet",
        ),
        "delete.retention.ms": Rule(
            7 * DAY_MS,
            Must.LEAST,
            bound=DAY_MS,
            why="a reader that was away longer misses erasures",
        ),
        "max.compaction.lag.ms": lag,
        "segment.ms": segment,
    }

    # what the pipeline writes about a user is gone some time after an erasure
    bounded: Any = {
        "most_life_ms": MOST_LIFE_MS,
        "why_life": "what is kept longer outlives the erasure of its user too long",
    }

    parked: Any = {
        "most_life_ms": settings.late_window_ms,
        "why_life": "late_window_days of the settings: what is sent again after that window brings "
        "an erased user back",
    }

    # the topics of the events; lag, latency and the check of future times need the broker's clock
    events = {**log, "message.timestamp.type": Rule("LogAppendTime")}
    keyed = events
    if settings.user_ttl_days:
        expiry = "users expire by the broker's time (user_ttl_days), not by what producers say"
        stamped = Rule("LogAppendTime", Must.EQUAL, unsafe=True, why=expiry)
        keyed = {**events, "message.timestamp.type": stamped}
    source = [Topic(settings.events_topic, "events in", keyed)]
    if settings.rekey:
        source = [
            Topic(settings.source_topic, "events in, keyed by user", keyed, **bounded),
            Topic(settings.events_topic, "events in, keyed otherwise", events),
        ]

    # the topics that the worker writes
    letters = {
        **log,
        "retention.ms": Rule(
            14 * DAY_MS, Must.LEAST, bound=DAY_MS, why="what is not looked at by then is lost"
        ),
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
        "users have moved between partitions, states no longer match them; "
        "start with a new --app-id, and topics for it"
    )
    same = "the worker writes partition by partition, so that a user's order holds"

    # the topic of the popularity job
    snapshots = {
        **durable,
        "cleanup.policy": Rule(
            "compact", Must.EQUAL, why="deletion by age would take the one snapshot there is"
        ),
        "max.compaction.lag.ms": lag,
        "segment.ms": segment,
    }
    one = "a reader follows one partition, the newest record of it is what holds"
    live = Topic(
        settings.popularity_topic,
        "what all users met lately",
        snapshots,
        why_partitions=one,
        partitions=1,
    )
    return [
        *source,
        Topic(settings.updates_topic, "interest updates out", log, True, same, **bounded),
        Topic(
            settings.profiles_topic, "latest update of each user", profiles, True, same, **bounded
        ),
        Topic(settings.changelog_topic, "state of each user", states, True, moved, **bounded),
        Topic(settings.dead_letters_topic, "bad records out", letters, **parked),
        *([live] if settings.live_popularity else []),
    ]


def compare(
    topic: Topic, found: Found | None, source_partitions: int | None, replication: int
) -> Iterator[Difference]:
    """Yields where a topic is not as declared.

    `source_partitions`: None when the source topic is missing.
    """
    if found is None:
        yield Difference(topic.name, "topic", "missing", "must exist", topic.purpose)
        return
    # partitions and replicas
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
        yield Difference(
            topic.name, "partitions", str(found.partitions), wanted, topic.why_partitions
        )
    if found.replication < replication:
        yield Difference(
            topic.name,
            "replication",
            str(found.replication),
            f"must be at least {replication}",
            "min_replication of the settings",
        )
    # settings, and two rules that take several of them together
    wrong = set()
    for name, rule in topic.rules.items():
        value = found.settings.get(name)
        if value is not None and rule.violated(value):
            wrong.add(name)
            yield Difference(topic.name, name, value, rule.wanted(), rule.why, rule.unsafe)
    yield from _too_long(topic, found, wrong)
    in_sync = int(found.settings.get("min.insync.replicas", 1))
    if in_sync > found.replication:
        yield Difference(
            topic.name,
            "min.insync.replicas",
            str(in_sync),
            f"must be at most its replication {found.replication}",
            "nothing can be written",
        )


def _too_long(topic: Topic, found: Found, wrong: set[str]) -> Iterator[Difference]:
    """Yields the difference of a topic that keeps what it has of an erased user for too long.

    `wrong` holds the settings that break a rule of their own: those have to be changed first.
    """
    compacted = "compact" in found.settings.get("cleanup.policy", "")
    log = ("retention.ms", "segment.ms")
    parts = ("max.compaction.lag.ms", "segment.ms", "delete.retention.ms") if compacted else log
    if topic.most_life_ms is None or not found.settings or wrong & {"cleanup.policy", *parts}:
        return
    life = life_of(found.settings)
    if life.key_ms is None or life.key_ms > topic.most_life_ms:
        yield Difference(
            topic.name,
            " + ".join(parts),
            "without end" if life.key_ms is None else str(life.key_ms),
            f"{Must.MOST} {topic.most_life_ms}",
            topic.why_life,
            unsafe=False,
        )

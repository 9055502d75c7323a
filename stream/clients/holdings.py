"""Finds what the topics of a pipeline hold about users, place by place, and until when.

A user's state and profile are the newest records of the key in two compacted topics. Updates and
events lie in logs, as long as Kafka keeps them. All four have the user in one partition. A dead
letter is the user's if its original had the key, or names the user in its value, which is searched
by the event format of the workers; such a record may lie in any partition, and so may the raw
events of `--rekey`, so of those two topics all is read. Whether workers read it as an event does
not count: what they drop on purpose names its users as well.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass, field
from typing import Any, Final

from aiokafka import AIOKafkaConsumer, TopicPartition

from stream.clients.user_ids import user_key
from stream.config import ConnectionSettings, Settings
from stream.contracts.control import is_control
from stream.formats.contract_format import ContractFormat
from stream.formats.documents import users_named
from stream.formats.event_format import EventFormat
from stream.formats.registry import foreign_format
from stream.kafka.consumer import home_of, partitions_of, ranges_of, records_of
from stream.kafka.topic_life import Life
from stream.schema_registry.schemas import schemas_of

STATE, PROFILE, UPDATES, EVENTS, LETTERS, RAW = PLACES = (
    "state",
    "profile",
    "updates",
    "events",
    "dead letters",
    "raw events",
)
"""Where something about a user can be; `raw events` with --rekey only."""

ADVICE: Final = "check --app-id, or create it with 'interest-stream topics create'"

Progress = Callable[[str, int, int], None]
"""Called as (what is done, done, in all)."""


@dataclass(frozen=True, slots=True)
class Users:
    """Holds the users that are asked about: the key of each one's records, and the id itself."""

    ids: Mapping[bytes, str]
    event_format: EventFormat | None = None  # of the raw events; None: the contract
    registry: ConnectionSettings = field(default_factory=ConnectionSettings)  # of its schemas

    @classmethod
    def of(cls, settings: Settings, ids: Collection[str]) -> Users:
        """Returns the users of these ids, by pseudonym if there are some; raises UsageError."""
        secret = settings.pseudonym_key()
        names = {user_key(each, secret): each for each in ids}
        return cls(names, foreign_format(settings), settings)

    def names(self) -> dict[bytes, bytes]:
        """Returns the key of the records by each name that a user has, pseudonym and id."""
        return {each.encode(): key for key, each in self.ids.items()} | {
            key: key for key in self.ids
        }


@dataclass(slots=True)
class Place:
    """Holds what was found in one topic."""

    name: str
    topic: str
    life: Life | None  # None: the topic is missing
    ranges: dict[int, tuple[int, int]] = field(default_factory=dict)  # read, by partition
    found: int = 0
    users: set[bytes] = field(default_factory=set)  # whose records were found, by key
    newest_ms: int | None = None  # the broker's time of the newest record found
    records: list[Any] = field(default_factory=list)  # if they are kept

    @property
    def gone_by_ms(self) -> int | None:
        """Returns when the log has deleted what was found; None: nothing was, or never."""
        if self.newest_ms is None or self.life is None or self.life.value_ms is None:
            return None
        return self.newest_ms + self.life.value_ms

    def add(self, users: Collection[bytes], record: Any, keep: bool) -> None:
        """Counts a record of one user or of several, and keeps it if asked."""
        self.found += 1
        self.users.update(users)
        self.newest_ms = max(self.newest_ms or 0, record.timestamp)
        if keep:
            self.records.append(record)


@dataclass(slots=True)
class Newest:
    """Holds the newest record of each user in a compacted topic, and what was read of it."""

    records: dict[bytes, Any] = field(default_factory=dict)
    ranges: dict[TopicPartition, tuple[int, int]] = field(default_factory=dict)


async def newest_states(consumer: AIOKafkaConsumer, settings: Settings, users: Users) -> Newest:
    """Returns the newest state of each user; raises TopicError.

    The partition where Kafka's default partitioner puts the user is read. If one of the users is
    not there, all are: other clients deal keys out by other rules.
    """
    partitions = await partitions_of(consumer, settings.changelog_topic, ADVICE)
    homes = sorted({home_of(key, partitions) for key in users.ids})
    found = Newest()
    await _read_newest(consumer, homes, users, found)
    if len(found.records) < len(users.ids):
        others = [each for each in partitions if each not in homes]
        await _read_newest(consumer, others, users, found)
    return found


async def newest_profiles(
    consumer: AIOKafkaConsumer, settings: Settings, users: Users, partitions: Collection[int]
) -> Newest:
    """Returns the newest profile of each user, from these partitions; raises TopicError."""
    places = await partitions_of(consumer, settings.profiles_topic)
    found = Newest()
    wanted = [each for each in places if each.partition in partitions]
    await _read_newest(consumer, wanted, users, found)
    return found


async def _read_newest(
    consumer: AIOKafkaConsumer, partitions: list[TopicPartition], users: Users, found: Newest
) -> None:
    ranges = await ranges_of(consumer, partitions)
    found.ranges |= ranges
    async for records in records_of(consumer, ranges):
        for record in records:
            if record.key in users.ids:
                found.records[record.key] = record


def partitions_of_users(users: Users, states: Newest, count: int, topic: str) -> dict[bytes, int]:
    """Returns the source partition of each user: where the state is, else where Kafka puts it."""
    all_ = [TopicPartition(topic, each) for each in range(count)]
    return {
        key: states.records[key].partition
        if key in states.records
        else home_of(key, all_).partition
        for key in users.ids
    }


async def search_log(
    consumer: AIOKafkaConsumer,
    place: Place,
    users: Users,
    partitions: Collection[int] | None,
    progress: Progress,
    *,
    keep: bool = False,
    controls: Callable[[Any], None] = lambda record: None,
) -> None:
    """Counts the records of users in a log, those of some partitions or of all.

    A topic whose records are keyed otherwise is searched for the users in each value too.
    Requests about the users are given to `controls` and not counted. Raises TopicError.
    """
    places = await partitions_of(consumer, place.topic)
    chosen = [each for each in places if partitions is None or each.partition in partitions]
    ranges = await ranges_of(consumer, chosen)
    place.ranges = {each.partition: range_ for each, range_ in ranges.items()}
    by_name = place.name in (LETTERS, RAW)
    owners = owners_by_name(users) if by_name else _by_key(users)
    schemas = schemas_of(users.event_format if by_name else None, users.registry)
    total, done = sum(end - begin for begin, end in ranges.values()), 0
    async for records in records_of(consumer, ranges):
        await schemas.know(records)
        for record in records:
            named = owners(record)
            if not named:
                continue
            if place.name in (EVENTS, RAW) and is_control(record.headers):
                controls(record)
            else:
                place.add(named, record, keep)
        done += len(records)
        progress(f"reading {place.topic}", done, total)
    await schemas.close()


Owners = Callable[[Any], Collection[bytes]]
"""Returns which of the users that are asked about a record belongs to, by their keys."""


def _by_key(users: Users) -> Owners:
    """Returns whose record one is that has the user's key."""
    return lambda record: (record.key,) if record.key in users.ids else ()


def owners_by_name(users: Users) -> Owners:
    """Returns whose record one is that may have another key: by its key, or by what it names.

    It is searched as the contract has events, too, whatever the format of the workers is: a letter
    may be older than that.
    """
    names, every = users.names(), set(users.ids)
    formats: list[EventFormat] = [ContractFormat()]
    if users.event_format is not None:
        formats.append(users.event_format)

    def owners(record: Any) -> Collection[bytes]:
        found = {names[record.key]} if record.key in names else set()
        for each in formats:
            if not record.value or found == every:
                break
            for user in users_named(each, record.value, record.headers or ()):
                key = names.get(user.encode("utf-8", "surrogatepass"))
                if key is not None:
                    found.add(key)
        return found

    return owners

"""Reads what the pipeline publishes: the stream of updates, the profile and state of one user."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable
from contextlib import suppress
from dataclasses import dataclass
from functools import partial
from typing import Any, Final

import msgspec
import orjson
from aiokafka import AIOKafkaConsumer, ConsumerRebalanceListener, TopicPartition
from aiokafka.errors import CommitFailedError, IllegalStateError

from models.compact import ACTIONS, QUERY, text_of
from stream.config import Settings
from stream.contracts.state_record import Record, decode_record
from stream.errors import DataError
from stream.kafka.consumer import home_of, open_consumer, partitions_of
from stream.schema_registry.updates import PlainValues

WAIT_MS: Final = 1_000
"""Longest wait for records; a group commits what was read at least that often while some come."""


class UpdateReader:
    """Reads the records of the updates topic, of one user or of all, alone or as part of a group.

    Without a group a reader begins now, or at the oldest update that is kept. The readers of one
    group share the partitions and go on where the group left off; only a group that has committed
    nothing yet begins now or at the oldest. A record counts as read when the next one is asked for,
    so one that a reader failed on comes again: a group may see an update twice and misses none.
    """

    def __init__(
        self,
        settings: Settings,
        *,
        from_beginning: bool = False,
        user: str | None = None,
        group: str | None = None,
    ) -> None:
        self._settings = settings
        self._from_beginning = from_beginning
        self._key = None if user is None else user.encode()
        self._group = group
        self._values = PlainValues(settings)
        self._consumer: AIOKafkaConsumer | None = None
        self._done: dict[TopicPartition, int] = {}  # the next offset to read, not committed yet

    async def open(self) -> None:
        """Connects and fixes where reading begins, once; raises BrokerError or TopicError."""
        if self._consumer is not None:
            return
        reset = "earliest" if self._from_beginning else "latest"
        consumer = await open_consumer(
            self._settings, group_id=self._group, auto_offset_reset=reset
        )
        try:
            partitions = await partitions_of(consumer, self._settings.updates_topic)
            if self._group is not None:
                consumer.subscribe([self._settings.updates_topic], listener=_Revoked(self))
            else:
                consumer.assign(partitions)
                seek = consumer.seek_to_beginning if self._from_beginning else consumer.seek_to_end
                await seek(*partitions)
        except BaseException:
            await consumer.stop()
            raise
        self._consumer = consumer

    async def close(self) -> None:
        """Commits what was read if the reader has a group, and disconnects."""
        consumer = self._consumer
        if consumer is None:
            return
        try:
            await self.commit()
        finally:
            self._consumer = None
            await consumer.stop()
            await self._values.close()

    async def __aiter__(self) -> AsyncIterator[Any]:
        await self.open()
        while self._consumer is not None:
            for partition, records in (await self._consumer.getmany(timeout_ms=WAIT_MS)).items():
                for record in await self._values.of(records):
                    if record.value is not None and self._key in (None, record.key):
                        yield record
                    self._done[partition] = record.offset + 1
            await self.commit()

    async def commit(self) -> None:
        """Commits what was read, if the reader has a group and anything was."""
        done, self._done = self._done, {}
        if self._consumer is None or self._group is None:
            return
        mine = self._consumer.assignment()
        offsets = {each: offset for each, offset in done.items() if each in mine}
        if not offsets:
            return
        # Partitions that were given to another reader of the group in the meantime are read again.
        with suppress(CommitFailedError, IllegalStateError):
            await self._consumer.commit(offsets)


class _Revoked(ConsumerRebalanceListener):  # type: ignore[misc]  # aiokafka carries no types
    """Commits what a reader has read before its partitions are given to others."""

    def __init__(self, reader: UpdateReader) -> None:
        self._reader = reader

    async def on_partitions_revoked(self, revoked: Any) -> None:
        """Commits while the partitions are still the reader's own."""
        await self._reader.commit()

    async def on_partitions_assigned(self, assigned: Any) -> None:
        """Does nothing: reading begins at what the group has committed."""


class _Source(msgspec.Struct):
    """Reads where an update came from."""

    offset: int


class _Interest(msgspec.Struct):
    """Reads what is shown of an interest."""

    interest: str
    probability: float
    trend: str


class _Item(msgspec.Struct):
    """Reads what is shown of a next item."""

    item_id: str


class _Cause(msgspec.Struct):
    """Reads what is shown of a past event."""

    action: str
    item_id: str | None = None
    query: str | None = None
    title: str | None = None


class _Update(msgspec.Struct):
    """Reads as much of an update as its readers here rely on."""

    user_id: str
    time: int
    source: _Source
    interests: list[_Interest]
    items: list[_Item]
    because: list[_Cause]


_is_update: Final = msgspec.json.Decoder(_Update).decode


def update_of(value: bytes | None) -> dict[str, Any] | None:
    """Returns an interest update, None if a value is none: others may write to the topic, too."""
    try:
        _is_update(value or b"")
        update: dict[str, Any] = orjson.loads(value or b"")
    except (msgspec.MsgspecError, ValueError, RecursionError):
        return None
    return update


async def updates(
    settings: Settings,
    *,
    from_beginning: bool = False,
    user: str | None = None,
    foreign: Callable[[Any], None] = lambda record: None,
) -> AsyncIterator[dict[str, Any]]:
    """Yields interest updates for ever, of one user if asked; raises BrokerError or TopicError.

    `foreign` is called with each record that is no interest update and left out.
    """
    reader = UpdateReader(settings, from_beginning=from_beginning, user=user)
    try:
        async for record in reader:
            update = update_of(record.value)
            if update is None:
                foreign(record)
            else:
                yield update
    finally:
        await reader.close()


@dataclass(frozen=True, slots=True)
class Held:
    """Holds what is kept about one user."""

    state: Record | None
    state_bytes: int
    profile: dict[str, Any] | None
    partition: int
    foreign: tuple[str, ...] = ()  # records under the user's key that are none of ours


async def look_up(settings: Settings, user: str) -> Held:
    """Returns the newest state and profile of a user, from their compacted topics.

    Only the partition where Kafka's default partitioner puts the user is read; if nothing is there,
    all are. Records under the user's key that are no state or profile are left out, and named.
    Raises BrokerError, TopicError.
    """
    foreign: list[str] = []
    consumer = await open_consumer(settings)
    try:
        key = user.encode()
        # The profile first: both come out of one commit, so the state that is read after it is at
        # least as new. The other way round a user's first events could show one without the other.
        profiles = await partitions_of(consumer, settings.profiles_topic)
        profile = await _last(consumer, profiles, key, partial(_kept, _sound_update, foreign))
        states = await partitions_of(consumer, settings.changelog_topic)
        expected = home_of(key, states)
        keep = partial(_kept, decode_record, foreign)
        found = await _last(consumer, [expected], key, keep)
        if found is None:
            found = await _last(consumer, states, key, keep)
    finally:
        await consumer.stop()
    return Held(
        decode_record(found.value) if found is not None and found.value is not None else None,
        len(found.value) if found is not None and found.value is not None else 0,
        None if profile is None or profile.value is None else orjson.loads(profile.value),
        found.partition if found is not None else expected.partition,
        tuple(foreign),
    )


def _kept(decode: Callable[[bytes], object], foreign: list[str], record: Any) -> bool:
    """Returns whether a record is what its topic is for, and names it in `foreign` if not."""
    try:
        if record.value is not None:
            decode(record.value)
    except DataError as error:
        foreign.append(f"{record.topic}[{record.partition}] offset {record.offset}: {error}")
        return False
    return True


def _sound_update(value: bytes) -> None:
    if update_of(value) is None:
        raise DataError("it is no interest update")


async def latest_profile(settings: Settings, user: str) -> bytes | None:
    """Returns the latest update of a user as JSON, None if there is none.

    Raises BrokerError, TopicError.
    """
    consumer = await open_consumer(settings)
    try:
        return await _profile(consumer, settings, user.encode())
    finally:
        await consumer.stop()


async def _profile(consumer: AIOKafkaConsumer, settings: Settings, key: bytes) -> bytes | None:
    latest = await _last(consumer, await partitions_of(consumer, settings.profiles_topic), key)
    value: bytes | None = None if latest is None else latest.value
    return value


async def _last(
    consumer: AIOKafkaConsumer,
    partitions: list[TopicPartition],
    key: bytes,
    keep: Callable[[Any], bool] = lambda record: True,
) -> Any:
    """Returns the last record of a key in these partitions that is kept, None if there is none."""
    ends, begins = (
        await consumer.end_offsets(partitions),
        await consumer.beginning_offsets(partitions),
    )
    left = [each for each in partitions if begins[each] < ends[each]]
    if not left:
        return None
    consumer.assign(left)
    await consumer.seek_to_beginning(*left)
    found = None
    while left:
        for records in (await consumer.getmany(*left, timeout_ms=500)).values():
            for record in records:
                if record.key == key and keep(record):
                    found = record
        left = [each for each in left if await consumer.position(each) < ends[each]]
    return found


def recent_events(state: Record) -> list[dict[str, Any]]:
    """Returns the recent events of a state, newest first, in the words of the contract."""
    events = []
    for key, _, time_ms, action, kind, text in state.recent.tolist():
        words = "query" if kind == QUERY else "item or title"
        events.append(
            {"time": time_ms, "action": ACTIONS[action], words: text_of(text), "key": f"{key:016x}"}
        )
    return events

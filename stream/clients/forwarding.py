"""Sends profiles on to a webhook, as a consumer group that commits what was taken.

It reads the topic of the profiles, and not that of the updates: it has every update that is
published, and the null of an erased user behind them, in one order. Records of one partition are
sent one request after the other, each only once the one before was taken, and a position is
committed only behind what was taken. So a receiver may get a record again, misses none, and sees a
user's records in their order. What must be known at the next start stands beside the offset:
which topic it is of, and when that was.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass
from typing import Any, Final

from aiokafka import AIOKafkaConsumer, ConsumerRebalanceListener, TopicPartition
from aiokafka.errors import CommitFailedError, IllegalStateError
from aiokafka.structs import OffsetAndMetadata

from stream.clients.reader import update_of
from stream.clients.webhook import Webhook
from stream.config import Settings
from stream.contracts.webhook import Forwarded, body_of, id_of
from stream.kafka.consumer import commits, open_consumer, partitions_of
from stream.kafka.fence import MARKER
from stream.kafka.topic_identity import shapes

WAIT_MS: Final = 500
RECORDS: Final = 2_000
"""Records fetched at once, of all partitions."""

REFRESH_S: Final = 60.0
"""How often a position is committed again where nothing comes, so that its time is right."""

PATIENCE_MS: Final = 86_400_000
"""A receiver may be away for as long before the group takes us for stuck; we ask without end."""

LONGEST_AWAY_MS: Final = 3 * 86_400_000
"""Half of what the profiles keep a null for (`delete.retention.ms` 7 d), rounded down to days."""


@dataclass(frozen=True, slots=True)
class Route:
    """Says what is sent on, and from where."""

    group: str
    user: str | None = None
    from_beginning: bool = False  # of a group that has committed nothing
    most: int = 100  # records of a request
    limit: int | None = None  # records in all


class Forwarder:
    """Sends on what is published until it is cancelled, or a limit is reached."""

    def __init__(
        self, settings: Settings, route: Route, webhook: Webhook, tell: Callable[[str], None]
    ) -> None:
        """`tell` is called with what somebody who watches should know."""
        self._topic, self._settings = settings.profiles_topic, settings
        self._route, self._webhook, self._tell = route, webhook, tell
        self._key = None if route.user is None else route.user.encode()
        self._topic_id = ""
        self._taken: dict[TopicPartition, int] = {}  # the next offset, not committed yet
        self._moved = asyncio.Event()  # partitions move: what is in hand is not ours any more
        self._moved.set()
        self._failure: Exception | None = None  # aiokafka only logs what fails in a rebalance
        self.sent = self.foreign = 0

    async def run(self) -> None:
        """Sends on; raises BrokerError, TopicError, and ServiceError if the receiver refuses."""
        consumer = await open_consumer(
            self._settings,
            group_id=self._route.group,
            auto_offset_reset="earliest",  # where the log does not go on: nothing is skipped
            max_poll_interval_ms=PATIENCE_MS,
            session_timeout_ms=int(self._settings.session_timeout_s * 1000),
            heartbeat_interval_ms=int(self._settings.heartbeat_s * 1000),
        )
        try:
            await partitions_of(consumer, self._topic)
            self._topic_id = (await shapes(consumer, [self._topic]))[self._topic].topic_id
            consumer.subscribe([self._topic], listener=_Moves(self, consumer))
            await self._forward(consumer)
        finally:
            await self._end(consumer)

    async def _forward(self, consumer: AIOKafkaConsumer) -> None:
        loop = asyncio.get_running_loop()
        refreshed_s = loop.time()
        while not self._is_over():
            fetched = await consumer.getmany(timeout_ms=WAIT_MS, max_records=RECORDS)
            if self._failure is not None:
                raise self._failure
            if self._moved.is_set():
                continue  # what was fetched meanwhile is fetched again, from where `begin` seeks
            await self._commit(consumer)  # where a new group begins, before anything is sent
            for partition, records in fetched.items():
                if not await self._send(partition, records):
                    break
            if loop.time() - refreshed_s > REFRESH_S:
                refreshed_s = loop.time()
                for each in consumer.assignment():
                    self._taken.setdefault(each, await consumer.position(each))
            await self._commit(consumer)

    def _is_over(self) -> bool:
        return self._route.limit is not None and self.sent >= self._route.limit

    async def _send(self, partition: TopicPartition, records: Sequence[Any]) -> bool:
        """Sends records of a partition; returns False if partitions move, or a limit is reached."""
        for some, behind in self._portions(records):
            if self._moved.is_set() or self._is_over():
                return False
            if some:
                where = partition.topic, partition.partition, some
                if not await self._webhook.send(id_of(*where), body_of(*where), self._moved):
                    return False
                self.sent += len(some)
            self._taken[partition] = behind
        return True

    def _portions(self, records: Sequence[Any]) -> Iterator[tuple[list[Forwarded], int]]:
        """Yields records for one request each, and the offset behind them."""
        some: list[Forwarded] = []
        for record in records:
            found = self._read(record)
            if found is not None:
                some.append(found)
            if len(some) == self._most():
                yield some, record.offset + 1
                some = []
        yield some, records[-1].offset + 1

    def _most(self) -> int:
        limit = self._route.limit
        left = self._route.most if limit is None else limit - self.sent
        return max(1, min(self._route.most, left))

    def _read(self, record: Any) -> Forwarded | None:
        """Returns what is sent on of a record; None if it is not wanted, or no profile."""
        if self._key not in (None, record.key) or record.key == MARKER:
            return None  # a marker is no user's: workers write it where they take a partition over
        try:
            user = record.key.decode()
            sound = record.value is None or (update_of(record.value) or {})["user_id"] == user
        except (AttributeError, KeyError, UnicodeDecodeError):
            sound = False
        if not sound:
            self.foreign += 1
            if self.foreign == 1:
                where = f"{record.topic}[{record.partition}] offset {record.offset}"
                self._tell(f"left out, no profile: {where}; more are counted")
            return None
        return Forwarded(record.offset, user, record.value)

    # -- where the group is

    async def begin(self, consumer: AIOKafkaConsumer, assigned: set[TopicPartition]) -> None:
        """Seeks to where reading begins in each partition, and lets it begin."""
        try:
            found = await commits(consumer, assigned)
            starts = await self._starts(consumer, [each for each in assigned if each not in found])
            for each, committed in found.items():
                starts[each] = self._judged(committed)
            for each, offset in starts.items():
                consumer.seek(each, offset)
        except Exception as error:
            self._failure = error
        else:
            self._moved.clear()

    async def _starts(
        self, consumer: AIOKafkaConsumer, new: list[TopicPartition]
    ) -> dict[TopicPartition, int]:
        """Returns where to begin where the group has committed nothing, and notes to commit it.

        Else a restart before the first commit would begin later, and leave something out.
        """
        if not new:
            return {}
        all_of_it = self._route.from_beginning
        ask = consumer.beginning_offsets if all_of_it else consumer.end_offsets
        starts: dict[TopicPartition, int] = await ask(new)
        self._taken |= starts
        begins = "the beginning" if all_of_it else "now on"
        self._tell(f"group {self._route.group} is new: it sends from {begins}")
        return starts

    def _judged(self, committed: OffsetAndMetadata) -> int:
        """Returns where to go on, and says what the group may have missed since it committed."""
        topic_id, _, at_ms = committed.metadata.partition(" ")
        if not at_ms.isdecimal():  # another program has set it
            return int(committed.offset)
        away_ms = _now_ms() - int(at_ms)
        if topic_id and self._topic_id and topic_id != self._topic_id:
            self._tell(f"{self._topic} was deleted and created again: it sends from the beginning")
            return 0
        if away_ms > LONGEST_AWAY_MS:
            self._tell(
                f"group {self._route.group} was away for {away_ms // 86_400_000} days: erasures of "
                "that time may be gone from the topic. Empty the receiver, and begin with a new "
                "--group and --from-beginning"
            )
        return int(committed.offset)

    async def leave(self, consumer: AIOKafkaConsumer) -> None:
        """Lets go of what is in hand before partitions move, and commits what was taken."""
        self._moved.set()
        await self._webhook.settled()
        await self._commit(consumer)

    async def _commit(self, consumer: AIOKafkaConsumer) -> None:
        taken, self._taken = self._taken, {}
        mine, told = consumer.assignment(), f"{self._topic_id} {_now_ms()}"
        offsets = {each: OffsetAndMetadata(at, told) for each, at in taken.items() if each in mine}
        if offsets:
            # partitions that another member has by now are sent again by it
            with suppress(CommitFailedError, IllegalStateError):
                await consumer.commit(offsets)

    async def _end(self, consumer: AIOKafkaConsumer) -> None:
        """Commits what was taken, cancelled or not, and disconnects."""
        try:
            await self._commit(consumer)
        finally:
            await consumer.stop()


class _Moves(ConsumerRebalanceListener):  # type: ignore[misc]  # aiokafka carries no types
    """Tells a forwarder that partitions move."""

    def __init__(self, forwarder: Forwarder, consumer: AIOKafkaConsumer) -> None:
        self._forwarder, self._consumer = forwarder, consumer

    async def on_partitions_revoked(self, revoked: Any) -> None:
        """Lets go of all of them: what is fetched of those that stay is fetched again."""
        await self._forwarder.leave(self._consumer)

    async def on_partitions_assigned(self, assigned: Any) -> None:
        """Fixes where reading begins."""
        await self._forwarder.begin(self._consumer, set(assigned))


def _now_ms() -> int:
    return int(time.time() * 1000)

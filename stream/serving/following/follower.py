"""Reads the profiles and the updates into the store, for ever, and knows how old the answers are.

The profiles come first: until this process has read them up to the ends that they had at the start,
it answers nothing. Then both topics are followed. "As of" is the moment of the last look at the
ends of the profiles whose records are all in the store. A broker that is away makes no answer wrong
but older, so the service goes on and says how old.

A null is kept in a compacted topic for `delete.retention.ms` at least. Who was away for longer may
have missed one, and would answer for an erased user for ever. So after half of that, or where
the topic does not go on at the position, or is another one of the same name, all is read anew.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from typing import Any, Final, Protocol

from aiokafka import AIOKafkaConsumer, TopicPartition
from aiokafka.errors import KafkaError

from stream.config import Settings
from stream.errors import BrokerError, TopicError
from stream.kafka.client import admin_client, client_options
from stream.kafka.consumer import open_consumer, partitions_of, ranges_of
from stream.kafka.topic_identity import Shape, replaced, shapes
from stream.kafka.topics import describe
from stream.plain_text import told
from stream.serving.clock import now_ms
from stream.serving.following.fetching import (
    FETCH_BYTES,
    RECORDS,
    Batch,
    Fetching,
    is_past,
    place_of,
)
from stream.serving.store import (
    DAY_MS,
    HISTORY_MS,
    PRUNED_PARTS,
    Changes,
    Known,
    Place,
    Store,
)

log = logging.getLogger("interest_stream")

PACE_S: Final = 0.1
"""From one batch to the next, where records come without a pause.

Some pages of the file are written with every batch, however few records it has.
"""

LOOK_S: Final = 0.5
"""Between looks at the ends of the profiles."""

ANSWER_S: Final = 10.0
"""A broker that says nothing for longer is away."""

RETRY_S: Final = 2.0
IDENTITY_S: Final = 30.0
"""Between looks whether the topics are still the same ones."""

PRUNE_S: Final = 6 * 3_600.0
LEAST_RETENTION_MS: Final = DAY_MS
"""What is taken where the broker does not let us read `delete.retention.ms`: Kafka's default."""


@dataclass(frozen=True, slots=True)
class Start:
    """Says where reading begins."""

    positions: dict[Place, int]
    anew: str = ""  # why all is read anew; empty: it goes on


class ChangedError(Exception):
    """Says that the topics are not those any more which are being read."""


def where_to_begin(
    known: Known,
    ids: Mapping[str, Shape],
    begins: Mapping[Place, int],
    ends: Mapping[Place, int],
    longest_away_ms: int,
    now_ms: int,
) -> Start:
    """Returns where to go on in the profiles, or that all has to be read anew, and why. Pure."""
    positions = {each: known.positions.get(each, -1) for each in begins}
    reason = ""
    if not known.topic_ids and not known.as_of_ms:
        reason = "the store is empty"
    elif not known.as_of_ms:
        reason = "the first reading did not come to its end"
    elif gone := replaced(known.topic_ids, ids):
        reason = f"{', '.join(gone)} was deleted and created again"
    elif known.topic_ids.keys() != ids.keys():
        reason = "the store is of other topics"
    elif now_ms - known.as_of_ms > longest_away_ms:
        reason = "it was away for so long that it may have missed that users were erased"
    elif any(positions[each] < begins[each] for each in begins):
        reason = "the topic does not go on where the store ends"
    elif any(positions[each] > ends[each] for each in ends):
        reason = "the store is ahead of the topic"
    return Start(dict(begins), reason) if reason else Start(positions)


@dataclass(frozen=True, slots=True)
class Step:
    """Holds what a batch of records has done, once it is in the file."""

    changes: Changes = field(default_factory=Changes)
    positions: Mapping[Place, int] = field(default_factory=dict)  # those that moved
    profiles: int = 0  # records
    updates: int = 0


class Teller(Protocol):
    """Is told of each step, and when it is known anew how far the follower is."""

    async def __call__(self, follower: Follower, step: Step) -> None:
        """Tells others; the follower waits for it."""


class Follower:
    """Keeps a store up to date with the topics."""

    def __init__(self, settings: Settings, store: Store, tell: Teller) -> None:
        self._settings = settings
        self._store = store
        self._tell = tell
        self._fetching = Fetching(settings)
        self._writing = ThreadPoolExecutor(1, "store")
        self.ready = False
        self.history_ready = False
        self.as_of_ms = 0
        self._away = False
        self._positions: dict[Place, int] = {}
        self._updates_ends: dict[TopicPartition, int] = {}

    async def run(self) -> None:
        """Follows the topics until it is cancelled, whatever the broker does meanwhile."""
        while True:
            try:
                await self._follow()
            except ChangedError as change:
                log.warning("%s: reading the profiles again", change)
                self.ready = self.history_ready = False
                await self._tell(self, Step())
            except (KafkaError, BrokerError, TopicError, TimeoutError, OSError) as error:
                if not self._away:  # once: it is asked every few seconds
                    log.warning("profiles cannot be read now (%s); answers get older", told(error))
                self._away = True
                await asyncio.sleep(RETRY_S)

    def close(self) -> None:
        """Waits for what is being written."""
        self._writing.shutdown()

    async def _follow(self) -> None:
        settings = self._settings
        longest_ms = await self._retention_ms() // 2
        consumer = await open_consumer(
            settings,
            auto_offset_reset="none",
            max_poll_records=RECORDS,
            max_partition_fetch_bytes=FETCH_BYTES,
        )
        try:
            names = [settings.profiles_topic, settings.updates_topic]
            profiles, updates = [await partitions_of(consumer, name) for name in names]
            ids = await shapes(consumer, names)
            await self._read_profiles(consumer, profiles, ids, longest_ms)
            await self._seek_updates(consumer, profiles, updates)
            await self._keep_up(consumer, profiles, ids, longest_ms)
        finally:
            await consumer.stop()

    async def _retention_ms(self) -> int:
        """Returns for how long a null stays in the profiles at least."""
        options, name = client_options(self._settings), self._settings.profiles_topic
        try:
            async with admin_client(options.pop("bootstrap_servers"), **options) as admin:
                found = (await describe(admin, [name])).get(name)
        except TopicError:  # the right to read the settings is missing
            found = None
        if found is None:
            return LEAST_RETENTION_MS
        return int(found.settings.get("delete.retention.ms", LEAST_RETENTION_MS))

    async def _read_profiles(
        self,
        consumer: AIOKafkaConsumer,
        profiles: list[TopicPartition],
        ids: Mapping[str, Shape],
        longest_ms: int,
    ) -> None:
        """Reads the profiles up to the ends that they have now."""
        begun_ms = now_ms()
        ranges = await ranges_of(consumer, profiles)
        begins = {place_of(each): begin for each, (begin, _) in ranges.items()}
        ends = {place_of(each): end for each, (_, end) in ranges.items()}
        known = await self._in_thread(self._store.known)
        start = where_to_begin(known, ids, begins, ends, longest_ms, begun_ms)
        if start.anew:
            log.info("reading all profiles anew: %s", start.anew)
            self.ready = False
            await self._tell(self, Step())
            topic_ids = {name: shape.topic_id for name, shape in ids.items()}
            await self._in_thread(self._store.begin_anew, topic_ids, True)
            known = Known(topic_ids, {}, 0)
        self._positions = {**known.positions, **start.positions}
        await self._tell(self, Step(positions=self._positions))

        # only now may what is read count as of this moment: nulls were there, or come behind it
        consumer.assign(profiles)
        for each in profiles:
            consumer.seek(each, start.positions[place_of(each)])
        goal = {each: ends[place_of(each)] for each in profiles}
        await self._load(consumer, goal, begun_ms + longest_ms)
        await self._in_thread(self._store.finish_loading)
        # of partitions without a record, too: the next start goes on there
        places = {each: self._positions[each] for each in begins}
        await self._take(Batch(positions=places), begun_ms)
        self.as_of_ms = begun_ms
        if self._away:
            log.warning("profiles are read again")
        self._away = False
        if not self.ready:
            self.ready = True
            log.info("ready: the profiles are read")
        await self._tell(self, Step())

    async def _load(
        self, consumer: AIOKafkaConsumer, goal: Mapping[TopicPartition, int], until_ms: int
    ) -> None:
        """Reads large batches up to these ends, each while the one before is written."""
        writing: asyncio.Task[None] | None = None
        try:
            while not await is_past(consumer, goal):
                batch = await self._fetching.bulk(consumer, goal)
                if writing is not None:
                    await writing
                writing = asyncio.create_task(self._take(batch))
                if now_ms() > until_ms:
                    raise ChangedError("reading took longer than nulls are kept")
        finally:
            if writing is not None:
                await writing

    async def _seek_updates(
        self,
        consumer: AIOKafkaConsumer,
        profiles: list[TopicPartition],
        updates: list[TopicPartition],
    ) -> None:
        """Adds the updates to what is read, from where histories go on or begin."""
        since_ms = now_ms() - HISTORY_MS
        ranges = await ranges_of(consumer, updates)
        found = await consumer.offsets_for_times(dict.fromkeys(updates, since_ms))
        places = {}
        for each, (begin, end) in ranges.items():
            first = end if found.get(each) is None else max(begin, found[each].offset)
            known = self._positions.get(place_of(each), first)
            places[each] = known if first <= known <= end else first
        at = {each: await consumer.position(each) for each in profiles}
        consumer.assign([*profiles, *updates])
        for each, offset in {**at, **places}.items():
            consumer.seek(each, offset)
            self._positions[place_of(each)] = offset
        await self._tell(self, Step(positions=self._positions))
        self._updates_ends = {each: end for each, (_, end) in ranges.items()}

    async def _keep_up(
        self,
        consumer: AIOKafkaConsumer,
        profiles: list[TopicPartition],
        ids: Mapping[str, Shape],
        longest_ms: int,
    ) -> None:
        """Follows both topics, and looks at the ends of the profiles twice a second."""
        loop = asyncio.get_running_loop()
        looked = identified = pruned = loop.time()
        parts: list[int] = []  # of the store that are to be pruned
        goal: tuple[int, dict[TopicPartition, int]] | None = None
        while True:
            await self._go_on(consumer, profiles)
            if goal is not None and await is_past(consumer, goal[1]):
                self.as_of_ms, goal = goal[0], None
                await self._tell(self, Step())
            if not self.history_ready and await is_past(consumer, self._updates_ends):
                self.history_ready, parts, pruned = True, [*range(PRUNED_PARTS)], loop.time()
                await self._tell(self, Step())
            if parts:
                await self._in_thread(self._store.prune, now_ms(), parts.pop(0))
            if goal is None and loop.time() - looked > LOOK_S:
                looked, asked_ms = loop.time(), now_ms()
                async with asyncio.timeout(ANSWER_S):
                    goal = asked_ms, await consumer.end_offsets(profiles)
            if loop.time() - identified > IDENTITY_S:
                identified = loop.time()
                await self._ensure_same(consumer, ids)
                await self._take(Batch(), self.as_of_ms)
            if now_ms() - self.as_of_ms > longest_ms:
                raise ChangedError("nulls may have been missed")
            if loop.time() - pruned > PRUNE_S:
                parts, pruned = [*range(PRUNED_PARTS)], loop.time()

    async def _go_on(self, consumer: AIOKafkaConsumer, profiles: list[TopicPartition]) -> None:
        """Takes what has come, after a moment if need be."""
        loop = asyncio.get_running_loop()
        begun = loop.time()
        if not self.history_ready:  # a week of updates must not hold up the profiles
            await self._take(await self._fetching.some(consumer, profiles, 0))
        batch = await self._fetching.some(consumer)
        await self._take(batch)
        if batch.positions:
            await asyncio.sleep(max(0.0, begun + PACE_S - loop.time()))

    async def _ensure_same(self, consumer: AIOKafkaConsumer, ids: Mapping[str, Shape]) -> None:
        """Raises ChangedError if a topic is another one by now, or has more partitions."""
        async with asyncio.timeout(ANSWER_S):
            now = await shapes(consumer, ids)
        if gone := replaced({name: shape.topic_id for name, shape in ids.items()}, now):
            raise ChangedError(f"{', '.join(gone)} was deleted and created again")
        if any(now[name].partitions != ids[name].partitions for name in now):
            raise ChangedError("a topic has more partitions now")

    async def _take(self, batch: Batch, as_of_ms: int | None = None) -> None:
        """Stores a batch, and tells of it; as_of_ms: that of the store from now on."""
        if not batch.positions and as_of_ms is None:
            return
        changes: Changes = await self._in_thread(
            self._store.apply,
            batch.profiles,
            batch.updates,
            batch.positions,
            as_of_ms or self.as_of_ms or None,
        )
        self._positions.update(batch.positions)
        sizes = len(batch.profiles), len(batch.updates)
        await self._tell(self, Step(changes, batch.positions, *sizes))

    async def _in_thread(self, work: Any, *arguments: Any) -> Any:
        return await asyncio.get_running_loop().run_in_executor(self._writing, work, *arguments)

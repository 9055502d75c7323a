"""Runs aiokafka's consumer in Faust's thread: committed data, a short wait, an eye on the group.

It overrides private methods of Faust and sets private fields of aiokafka; each says why. The
contract test tests/unit/stream/kafka/test_library_internals.py fails first when one of them
changes.
"""

from __future__ import annotations

import asyncio
import time
from collections import deque
from collections.abc import Callable, Mapping
from contextlib import suppress
from typing import TYPE_CHECKING, Any, Final, cast

from aiokafka import AIOKafkaConsumer
from aiokafka.errors import IllegalStateError
from aiokafka.structs import OffsetAndMetadata, TopicPartition
from faust.transport.drivers import aiokafka as driver
from faust.types import TP

from stream.config import Settings
from stream.config.marks import mark_of
from stream.errors import BrokerError, TopicError
from stream.kafka.client import heed_group_errors
from stream.kafka.consumer import new_consumer
from stream.kafka.host import ConsumerHooks
from stream.kafka.membership import Membership
from stream.kafka.topic_identity import Shape, difference, remember, shapes, watched

if TYPE_CHECKING:
    from faust.transport.consumer import ThreadDelegateConsumer


WATCH_S: Final = 2.0
"""Between looks at the topics themselves."""

POSITION_S: Final = 0.2
"""Longest wait for positions that are being asked for."""

GATHER_S: Final = 0.03
"""How long a broker gathers events before it answers a fetch, while they come steadily.

A pass through the worker costs some twenty milliseconds of a core whatever it is given, so that
passes of a few events each would take a whole core at a rate of which it can do twenty times as
much, and every event would wait for two of them.
"""

GATHERED_PASSES: Final = 1.5
"""Of the last passes' time is gathered at least, so that the model rests a third of the time."""

LATELY_S: Final = 0.25
"""How far back one looks for whether events come steadily."""

STEADY_RATE: Final = 50.0
"""Events a second that say so. An event that comes alone is answered at once."""

BACKLOG: Final = 1_000
"""Records of a fetch which say that more are there already, so that nothing is waited for."""


class Gathering:
    """Decides how long the next fetch may wait for more events."""

    def __init__(self, settings: Settings, pass_s: Callable[[], float]) -> None:
        self._settings, self._pass_s = settings, pass_s
        self._came: deque[tuple[float, int]] = deque()  # moments, and how many came at each

    def after(self, count: int, now_s: float) -> tuple[int, int]:
        """Returns bytes to wait for, and milliseconds at most, after a fetch of `count` records.

        now_s: moment of a clock that never goes back.
        """
        longest_ms = self._settings.fetch_max_wait_ms
        if count >= BACKLOG or self._rate(count, now_s) < STEADY_RATE:
            return 1, longest_ms
        gather_s = max(GATHER_S, GATHERED_PASSES * self._pass_s())
        return self._settings.fetch_max_bytes, min(_ms(gather_s), longest_ms)

    def _rate(self, count: int, now_s: float) -> float:
        """Returns the events a second lately, now that so many more came."""
        self._came.append((now_s, count))
        while self._came[0][0] < now_s - LATELY_S:
            self._came.popleft()
        return sum(came for _, came in self._came) / LATELY_S


def _ms(seconds: float | None) -> int:
    return round((seconds or 0.0) * 1_000)


def ask_again(consumer: AIOKafkaConsumer, now: Mapping[str, Shape]) -> None:
    """Has aiokafka ask for the topics again, if it has not heard of one that is there.

    A broker may not know yet of a topic that was just made, or may be read, when the group is
    joined. The leader then gives its partitions to nobody, and would look again after five minutes.
    """
    client = consumer._client  # aiokafka's, which has no public name
    for name in consumer.subscription() & now.keys():
        known = client.cluster.partitions_for_topic(name) or ()
        if len(known) < now[name].partitions:
            client.force_metadata_update()
            return


class HookedTransport(driver.Transport):
    """Gives the hooks of a worker to the consumer and the producer that Faust makes."""

    hooks: ConsumerHooks


class ConsumerThread(driver.AIOKafkaConsumerThread):
    """Serves one worker's consumer, and knows what the group last answered about it."""

    def __init__(self, consumer: ThreadDelegateConsumer, **options: Any) -> None:
        super().__init__(consumer, **options)
        hooks = cast(HookedTransport, self.transport).hooks
        host = hooks.host
        self._settings = host.settings
        self._gathering = Gathering(host.settings, hooks.pass_s)
        self.membership = Membership(host.settings, host.fail, host.failpoint)
        self._fail = host.fail
        # of each partition in the last fetch: where its next record can be
        self.after: dict[TP, int] = {}
        self._shapes: dict[str, Shape] = {}  # of the topics that this worker reads and writes
        self._watching: asyncio.Task[None] | None = None

    def _create_worker_consumer(self, transport: driver.Transport) -> AIOKafkaConsumer:
        # Faust has no settings for the wait of a fetch (aiokafka's half a second would be the
        # latency of an update), for what is read, and for most of the connection: so the consumer
        # is made where all others are, with what Faust would have given it
        conf = self.app.conf
        return new_consumer(
            self._settings,
            group_id=conf.id,
            group_instance_id=conf.consumer_group_instance_id,
            client_id=conf.broker_client_id,
            partition_assignment_strategy=[self.app.assignor],
            auto_offset_reset=conf.consumer_auto_offset_reset,
            max_poll_records=conf.broker_max_poll_records,
            max_poll_interval_ms=_ms(conf.broker_max_poll_interval),
            max_partition_fetch_bytes=conf.consumer_max_fetch_size,
            fetch_max_wait_ms=self._settings.fetch_max_wait_ms,
            request_timeout_ms=_ms(conf.broker_request_timeout),
            session_timeout_ms=_ms(conf.broker_session_timeout),
            rebalance_timeout_ms=_ms(conf.broker_rebalance_timeout),
            heartbeat_interval_ms=_ms(conf.broker_heartbeat_interval),
        )

    async def on_start(self) -> None:
        await super().on_start()
        # aiokafka's consumer and its coordinator have no public names; the membership needs both
        consumer = self._ensure_consumer()
        heed_group_errors(consumer)
        self.membership.watch(consumer._coordinator)
        self._shapes = await shapes(consumer, watched(self._settings))
        self._remember_topics(consumer)
        self._watching = asyncio.create_task(self._watch_topics(consumer))

    async def on_thread_stop(self) -> None:
        if self._watching is not None:
            self._watching.cancel()
        await super().on_thread_stop()

    def _remember_topics(self, consumer: AIOKafkaConsumer) -> None:
        """Commits every offset with the ids of its topics, and with how their events are read."""
        # Faust writes no metadata, and has no hook for it
        commit, mark = consumer.commit, mark_of(self._settings)
        metadata = remember(self._settings, self._shapes, mark)

        async def commit_with_ids(offsets: dict[TopicPartition, OffsetAndMetadata]) -> None:
            await commit(
                {place: OffsetAndMetadata(each.offset, metadata) for place, each in offsets.items()}
            )

        consumer.commit = commit_with_ids

    async def _watch_topics(self, consumer: AIOKafkaConsumer) -> None:
        """Ends the worker when a topic is not the one that it started with, or has grown."""
        before: str | None = None
        while True:
            await asyncio.sleep(WATCH_S)
            with suppress(BrokerError):  # nobody answers now
                now = await shapes(consumer, watched(self._settings))
                ask_again(consumer, now)
                reason = difference(self._settings, self._shapes, now)
                # a broker may be the last to know, so it must be seen twice
                if reason is not None and before is not None:
                    self._fail(TopicError(reason))
                    return
                before = reason

    def close(self) -> None:
        """Does nothing, because this thread stops its consumer itself.

        Stock, when a rebalance comes while the app stops, closes the connections from the app's
        thread, in the midst of leaving the group
        (docs/understand/upstream/connections-closed-by-another-thread.md).
        """

    def _stopped_set(self) -> None:
        # mode sets an event in the loop of the thread; that of a thread that has crashed is closed
        with suppress(RuntimeError):
            super()._stopped_set()

    async def _fetch_records(
        self,
        consumer: AIOKafkaConsumer,
        active_partitions: set[TP],
        timeout: float | None = None,  # noqa: ASYNC109 the signature is Faust's
        max_records: int | None = None,
    ) -> Any:
        # where the next record can be is known to this thread alone, and only until the next fetch
        fetched = await super()._fetch_records(consumer, active_partitions, timeout, max_records)
        came = sum(map(len, fetched.values()))
        # aiokafka reads both fields for each request; it has no other way to change them
        fetcher = consumer._fetcher
        waits = self._gathering.after(came, time.monotonic())
        fetcher._fetch_min_bytes, fetcher._fetch_max_wait_ms = waits
        self.after = {}
        for tp in fetched:
            # a partition that was taken away has none, and its batch will be handed back
            with suppress(IllegalStateError):
                self.after[tp] = await consumer.position(tp)
        return fetched

    async def positions(self, partitions: set[TP]) -> dict[TP, int]:
        """Returns where the next record of each partition can be, of those that are known now."""
        found: dict[TP, int] = await self.call_thread(self._positions, partitions)
        return found

    async def _positions(self, partitions: set[TP]) -> dict[TP, int]:
        consumer = self._ensure_consumer()
        known = {}
        # unknown while a rebalance goes on, or while the broker is asked where the log begins
        with suppress(IllegalStateError, TimeoutError):
            async with asyncio.timeout(POSITION_S):
                for tp in partitions:
                    known[tp] = await consumer.position(TopicPartition(tp.topic, tp.partition))
        return known

    async def hand_back(self, tp: TP, first: int, after: int) -> None:
        """Reads from `first` on again, unless somebody has sought elsewhere since.

        `after` is where the next record could be when that was decided: behind the markers and
        aborted data that follow a batch.
        """
        await self.call_thread(self._seek_back, tp, first, after)

    async def _seek_back(self, tp: TP, first: int, after: int) -> None:
        consumer = self._ensure_consumer()  # aiokafka's, which Faust gives out by no public name
        partition = TopicPartition(tp.topic, tp.partition)
        if partition in consumer.assignment() and await consumer.position(partition) == after:
            consumer.seek(partition, first)

"""Does the work in the order that makes the delivery promise true (hop 7).

Of each partition: publish dead letters and updates, await their acknowledgements; write states to
the changelog, await theirs; acknowledge. Publishing is strictly first in, first out, while the next
batch is computed and packed. Any failure stops the worker, and then nothing more is committed
(docs/understand/delivery.md).
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable, Mapping, Sequence
from concurrent.futures import Executor
from dataclasses import dataclass, field
from typing import Any, Final, cast

from faust.types import TP, EventT

from stream.contracts.dead_letter import dead_letter
from stream.errors import FencedError, PublishError
from stream.kafka.batch_consumer import CONFIRMATION_S
from stream.kafka.host import Acknowledgement, Clients, Group, Host
from stream.kafka.producer import acknowledged
from stream.kafka.publishing import Publishing
from stream.kafka.record_batches import Record, Section
from stream.pipeline.scoring import Outcome
from stream.policies.breaker import DeadLetterBreaker
from stream.policies.publish_policy import PublishPolicy, Released, UpdateFilter
from stream.policies.score_budget import LEVELS

MOST_OFTEN_S: Final = 0.5
"""Between looks whether something withheld is due."""

Read = set[tuple[TP, int | None]]
"""Partitions, each with the generation of the group in which it was read."""


@dataclass(frozen=True, slots=True)
class Portion:
    """Holds what one partition has in a job."""

    partition: int
    events: list[EventT[Any]]  # its fetched batches, in the order they came
    outcome: Outcome

    @property
    def records(self) -> list[Any]:
        """Returns all fetched records, in log order."""
        return [record for event in self.events for record in cast(list[Any], event.value)]


@dataclass(frozen=True, slots=True)
class Packed:
    """Holds what a portion leads to, as Kafka will store it."""

    updates: list[Section]
    profiles: list[Section]  # the same, and a null value for each profile that goes
    states: list[Section]
    published: int  # updates
    withheld: int


@dataclass(frozen=True, slots=True)
class Job:
    """Holds computed batches, or updates that were withheld, on their way to being durable."""

    portions: list[Portion]
    read: Read  # what it writes for
    packed: Awaitable[list[Packed]]  # of each portion; made while the job before is published
    over: asyncio.Event = field(default_factory=asyncio.Event)


class Delivery:
    """Makes jobs durable, one after the other, and stops the worker at the first failure."""

    def __init__(
        self,
        host: Host,
        clients: Clients,
        write: Callable[[Outcome], None],
        packing: Executor,
        encode: Callable[[bytes], bytes] | None = None,
    ) -> None:
        self._host = host
        self.clients = clients
        self._write = write  # fills in an outcome's updates and states
        self._packing = packing  # one thread, so that jobs are packed in order
        self.settings = settings = host.settings
        self._publishing = Publishing(settings.compression, encode)
        self._breaker = DeadLetterBreaker(settings.max_consecutive_dead_letters)
        self._filter = UpdateFilter(
            PublishPolicy(settings.publish, settings.publish_threshold, settings.publish_interval_s)
        )
        self._jobs: asyncio.Queue[Job] = asyncio.Queue(maxsize=1)
        self._queueing = asyncio.Lock()  # jobs are packed in the order in which they are published
        self.failed = False

    @property
    def group(self) -> Group:
        """Returns the consumer group as this worker sees it."""
        return self.clients.group()

    def stop(self, error: Exception) -> None:
        """Stops the worker because of an error; nothing more is published."""
        self.failed = True
        self._host.fail(error)

    # -- what is to be delivered

    async def submit(self, portions: list[Portion], read: Read, now_ms: int) -> asyncio.Event:
        """Queues computed batches, while at most one job waits; returns what is set in the end."""
        run = asyncio.get_running_loop().run_in_executor
        outcomes = [each.outcome for each in portions]
        async with self._queueing:
            self._host.metrics.inflight.inc()
            job = Job(portions, read, run(self._packing, self._pack, outcomes, now_ms))
            await self._jobs.put(job)
        return job.over

    async def release_withheld(self) -> None:
        """Publishes all that is withheld: the worker stops, or its partitions go to another one."""
        if self.settings.publish == "interval" and not self.failed:
            await self._release(everything=True)

    async def release_forever(self) -> None:
        """Publishes what was withheld for an interval, at most a tenth of it late."""
        settings = self.settings
        while settings.publish == "interval" and not self.failed:
            await asyncio.sleep(max(MOST_OFTEN_S, settings.publish_interval_s / 10))
            if self.group.flowing:
                await self._release(everything=False)

    async def _release(self, *, everything: bool) -> None:
        run, now_ms = asyncio.get_running_loop().run_in_executor, int(time.time() * 1000)
        topic, group = self.settings.source_topic, self.group
        async with self._queueing:
            found = await run(self._packing, self._filter.release, now_ms, everything)
            portions = [Portion(partition, [], Outcome()) for partition in found]
            read: Read = {(TP(topic, each), group.generation) for each in found}
            packed = run(self._packing, self._pack_released, list(found.values()), now_ms)
            job = Job(portions, read, packed)
            self._host.metrics.inflight.inc()
            await self._jobs.put(job)
        await job.over.wait()

    def _pack(self, outcomes: Sequence[Outcome], now_ms: int) -> list[Packed]:
        """Writes updates and states as Kafka will store them; runs in the packing thread."""
        packed = []
        for outcome in outcomes:
            scored = outcome.scored
            self._write(outcome)
            users, updates = self._filter.select(scored, outcome.updates, now_ms)
            sections, profiles, count = self._publishing.both(users, updates, now_ms)
            states = self._publishing.sections(outcome.users, outcome.states, now_ms)
            withheld = len(outcome.updates) - len(updates)
            packed.append(Packed(sections, profiles, states, count, withheld))
        return packed

    def _pack_released(self, released: Sequence[Released], now_ms: int) -> list[Packed]:
        packed = [self._publishing.both(*each, now_ms) for each in released]
        return [Packed(updates, profiles, [], count, 0) for updates, profiles, count in packed]

    # -- delivering it

    async def run(self) -> None:
        """Makes jobs durable, strictly in order, until a failure; it runs next to the agent."""
        patience_s = self.settings.publish_timeout_s
        while not self.failed:
            job = await self._jobs.get()
            try:
                # not wait_for: that one swallows a cancellation which comes as the work ends
                async with asyncio.timeout(patience_s):
                    await self.publish(job)
            except asyncio.CancelledError:
                raise
            except TimeoutError:
                late = (
                    f"were not acknowledged within {patience_s:.0f} s, or the group did not confirm"
                )
                text = f"updates and states of a batch {late} that its partition is ours"
                self.stop(PublishError(f"{text}; nothing was committed"))
            except Exception as error:
                self.stop(error)
            finally:
                job.over.set()

    async def publish(self, job: Job) -> None:
        """Publishes updates, writes states and acknowledges, each after the one before."""
        started, failpoint = time.perf_counter(), self._host.failpoint
        for portion in job.portions:
            self._breaker.check(portion.partition, portion.records, portion.outcome.rejects)
        failpoint("computed")

        # 7a: updates and dead letters, as long as the partitions are ours
        ready = list(zip(job.portions, await job.packed, strict=True))
        await self.ensure_owner(job)
        failpoint("before_updates")
        await asyncio.gather(*(self._write_updates(each, packed) for each, packed in ready))
        failpoint("after_updates")

        # 7b: states; memory may be ahead of the changelog, and the changelog never of the updates
        await self.ensure_owner(job)
        await asyncio.gather(
            *(self.write_states(each.partition, packed.states) for each, packed in ready)
        )
        failpoint("after_states")

        # 7c: only now may the offsets be committed
        for portion in job.portions:
            for event in portion.events:
                self.group.applied(event.message.tp, event.message.offset)
                event.ack()
        self._measure(job, ready, started)

    async def ensure_owner(self, job: Job) -> None:
        """Waits until the group has confirmed this worker lately; raises FencedError.

        It takes a while when a broker restarts.
        """
        while job.read:
            for tp, generation in job.read:
                if (reason := self.group.why_not_owner(tp, generation)) is not None:
                    raise FencedError(
                        f"{tp.topic}[{tp.partition}] is not ours any more: {reason}; "
                        "nothing was written"
                    )
            if self.group.confirmed():
                return
            await asyncio.sleep(CONFIRMATION_S)

    async def _write_updates(self, portion: Portion, packed: Packed) -> None:
        send, partition, settings = self.clients.writer(), portion.partition, self.settings
        letters, topic = self._dead_letters(portion), settings.dead_letters_topic
        sending: dict[str, Awaitable[list[Acknowledgement]]] = {}
        if letters:  # their topic may have any number of partitions
            places = await send.partitions_of(topic)
            place = places[partition % len(places)]
            sending[topic] = send.send_records(topic, place, letters)
        both = {settings.updates_topic: packed.updates, settings.profiles_topic: packed.profiles}
        for topic, sections in both.items():
            sending[topic] = send.send_sections(topic, partition, sections)
        await self.deliver(sending, partition, "dead_letters_sent" if letters else "updates_sent")

    async def write_states(self, partition: int, states: list[Section]) -> None:
        """Writes states to the changelog and waits until they are acknowledged."""
        changelog = self.settings.changelog_topic
        sent = self.clients.writer().send_sections(changelog, partition, states)
        last = await self.deliver({changelog: sent}, partition, "states_sent")
        if changelog in last:
            place = TP(changelog, partition)
            self.clients.changelog().set_persisted_offset(place, last[changelog])

    async def deliver(
        self,
        sending: Mapping[str, Awaitable[list[Acknowledgement]]],
        partition: int,
        sent_point: str,
    ) -> dict[str, int]:
        """Sends to all topics side by side and returns the last offset written of each.

        Raises PublishError, FencedError.
        """
        sent = await asyncio.gather(*sending.values())
        self._host.failpoint(sent_point)
        last: dict[str, int] = {}
        for topic, queued in zip(sending, sent, strict=True):
            for each in queued:
                last[topic] = await acknowledged(topic, partition, each)
        return last

    def _dead_letters(self, portion: Portion) -> list[Record]:
        if not portion.outcome.rejects:
            return []
        by_offset = {record.offset: record for record in portion.records}
        place, now_ms = portion.events[0].message.tp, int(time.time() * 1000)
        return [
            dead_letter(*place, reject.record or by_offset[reject.offset], reject, now_ms)
            for reject in portion.outcome.rejects
        ]

    def _measure(self, job: Job, ready: list[tuple[Portion, Packed]], started: float) -> None:
        metrics = self._host.metrics
        for _, packed in ready:
            metrics.updates.inc(packed.published)
            metrics.withheld.inc(packed.withheld)
        metrics.inflight.dec()
        if fetched := [event for portion in job.portions for event in portion.events]:
            metrics.publish.observe(time.perf_counter() - started)
            metrics.observe_outcomes([portion.outcome for portion in job.portions], LEVELS)
            for event in fetched:
                metrics.end_to_end.observe(max(0.0, time.time() - event.message.timestamp))

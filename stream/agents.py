"""Hop 7. The order of work that makes the delivery promise true (DESIGN.md section 5).

The batches that wait are computed together, whatever their partitions. Then, of each partition: publish dead letters and updates, await
their acknowledgements; write states to the changelog, await theirs; acknowledge. What follows may be computed meanwhile; publishing
is strictly first in, first out. Any failure stops the worker, and then nothing more is committed.
"""

from __future__ import annotations

import asyncio
import sys
import time
from collections.abc import AsyncIterable, Awaitable, Callable, Mapping, Sequence
from concurrent.futures import Executor
from dataclasses import dataclass, field
from typing import Any, Final, cast

from aiokafka.errors import ProducerFenced
from faust.types import TP, EventT

from models.predict import ModelInfo
from stream.budget import LEVELS
from stream.config import Settings
from stream.dead_letters import DeadLetterBreaker, dead_letter
from stream.errors import FencedError, PublishError, refused_write
from stream.events import Decoder, EventBatch, joined
from stream.inbox import Arrival, Inbox
from stream.metrics import Metrics
from stream.publishing import Publishing, PublishPolicy
from stream.record_batches import Record, Section, pack
from stream.scoring import Outcome, Scoring
from stream.table import ArenaStore
from stream.transport import CONFIRMATION_S, Consumer, Delivery, Producer

FEW_EVENTS: Final = 1_000
"""Of a model call: up to here what counts is latency."""

TURNS_S: Final = (0.0005, 0.005)
"""Longest turn of a Python thread in calls of few events and of many. Short ones let the loop and the model's many small operations come
in sooner (p50 at 4,000 events/s: 68 ms instead of 113), long ones cost fewer switches (33,000 events/s instead of 28,700)."""

MOST_OFTEN_S: Final = 0.5
"""Between looks whether something withheld is due."""


@dataclass(frozen=True, slots=True)
class Packed:
    """What a batch leads to, as Kafka will store it."""

    updates: list[Section]
    states: list[Section]
    published: int  # updates
    withheld: int


@dataclass(frozen=True, slots=True)
class Portion:
    """What one partition has in a job."""

    partition: int
    events: list[EventT[Any]]  # its fetched batches, in the order they came
    outcome: Outcome

    @property
    def records(self) -> list[Any]:
        """All fetched records, in log order."""
        return [record for event in self.events for record in cast(list[Any], event.value)]


@dataclass(frozen=True, slots=True)
class Job:
    """Computed batches, or updates that were withheld, on their way to being durable."""

    portions: list[Portion]
    read: set[tuple[TP, int | None]]  # partitions that it writes for, and the generations they were read in
    packed: Awaitable[list[Packed]]  # of each portion; made while the job before is being published
    over: asyncio.Event = field(default_factory=asyncio.Event)


class Pipeline:
    """Takes batches from the agent, keeps at most a few jobs in flight, publishes them in order."""

    def __init__(
        self,
        settings: Settings,
        scoring: Scoring,
        decoder: Decoder,
        store: Callable[[], ArenaStore],
        consumer: Callable[[], Consumer],
        producer: Callable[[], Producer],
        executor: Executor,
        beside: Executor,
        metrics: Metrics,
        fail: Callable[[Exception], None],
        failpoint: Callable[[str], None] = lambda name: None,
    ) -> None:
        self._settings = settings
        self._scoring = scoring
        self._decoder = decoder
        self._store = store
        self._consumer = consumer
        self._producer = producer
        self._executor = executor  # one thread: calls of the model in their order
        self._beside = beside  # one thread: decoding before, packing after
        self._metrics = metrics
        self._fail = fail
        self._failpoint = failpoint
        self._breaker = DeadLetterBreaker(settings.max_consecutive_dead_letters)
        self.inbox = Inbox(settings.max_batch_events, self._decoding)
        # with one publishing and one computing: three in flight
        self._jobs: asyncio.Queue[Job] = asyncio.Queue(maxsize=1)
        self._queueing = asyncio.Lock()  # jobs are packed in the order in which they are published
        self._publishing = Publishing(
            PublishPolicy(settings.publish, settings.publish_threshold, settings.publish_interval_s)
        )
        self._failed = False

    @property
    def model_info(self) -> ModelInfo:
        """The model in use."""
        return self._scoring.predictor.info

    async def consume(self, stream: AsyncIterable[EventT[Any]]) -> None:
        """The agent's body: batches go into the inbox."""
        async for event in stream:
            if self._failed:
                return
            await self.inbox.put(event)

    async def compute_forever(self) -> None:
        """Run beside the agent: what waits in the inbox goes through the model thread."""
        while not self._failed:
            arrivals = [each for each in await self.inbox.take() if self._still_wanted(each.event)]
            if not arrivals:
                continue
            try:
                await self._compute(arrivals)
            except asyncio.CancelledError:
                raise
            except Exception as error:
                self._stop(error)

    async def publish_forever(self) -> None:
        """Run beside the agent: make computed batches durable, strictly in order."""
        while not self._failed:
            job = await self._jobs.get()
            try:
                # not wait_for: that one swallows a cancellation which comes as the work ends
                async with asyncio.timeout(self._settings.publish_timeout_s):
                    await self._publish(job)
            except asyncio.CancelledError:
                raise
            except TimeoutError:
                seconds = self._settings.publish_timeout_s
                self._stop(
                    PublishError(
                        f"updates and states of a batch were not acknowledged within {seconds:.0f} s, or the group did not confirm "
                        "that its partition is ours; nothing was committed"
                    )
                )
            except Exception as error:
                self._stop(error)
            finally:
                job.over.set()

    async def release_forever(self) -> None:
        """Run beside the agent: publish what was withheld for an interval, at most a tenth of it late."""
        while self._settings.publish == "interval" and not self._failed:
            await asyncio.sleep(max(MOST_OFTEN_S, self._settings.publish_interval_s / 10))
            if self._consumer().flowing:
                await self._release(everything=False)

    async def release_withheld(self) -> None:
        """Publish all that is withheld: the worker stops, or its partitions go to another one."""
        if self._settings.publish == "interval" and not self._failed:
            await self._release(everything=True)

    async def _release(self, *, everything: bool) -> None:
        run, now_ms = asyncio.get_running_loop().run_in_executor, int(time.time() * 1000)
        consumer, topic = self._consumer(), self._settings.source_topic
        async with self._queueing:
            found = await run(self._beside, self._publishing.release, now_ms, everything)
            portions = [Portion(partition, [], Outcome()) for partition in found]
            read: set[tuple[TP, int | None]] = {(TP(topic, each), consumer.generation) for each in found}
            job = Job(portions, read, run(self._beside, self._pack_released, list(found.values()), now_ms))
            self._metrics.inflight.inc()
            await self._jobs.put(job)
        await job.over.wait()

    def _still_wanted(self, event: EventT[Any]) -> bool:
        """As Faust's stream does: what a rebalance or the end has overtaken is dropped, and read again by its next owner."""
        wanted = self._consumer().flows(event.message.generation_id)
        if not wanted:
            event.ack()
        return wanted

    def _decoding(self, event: EventT[Any]) -> Awaitable[EventBatch]:
        return asyncio.get_running_loop().run_in_executor(self._beside, self._decode, event)

    def _decode(self, event: EventT[Any]) -> EventBatch:
        batch = self._decoder.decode(event.message.topic, event.message.partition, cast(list[Any], event.value))
        self._failpoint("decoded")
        return batch

    async def _compute(self, arrivals: Sequence[Arrival]) -> None:
        started, now_ms = time.perf_counter(), int(time.time() * 1000)
        sys.setswitchinterval(TURNS_S[sum(len(each.event.value) for each in arrivals) > FEW_EVENTS])
        events: dict[int, list[EventT[Any]]] = {}
        decoded: dict[int, list[EventBatch]] = {}
        for each in arrivals:
            events.setdefault(each.event.message.partition, []).append(each.event)
            decoded.setdefault(each.event.message.partition, []).append(await each.decoded)
        run = asyncio.get_running_loop().run_in_executor
        outcomes = await run(self._executor, self._score, [joined(batches) for batches in decoded.values()], now_ms)
        self._metrics.compute.observe(time.perf_counter() - started)
        portions = [
            Portion(partition, events[partition], outcome) for partition, outcome in zip(events, outcomes, strict=True)
        ]
        read = {(each.event.message.tp, each.event.message.generation_id) for each in arrivals}
        async with self._queueing:
            self._metrics.inflight.inc()
            await self._jobs.put(Job(portions, read, run(self._beside, self._pack, outcomes, now_ms)))

    def _score(self, batches: Sequence[EventBatch], now_ms: int) -> list[Outcome]:
        """In the model thread."""
        store = self._store()
        return self._scoring.score([(batch, store.arena(batch.partition)) for batch in batches], now_ms)

    def _pack(self, outcomes: Sequence[Outcome], now_ms: int) -> list[Packed]:
        """Beside the model thread."""
        compression, packed = self._settings.compression, []
        for outcome in outcomes:
            scored = outcome.scored
            self._scoring.write(outcome)
            users, updates = self._publishing.choose(scored, outcome.updates, now_ms)
            packed.append(
                Packed(
                    list(pack(users, updates, now_ms, compression)),
                    list(pack(outcome.users, outcome.states, now_ms, compression)),
                    len(updates),
                    len(outcome.updates) - len(updates),
                )
            )
        return packed

    def _pack_released(self, released: Sequence[tuple[list[bytes], list[bytes]]], now_ms: int) -> list[Packed]:
        return [
            Packed(list(pack(users, updates, now_ms, self._settings.compression)), [], len(updates), 0)
            for users, updates in released
        ]

    async def _publish(self, job: Job) -> None:
        started = time.perf_counter()
        for portion in job.portions:
            self._breaker.check(portion.partition, portion.records, portion.outcome.rejects)
        self._failpoint("computed")
        ready = list(zip(job.portions, await job.packed, strict=True))
        await self._ensure_owner(job)
        self._failpoint("before_updates")
        await asyncio.gather(*(self._write_updates(portion, packed.updates) for portion, packed in ready))
        self._failpoint("after_updates")
        await self._ensure_owner(job)
        await asyncio.gather(*(self._write_states(portion.partition, packed.states) for portion, packed in ready))
        self._failpoint("after_states")
        for portion in job.portions:
            for event in portion.events:
                self._consumer().applied(event.message.tp, event.message.offset)
                event.ack()
        for _, packed in ready:
            self._metrics.updates.inc(packed.published)
            self._metrics.withheld.inc(packed.withheld)
        self._metrics.inflight.dec()
        if any(portion.events for portion in job.portions):
            self._measure(job, started)

    async def _write_updates(self, portion: Portion, updates: list[Section]) -> None:
        producer, partition, settings = self._producer(), portion.partition, self._settings
        letters = self._dead_letters(portion)
        await self._deliver(
            {
                settings.dead_letters_topic: producer.send_records(settings.dead_letters_topic, partition, letters),
                settings.updates_topic: producer.send_sections(settings.updates_topic, partition, updates),
                settings.profiles_topic: producer.send_sections(settings.profiles_topic, partition, updates),
            },
            partition,
            "dead_letters_sent" if letters else "updates_sent",
        )

    async def _write_states(self, partition: int, states: list[Section]) -> None:
        changelog = self._settings.changelog_topic
        sent = self._producer().send_sections(changelog, partition, states)
        last = await self._deliver({changelog: sent}, partition, "states_sent")
        if changelog in last:
            self._store().set_persisted_offset(TP(changelog, partition), last[changelog])

    async def _deliver(
        self, sending: Mapping[str, Awaitable[list[Delivery]]], partition: int, sent_point: str
    ) -> dict[str, int]:
        """Send to all topics side by side, await all; the last offset written of each. Raises PublishError."""
        sent = await asyncio.gather(*sending.values())
        self._failpoint(sent_point)
        last: dict[str, int] = {}
        for topic, deliveries in zip(sending, sent, strict=True):
            for future, count in deliveries:
                try:
                    metadata = await future
                except asyncio.CancelledError:
                    raise
                except ProducerFenced as error:
                    raise FencedError(
                        f"{topic}[{partition}] is not ours any more: another worker has it, and the broker refused our write"
                    ) from error
                except Exception as error:
                    raise refused_write(topic, partition, error) from error
                last[topic] = metadata.offset + count - 1
        return last

    async def _ensure_owner(self, job: Job) -> None:
        """Wait for the group's word if it has not answered lately (a broker may be restarting). Raises FencedError."""
        consumer = self._consumer()
        while job.read:
            for tp, generation in job.read:
                if (reason := consumer.why_not_owner(tp, generation)) is not None:
                    raise FencedError(f"{tp.topic}[{tp.partition}] is not ours any more: {reason}; nothing was written")
            if consumer.confirmed():
                return
            await asyncio.sleep(CONFIRMATION_S)

    def _dead_letters(self, portion: Portion) -> list[Record]:
        if not portion.outcome.rejects:
            return []
        by_offset = {record.offset: record for record in portion.records}
        topic, now_ms = portion.events[0].message.topic, int(time.time() * 1000)
        return [
            dead_letter(topic, portion.partition, by_offset[reject.offset], reject, now_ms)
            for reject in portion.outcome.rejects
        ]

    def _measure(self, job: Job, started: float) -> None:
        metrics, now = self._metrics, time.time()
        outcomes = [portion.outcome for portion in job.portions]
        metrics.publish.observe(time.perf_counter() - started)
        metrics.batches.inc()
        for outcome in outcomes:
            for result in ("applied", "replayed", "repeated"):
                metrics.events.labels(result).inc(getattr(outcome, result))
            metrics.events.labels("invalid").inc(len(outcome.rejects))
            for reject in outcome.rejects:
                metrics.dead_letters.labels(reject.reason).inc()
            metrics.lstm_only.inc(outcome.lstm_only)
        metrics.batch_events.observe(sum(outcome.applied for outcome in outcomes))
        metrics.batch_users.observe(sum(len(outcome.users) for outcome in outcomes))
        metrics.step.observe(sum(outcome.step_seconds for outcome in outcomes))
        metrics.score.observe(sum(outcome.score_seconds for outcome in outcomes))
        level = max(outcome.level for outcome in outcomes)
        metrics.score_level.set(level)
        metrics.score_batches.labels(LEVELS[level]).inc()
        for portion in job.portions:
            for event in portion.events:
                metrics.end_to_end.observe(max(0.0, now - event.message.timestamp))

    def _stop(self, error: Exception) -> None:
        self._failed = True
        self._fail(error)

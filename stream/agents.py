"""Hop 7. The order of work that makes the delivery promise true (DESIGN.md section 5).

For each batch of a partition: compute; publish dead letters and updates, await their acknowledgements; write states to the
changelog, await theirs; acknowledge. Batch n+1 may compute while n publishes; publishing is strictly first in, first out.
Any failure stops the worker, and then nothing more is committed.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterable, Awaitable, Callable, Mapping
from concurrent.futures import Executor
from dataclasses import dataclass
from typing import Any, cast

from faust.types import TP, EventT

from models.predict import ModelInfo
from stream.budget import LEVELS
from stream.config import Settings
from stream.dead_letters import DeadLetterBreaker, dead_letter
from stream.errors import FencedError, PublishError
from stream.events import Decoder, Reject
from stream.metrics import Metrics
from stream.record_batches import Record, Section, pack
from stream.scoring import Outcome, Scoring
from stream.table import ArenaStore
from stream.transport import CONFIRMATION_S, Consumer, Delivery, Producer


@dataclass(frozen=True, slots=True)
class Packed:
    """What a batch leads to, as Kafka will store it."""

    updates: list[Section]
    states: list[Section]


@dataclass(slots=True)
class Job:
    """A computed batch on its way to being durable."""

    event: EventT[Any]
    outcome: Outcome
    packed: Awaitable[Packed]  # made while the batch before is being published
    read_at: float


class Pipeline:
    """Takes batches from the agent, keeps at most a few in flight, publishes them in order."""

    def __init__(
        self,
        settings: Settings,
        scoring: Scoring,
        decoder: Decoder,
        store: Callable[[], ArenaStore],
        consumer: Callable[[], Consumer],
        producer: Callable[[], Producer],
        executor: Executor,
        packing: Executor,
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
        self._executor = executor
        self._packing = packing
        self._metrics = metrics
        self._fail = fail
        self._failpoint = failpoint
        self._breaker = DeadLetterBreaker(settings.max_consecutive_dead_letters)
        self._jobs: asyncio.Queue[Job] = asyncio.Queue(
            maxsize=1
        )  # with one publishing and one computing: three in flight
        self._failed = False

    @property
    def model_info(self) -> ModelInfo:
        """The model in use."""
        return self._scoring.predictor.info

    async def consume(self, stream: AsyncIterable[EventT[Any]]) -> None:
        """The agent's body: one batch after the other through the model thread."""
        async for event in stream:
            if self._failed:
                return
            try:
                await self._jobs.put(await self._compute(event))
            except asyncio.CancelledError:
                raise
            except Exception as error:
                self._stop(error)
                return

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

    async def _compute(self, event: EventT[Any]) -> Job:
        read_at = time.perf_counter()
        now_ms = int(time.time() * 1000)
        outcome = await asyncio.get_running_loop().run_in_executor(self._executor, self._process, event, now_ms)
        self._metrics.compute.observe(time.perf_counter() - read_at)
        self._metrics.inflight.inc()
        packed = asyncio.get_running_loop().run_in_executor(self._packing, self._pack, outcome, now_ms)
        return Job(event, outcome, packed, read_at)

    def _process(self, event: EventT[Any], now_ms: int) -> Outcome:
        """In the model thread."""
        message = event.message
        batch = self._decoder.decode(message.topic, message.partition, event.value)
        self._failpoint("decoded")
        return self._scoring.process(batch, self._store().arena(message.partition), now_ms)

    def _pack(self, outcome: Outcome, now_ms: int) -> Packed:
        """In the packing thread."""
        compression = self._settings.compression
        return Packed(
            list(pack(outcome.users, outcome.updates, now_ms, compression)),
            list(pack(outcome.users, outcome.states, now_ms, compression)),
        )

    async def _publish(self, job: Job) -> None:
        message, outcome = job.event.message, job.outcome
        partition, settings = message.partition, self._settings
        started = time.perf_counter()
        self._breaker.check(partition, job.event.value, outcome.rejects)
        self._failpoint("computed")
        packed = await job.packed
        await self._ensure_owner(message)
        self._failpoint("before_updates")
        producer = self._producer()
        letters = self._dead_letters(job.event, outcome.rejects)
        await self._deliver(
            {
                settings.dead_letters_topic: producer.send_records(settings.dead_letters_topic, partition, letters),
                settings.updates_topic: producer.send_sections(settings.updates_topic, partition, packed.updates),
                settings.profiles_topic: producer.send_sections(settings.profiles_topic, partition, packed.updates),
            },
            partition,
            "dead_letters_sent" if outcome.rejects else "updates_sent",
        )
        self._failpoint("after_updates")
        await self._ensure_owner(message)
        await self._write_states(partition, packed.states)
        self._failpoint("after_states")
        self._consumer().applied(message.tp, message.offset)
        job.event.ack()
        self._measure(job, started)

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
                except Exception as error:
                    raise PublishError(
                        f"{topic}[{partition}] refused a write: {type(error).__name__}: {error}"
                    ) from error
                last[topic] = metadata.offset + count - 1
        return last

    async def _ensure_owner(self, message: Any) -> None:
        """Wait for the group's word if it has not answered lately (a broker may be restarting). Raises FencedError."""
        consumer = self._consumer()
        while (reason := consumer.why_not_owner(message.tp, message.generation_id)) is None:
            if consumer.silent_s() < self._settings.session_timeout_s:
                return
            await asyncio.sleep(CONFIRMATION_S)
        raise FencedError(
            f"{message.tp.topic}[{message.partition}] is not ours any more: {reason}; its batch was not written"
        )

    def _dead_letters(self, event: EventT[Any], rejects: list[Reject]) -> list[Record]:
        if not rejects:
            return []
        by_offset = {record.offset: record for record in cast(list[Any], event.value)}
        topic, partition = event.message.topic, event.message.partition
        now_ms = int(time.time() * 1000)
        return [dead_letter(topic, partition, by_offset[reject.offset], reject, now_ms) for reject in rejects]

    def _measure(self, job: Job, started: float) -> None:
        metrics, outcome, now = self._metrics, job.outcome, time.time()
        metrics.publish.observe(time.perf_counter() - started)
        metrics.inflight.dec()
        metrics.batches.inc()
        metrics.updates.inc(len(outcome.updates))
        for result in ("applied", "replayed", "repeated"):
            metrics.events.labels(result).inc(getattr(outcome, result))
        metrics.events.labels("invalid").inc(len(outcome.rejects))
        for reject in outcome.rejects:
            metrics.dead_letters.labels(reject.reason).inc()
        metrics.batch_events.observe(outcome.applied)
        metrics.batch_users.observe(len(outcome.users))
        metrics.step.observe(outcome.step_seconds)
        metrics.score.observe(outcome.score_seconds)
        metrics.lstm_only.inc(outcome.lstm_only)
        metrics.score_level.set(outcome.level)
        metrics.score_batches.labels(LEVELS[outcome.level]).inc()
        metrics.end_to_end.observe(max(0.0, now - job.event.message.timestamp))

    def _stop(self, error: Exception) -> None:
        self._failed = True
        self._fail(error)

"""Takes what waits for the model through hops 2 to 5, off the event loop.

The agent puts fetched batches into the inbox, where they are decoded. When the model is free, all
that wait are computed in one call, whatever their partitions, and handed to the delivery. At most
three batches are in flight: one computing, one waiting, one being published.
"""

from __future__ import annotations

import asyncio
import sys
import time
from collections.abc import AsyncIterable, Awaitable, Callable, Sequence
from concurrent.futures import Executor
from dataclasses import dataclass
from typing import Any, Final, cast

from faust.types import EventT

from stream.contracts.event_batch import EventBatch, joined
from stream.kafka.host import Host
from stream.pipeline.decode import Decoder
from stream.pipeline.delivery import Delivery, Portion
from stream.pipeline.inbox import Arrival, Inbox
from stream.pipeline.scoring import Outcome, Scoring
from stream.pipeline.state import Arena

FEW_EVENTS: Final = 1_000
"""Of a model call: up to here what counts is latency."""

TURNS_S: Final = (0.0005, 0.005)
"""Longest turn of a Python thread in calls of few events and of many: short ones let the loop and
the model's many small operations come in sooner (p50 at 4,000 events/s: 68 ms instead of 113), long
ones cost fewer switches (33,000 events/s instead of 28,700)."""


@dataclass(frozen=True)
class Threads:
    """Holds the two threads next to the event loop's."""

    model: Executor  # calls of the model, in their order
    packing: Executor  # decoding before the model, packing after it


class Computing:
    """Takes batches from the agent and gives computed ones to the delivery, in order."""

    def __init__(
        self,
        host: Host,
        decoder: Decoder,
        scoring: Scoring,
        arena: Callable[[int], Arena],  # of a partition; made empty when missing
        threads: Threads,
        delivery: Delivery,
    ) -> None:
        self._host = host
        self._decoder = decoder
        self._scoring = scoring
        self._arena = arena
        self._threads = threads
        self.delivery = delivery
        self.pass_s = 0.0  # how long passes took lately, the newest counted a quarter
        self.inbox = Inbox(host.settings.max_batch_events, self._decoding)

    async def consume(self, stream: AsyncIterable[EventT[Any]]) -> None:
        """Puts batches into the inbox; it is the body of the Faust agent."""
        async for event in stream:
            if self.delivery.failed:
                return
            await self.inbox.put(event)

    async def run(self) -> None:
        """Computes what waits, until a failure; it runs next to the agent."""
        while not self.delivery.failed:
            arrivals = [each for each in await self.inbox.take() if self._still_wanted(each.event)]
            if not arrivals:
                continue
            try:
                await self._compute(arrivals)
            except asyncio.CancelledError:
                raise
            except Exception as error:
                self.delivery.stop(error)

    def _still_wanted(self, event: EventT[Any]) -> bool:
        """Returns whether nothing overtook a batch, as Faust does; else its next owner reads it."""
        wanted = self.delivery.group.flows(event.message.generation_id)
        if not wanted:
            event.ack()
        return wanted

    def _decoding(self, event: EventT[Any]) -> Awaitable[EventBatch]:
        loop = asyncio.get_running_loop()
        return loop.run_in_executor(self._threads.packing, self._decode, event)

    def _decode(self, event: EventT[Any]) -> EventBatch:
        records, now_ms = cast(list[Any], event.value), int(time.time() * 1000)
        batch = self._decoder.decode(*event.message.tp, records, now_ms)
        self._host.failpoint("decoded")
        return batch

    async def _compute(self, arrivals: Sequence[Arrival]) -> None:
        started, now_ms = time.perf_counter(), int(time.time() * 1000)
        sys.setswitchinterval(TURNS_S[sum(len(each.event.value) for each in arrivals) > FEW_EVENTS])

        # fetched batches of one partition follow each other, so they are one batch to the model
        events: dict[int, list[EventT[Any]]] = {}
        decoded: dict[int, list[EventBatch]] = {}
        for each in arrivals:
            events.setdefault(each.event.message.partition, []).append(each.event)
            decoded.setdefault(each.event.message.partition, []).append(await each.decoded)
        batches = [joined(each) for each in decoded.values()]

        # one call of the model for all partitions, in its own thread
        loop = asyncio.get_running_loop()
        outcomes = await loop.run_in_executor(self._threads.model, self._score, batches, now_ms)
        self._host.metrics.compute.observe(took := time.perf_counter() - started)
        self.pass_s += (took - self.pass_s) / 4

        portions = [
            Portion(partition, events[partition], outcome)
            for partition, outcome in zip(events, outcomes, strict=True)
        ]
        read = {(each.event.message.tp, each.event.message.generation_id) for each in arrivals}
        await self.delivery.submit(portions, read, now_ms)

    def _score(self, batches: Sequence[EventBatch], now_ms: int) -> list[Outcome]:
        """Applies batches to the states; runs in the model thread."""
        return self._scoring.score(
            [(each, self._arena(each.partition)) for each in batches], now_ms
        )

"""Holds fetched batches until the model is free, and decodes them meanwhile (between hops 1 and 2).

A model call costs some milliseconds whatever it is given, so what several partitions fetched while
one ran goes into the next one, and so does all that one fetch brought: the more there is to do, the
more is done at once.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from contextlib import suppress
from dataclasses import dataclass
from typing import Any, Final, cast

from faust.types import EventT
from mode.utils.locks import Event

from stream.contracts.event_batch import EventBatch
from stream.kafka.batch_consumer import Records

REST_S: Final = 0.01
"""Longest wait for the rest of a fetch, of which a rebalance may drop batches."""


@dataclass(frozen=True, slots=True)
class Arrival:
    """Holds a fetched batch on its way to the model."""

    event: EventT[Any]
    decoded: Awaitable[EventBatch]


class Inbox:
    """Holds at most `most_events` events, or one batch that is larger."""

    def __init__(
        self, most_events: int, decode: Callable[[EventT[Any]], Awaitable[EventBatch]]
    ) -> None:
        self._most_events = most_events
        self._decode = decode
        self._waiting: list[Arrival] = []
        self._events = 0
        self._changed = asyncio.Condition()
        self.empty = Event()
        self.empty.set()

    async def put(self, event: EventT[Any]) -> None:
        """Lets a batch wait, once there is room, and begins to decode it."""
        size = len(event.value)
        async with self._changed:
            await self._changed.wait_for(
                lambda: not self._waiting or self._events + size <= self._most_events
            )
            self._waiting.append(Arrival(event, self._decode(event)))
            self._events += size
            self.empty.clear()
            self._changed.notify_all()

    async def take(self) -> list[Arrival]:
        """Returns all batches that wait, at least one, in the order they came."""
        async with self._changed:
            await self._changed.wait_for(lambda: bool(self._waiting))
            with suppress(TimeoutError):
                async with asyncio.timeout(REST_S):
                    await self._changed.wait_for(self._is_whole)
            self.empty.set()
            taken, self._waiting, self._events = self._waiting, [], 0
            self._changed.notify_all()
            return taken

    def _is_whole(self) -> bool:
        """Returns whether all of a fetch is there, or so much that the rest is not waited for."""
        much = self._events >= self._most_events / 4
        return much or not cast(Records, self._waiting[-1].event.value).more_follow

"""Sends requests to erase a user, and says from the log alone how far one has come.

What was sent has a name that holds its place in the topic and no user. So its state can be asked of
any instance, at any time, and nobody has to remember it.
"""

from __future__ import annotations

import asyncio
import re
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Final

from aiokafka import TopicPartition

from stream.clients.requests import (
    CLOCKS_APART_MS,
    DONE,
    REFUSED,
    WAITING,
    Ask,
    Request,
    encoded,
    new_request_id,
    send,
)
from stream.config import Settings
from stream.kafka.consumer import (
    commits,
    home_of,
    open_consumer,
    partitions_of,
    ranges_of,
    records_of,
)
from stream.serving.store import Place

SEEN_S: Final = 2.0
"""How long the state waits for this instance to have read what workers have written."""

_NAME: Final = re.compile(r"([a-z]+-\d{8}T\d{6}Z-[0-9a-f]{8})\.(\d{1,5})\.(\d{1,18})\.(\d{1,15})")


@dataclass(frozen=True, slots=True)
class Sent:
    """Says where in the topic of the events a request lies."""

    request_id: str
    partition: int
    offset: int
    time_ms: int

    @property
    def name(self) -> str:
        """Returns the name by which its state is asked for."""
        return f"{self.request_id}.{self.partition}.{self.offset}.{self.time_ms}"


def sent_of(name: str) -> Sent | None:
    """Returns the request of a name, None for what is no such name."""
    found = _NAME.fullmatch(name)
    return None if found is None else Sent(found[1], *(int(each) for each in found.groups()[1:]))


class Erasures:
    """Asks workers to erase users."""

    def __init__(self, settings: Settings, position: Callable[[Place], int]) -> None:
        """`position` says how far this instance has read a partition."""
        self._settings, self._position = settings, position

    async def ask(self, control: str, key: bytes, partition: int | None) -> Sent:
        """Sends `erase` or `suppress` of a user, whose events are in that partition if known.

        Raises BrokerError, TopicError, PublishError, and UsageError for what workers would refuse.
        """
        settings, ask = self._settings, Ask(control, new_request_id(control))
        made = encoded(settings, ask, [key])
        if partition is None:
            partition = await self._home(key)
        request = Request(key.decode(), key, partition)
        await send(settings, [request], made, lambda *_: None)
        assert request.offset is not None
        return Sent(ask.request_id, partition, request.offset, request.time_ms)

    async def state(self, sent: Sent) -> tuple[str, str]:
        """Returns the state of a request, and why it waits or was refused.

        Raises BrokerError, TopicError.
        """
        settings, place = (
            self._settings,
            TopicPartition(self._settings.source_topic, sent.partition),
        )
        # of the workers' group, to read its offsets; it joins nothing
        consumer = await open_consumer(settings, group_id=settings.app_id)
        try:
            found = (await commits(consumer, [place])).get(place)
            committed = 0 if found is None else found.offset
            if committed <= sent.offset:
                behind = f"workers are at offset {committed} of partition {sent.partition}"
                return WAITING, f"{behind}, the request is at {sent.offset}"
            profiles = TopicPartition(settings.profiles_topic, sent.partition)
            end = (await consumer.end_offsets([profiles]))[profiles]
        finally:
            await consumer.stop()
        # outputs come before the commit, so a dead letter of it is in its topic by now
        if (reason := await self._refusal(sent)) is not None:
            return REFUSED, reason
        if not await self._has_read((profiles.topic, profiles.partition), end):
            return WAITING, "workers have obeyed; this instance has not read it yet"
        return DONE, ""

    async def _has_read(self, place: Place, end: int) -> bool:
        """Returns whether this instance has come to an offset, after a moment if need be."""
        for _ in range(int(SEEN_S / 0.05)):
            if self._position(place) >= end:
                return True
            await asyncio.sleep(0.05)
        return False

    async def _home(self, key: bytes) -> int:
        consumer = await open_consumer(self._settings)
        try:
            places = await partitions_of(consumer, self._settings.source_topic)
        finally:
            await consumer.stop()
        return int(home_of(key, places).partition)

    async def _refusal(self, sent: Sent) -> str | None:
        """Returns why workers have made a dead letter of a request, None if they have not."""
        topic = self._settings.dead_letters_topic
        wanted = {
            "topic": self._settings.source_topic,
            "partition": str(sent.partition),
            "offset": str(sent.offset),
            "timestamp": str(sent.time_ms),
        }
        consumer = await open_consumer(self._settings)
        try:
            places = await partitions_of(consumer, topic)
            ranges = await ranges_of(consumer, places)
            since_ms = max(0, sent.time_ms - CLOCKS_APART_MS)
            since = await consumer.offsets_for_times(dict.fromkeys(places, since_ms))
            ranges = {
                each: (end if since.get(each) is None else max(begin, since[each].offset), end)
                for each, (begin, end) in ranges.items()
            }
            async for records in records_of(consumer, ranges):
                for record in records:
                    facts = _facts_of(record)
                    if {name: facts.get(name) for name in wanted} == wanted:
                        return facts.get("message") or facts.get("reason") or "a dead letter"
        finally:
            await consumer.stop()
        return None


def _facts_of(record: Any) -> dict[str, str]:
    return {
        name.removeprefix("is.dlq."): (value or b"").decode(errors="replace")
        for name, value in record.headers
    }

"""Says what users did after an update, and whether the update had said so.

A probability is the chance that the user's next event touches an interest. An update is as of one
event; so where the next update counts one event more, the event that it is as of is what came next.
That event is read from its topic when somebody asks, so its kind does not decide whether it is
judged. Where several events came at once, nobody knows here which was the next one, and nothing is
judged.

What updates have said is kept in memory: of the users who came last, the last few. Who is erased is
forgotten here, too.
"""

from __future__ import annotations

import asyncio
import time
from collections import OrderedDict, deque
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from itertools import pairwise
from typing import Any, Final, Protocol

from aiokafka import AIOKafkaConsumer, TopicPartition
from aiokafka.errors import KafkaError

from stream.config import CONTRACT, Settings
from stream.contracts.event import Event, Limits, limits_of
from stream.contracts.faults import BadEvent
from stream.errors import BrokerError
from stream.formats.event_format import EventFormat
from stream.formats.records import read_record
from stream.formats.registry import format_named, source_format
from stream.kafka.consumer import open_consumer, record_at
from stream.serving.updates import Source, Update

USERS: Final = 10_000
ENTRIES: Final = 9
"""Updates of a user that are kept: so many less one can be judged."""

READ_S: Final = 5.0
"""Reading the events of one user may take so long; what was not read then is told to be missing."""


@dataclass(frozen=True, slots=True)
class Said:
    """Holds what an update has said, in little memory."""

    source: Source
    events_seen: int
    interests: tuple[tuple[str, float], ...]  # names and probabilities, best first
    items: tuple[str, ...]


class Remembered(Protocol):
    """Remembers what the last updates of users have said, here or in another process."""

    async def pairs(self, number: int) -> list[tuple[Said, Said]]:
        """Returns each update of a user with the one after it, newest first."""


class Outcomes:
    """Remembers the last updates of the users who came last."""

    def __init__(self, users: int = USERS) -> None:
        self._most = users
        self._said: OrderedDict[int, deque[Said]] = OrderedDict()

    def take(self, number: int, update: Update) -> None:
        """Notes an update of the user with this number; a repeated one changes nothing."""
        kept = self._said.setdefault(number, deque(maxlen=ENTRIES))
        if kept and update.events_seen < kept[-1].events_seen:
            kept.clear()  # their memory was emptied: what came before is of another life
        if kept and update.events_seen == kept[-1].events_seen:
            return
        kept.append(
            Said(
                update.source,
                update.events_seen,
                tuple((each.interest, each.probability) for each in update.interests),
                tuple(each.item_id for each in update.items),
            )
        )
        self._said.move_to_end(number)
        while len(self._said) > self._most:
            self._said.popitem(last=False)

    def forget(self, number: int) -> None:
        """Forgets a user who was erased."""
        self._said.pop(number, None)

    async def pairs(self, number: int) -> list[tuple[Said, Said]]:
        """Returns each update of a user with the one after it, newest first."""
        kept = list(self._said.get(number, ()))
        return list(pairwise(kept))[::-1]


def judged(
    said: Said, after: Said, event: Event | None, touches: Mapping[str, Sequence[str]], title: str
) -> dict[str, Any]:
    """Returns what an update had said of the event that came next. Pure.

    touches: the interests of each item. `interest` is the first of the update's interests that the
    event touched, null if it touched none of them; it is missing where that is not known.
    """
    came = after.events_seen - said.events_seen
    found: dict[str, Any] = {
        "said": [{"interest": name, "probability": chance} for name, chance in said.interests],
        "events": came,
        "offset": after.source.offset,
    }
    if event is None or came != 1:
        return found
    found |= {"action": event.action, "time": event.time, "title": title}
    if event.item_id is None:
        return found | ({"query": event.query} if event.query else {})
    found["item_id"] = event.item_id
    rank = said.items.index(event.item_id) + 1 if event.item_id in said.items else None
    found["item_rank"] = rank
    if event.item_id in touches:
        own = touches[event.item_id]
        touched = [place for place, (name, _) in enumerate(said.interests) if name in own]
        found["touched"] = list(own)
        found["interest_rank"] = touched[0] + 1 if touched else None
    return found


class Events:
    """Reads single events of the topic that updates are as of, when somebody asks."""

    def __init__(self, settings: Settings) -> None:
        self._settings = settings
        self._limits: Limits = limits_of(settings)
        self._format: EventFormat = source_format(settings) or format_named(CONTRACT)
        self._consumer: AIOKafkaConsumer | None = None
        self._one = asyncio.Lock()

    async def read(self, user_id: str, places: Sequence[Source]) -> dict[int, Event]:
        """Returns the last event of a user in each of these records, by offset.

        What cannot be read is left out: the topic forgets, and the right to read may be missing.
        """
        found: dict[int, Event] = {}
        async with self._one:
            with suppress(TimeoutError, KafkaError, BrokerError, OSError):
                async with asyncio.timeout(READ_S):
                    for place in places:
                        if (event := await self._event(user_id, place)) is not None:
                            found[place.offset] = event
        return found

    async def _event(self, user_id: str, place: Source) -> Event | None:
        if self._consumer is None:
            self._consumer = await open_consumer(self._settings, auto_offset_reset="none")
        partition = TopicPartition(place.topic, place.partition)
        try:
            record = await record_at(self._consumer, partition, place.offset)
        except (KafkaError, OSError):
            await self.close()
            raise
        if record is None:
            return None
        try:
            reading = read_record(record, self._format, self._limits, int(time.time() * 1000))
        except BadEvent:  # a request about the user, which no event is
            return None
        own = [each for each in reading.events if each.user_id == user_id]
        return own[-1] if own else None

    async def close(self) -> None:
        """Disconnects."""
        consumer, self._consumer = self._consumer, None
        if consumer is not None:
            await consumer.stop()

"""Sends the events of a request, and says of each what became of it.

An event is answered once the broker has acknowledged it. A record whose events have come before,
each with its event_id, is not sent again: this process remembers the last ones, and what another
instance takes twice workers drop, as they do with any repeated event_id.
"""

from __future__ import annotations

import asyncio
import time
from collections import OrderedDict
from collections.abc import Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass
from hashlib import blake2b
from typing import Any, Final

from aiokafka import AIOKafkaProducer
from aiokafka.errors import KafkaError, MessageSizeTooLargeError

from stream.config import Settings
from stream.contracts.faults import BadEvent
from stream.kafka.client import open_producer
from stream.serving.bodies import Document, Incoming, Read, Shapes
from stream.serving.meters import Meters

REMEMBERED: Final = 200_000
"""Records with event_ids whose place is remembered; some 50 MB."""

ACKNOWLEDGE_S: Final = 20.0
TAKEN, REPEATED, REFUSED, FAILED = "taken", "repeated", "refused", "failed"
DROPPED: Final = "dropped"


@dataclass(frozen=True, slots=True)
class Verdict:
    """Holds what became of one event, or of several that were left out for one reason."""

    verdict: str
    partition: int | None = None
    offset: int | None = None
    reason: str | None = None
    message: str | None = None
    events: int | None = None  # of those left out; None: one

    def count(self) -> int:
        """Returns of how many events it tells."""
        return 1 if self.events is None else self.events


@dataclass(frozen=True, slots=True)
class Told:
    """Holds a verdict and what it is about: a document of the body, and an event of that."""

    index: int
    place: int | None  # among the events of the document; None: it is its only one, or none
    verdict: Verdict

    def as_json(self) -> dict[str, Any]:
        """Returns the verdict as an answer has it."""
        fields = ("verdict", "partition", "offset", "reason", "message", "events")
        found = {"event": self.place, **{name: getattr(self.verdict, name) for name in fields}}
        given = {name: each for name, each in found.items() if each is not None}
        return {"index": self.index, **given}


Coming = Verdict | asyncio.Task[Verdict]
"""A verdict, or what gives it once Kafka has answered."""


class Ingest:
    """Sends events to the clickstream and remembers those that have an event_id."""

    def __init__(self, settings: Settings, meters: Meters, body_mapping: str = "") -> None:
        """Raises SettingsError if a mapping cannot be used; see Shapes."""
        self._settings, self._meters = settings, meters
        self.shapes = Shapes(settings, body_mapping)
        self._producer: AIOKafkaProducer | None = None
        self._opening = asyncio.Lock()
        self._sent: OrderedDict[bytes, asyncio.Task[Verdict]] = OrderedDict()

    async def take(self, documents: Sequence[Document], read: Read) -> list[Told]:
        """Returns the verdict of each event, once all that were sent are acknowledged."""
        now_ms = int(time.time() * 1000)
        coming = [
            (index, place, each)
            for index, document in enumerate(documents)
            for place, each in self._begin(document, read, now_ms)
        ]
        told = [
            Told(index, place, each if isinstance(each, Verdict) else await each)
            for index, place, each in coming
        ]
        for each in told:
            self._meters.events.labels(each.verdict.verdict).inc(each.verdict.count())
        return told

    async def close(self) -> None:
        """Waits for what is on its way, and disconnects."""
        producer, self._producer = self._producer, None
        if producer is not None:
            with suppress(TimeoutError):
                await asyncio.wait_for(producer.stop(), ACKNOWLEDGE_S)

    def _begin(
        self, document: Document, read: Read, now_ms: int
    ) -> Iterator[tuple[int | None, Coming]]:
        """Yields for each event of a document its place and its verdict, or what will give that."""
        try:
            found = read(document, now_ms)
        except BadEvent as error:
            yield None, _refusal(error)
            return
        several = sum(len(record.event_ids) for record in found.records) > 1
        place = 0
        for record in found.records:
            coming = self._send_once(record)
            for _ in record.event_ids:
                yield (place if several else None), coming
                place += 1
        for reason, count in (found.dropped or {}).items():
            yield None, Verdict(DROPPED, reason=reason, events=count if count > 1 else None)
        for fault in found.refused:
            yield None, _refusal(fault)

    def _send_once(self, record: Incoming) -> asyncio.Task[Verdict]:
        """Returns the task that sends a record, or says where it has been sent before."""
        name = record.name()
        if name is None:
            return asyncio.create_task(self.send(record))
        name = blake2b(name, digest_size=16).digest()
        earlier = self._sent.get(name)
        if earlier is not None and not _has_failed(earlier):
            self._sent.move_to_end(name)
            return asyncio.create_task(self._repeat(earlier))
        task = self._sent[name] = asyncio.create_task(self.send(record))
        while len(self._sent) > REMEMBERED:
            self._sent.popitem(last=False)
        return task

    async def _repeat(self, earlier: asyncio.Task[Verdict]) -> Verdict:
        """Returns what became of the record when it came first."""
        verdict = await asyncio.shield(earlier)
        if verdict.verdict != TAKEN:
            return verdict
        return Verdict(REPEATED, verdict.partition, verdict.offset)

    async def send(self, record: Incoming) -> Verdict:
        """Sends a record and waits until all replicas have it; never raises for Kafka."""
        topic = self._settings.events_topic
        try:
            producer = await self._open()
            async with asyncio.timeout(ACKNOWLEDGE_S):
                sent = await producer.send(
                    topic, record.value, key=record.key, headers=list(record.headers)
                )
                place = await asyncio.shield(sent)
        except MessageSizeTooLargeError:
            return Verdict(REFUSED, reason="too-large", message="Kafka takes no record as large")
        except Exception as error:
            if isinstance(error, KafkaError) and not error.retriable:
                await (
                    self.close()
                )  # such a producer sends nothing any more; the next event opens one
            return Verdict(
                FAILED,
                message=f"Kafka did not acknowledge it ({type(error).__name__}); send it again, "
                "with its event_id it counts once",
            )
        return Verdict(TAKEN, place.partition, place.offset)

    async def _open(self) -> AIOKafkaProducer:
        """Returns the producer, which the first event opens."""
        async with self._opening:
            if self._producer is None:
                self._producer = await open_producer(self._settings, linger_ms=2)
            return self._producer


def _refusal(error: BadEvent) -> Verdict:
    return Verdict(REFUSED, reason=error.reason, message=str(error))


def _has_failed(task: asyncio.Task[Verdict]) -> bool:
    """Returns whether an event was not taken after all, so that it may be sent again."""
    return task.done() and (task.cancelled() or task.result().verdict != TAKEN)

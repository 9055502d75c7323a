"""Takes events over HTTP, checks each by the contract, and says what became of it.

An event is answered once the broker has acknowledged it. One that comes again with its event_id is
not sent again: this process remembers the last ones, and what another instance takes twice workers
drop, as they do with any repeated event_id.
"""

from __future__ import annotations

import asyncio
import time
from collections import OrderedDict
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from hashlib import blake2b
from typing import Any, Final

import msgspec
from aiokafka import AIOKafkaProducer
from aiokafka.errors import KafkaError, MessageSizeTooLargeError

from stream.config import Settings
from stream.contracts.event import Event, Limits, limits_of, parse_event
from stream.contracts.faults import BadEvent
from stream.kafka.client import open_producer
from stream.serving.meters import Meters

MOST_EVENTS: Final = 1_000
MOST_BYTES: Final = 4_194_304
"""Of one request."""

REMEMBERED: Final = 200_000
"""Events with an event_id whose place is remembered; some 50 MB."""

ACKNOWLEDGE_S: Final = 20.0
TAKEN, REPEATED, REFUSED, FAILED = "taken", "repeated", "refused", "failed"


class BadBodyError(Exception):
    """Says that a request holds no events."""


@dataclass(frozen=True, slots=True)
class Incoming:
    """Holds an event as the record that it becomes."""

    key: bytes
    value: bytes
    event_id: str | None = None
    timestamp: int = -1
    headers: tuple[tuple[str, bytes], ...] = ()


@dataclass(frozen=True, slots=True)
class Verdict:
    """Holds what became of one event."""

    verdict: str
    partition: int | None = None
    offset: int | None = None
    reason: str | None = None
    message: str | None = None

    def as_json(self, index: int) -> dict[str, Any]:
        """Returns the verdict of the event at this place of the request."""
        fields = ("verdict", "partition", "offset", "reason", "message")
        found = {name: getattr(self, name) for name in fields}
        return {"index": index} | {name: each for name, each in found.items() if each is not None}


Format = Callable[[bytes, Limits, int], Incoming]
"""Reads one event of a body: its JSON, the limits, the time now; raises BadEvent."""


class _Named(msgspec.Struct):
    """Reads whose event it is."""

    user_id: str


_decode_named: Final = msgspec.json.Decoder(_Named).decode
_decode_list: Final = msgspec.json.Decoder(list[msgspec.Raw]).decode
_decode_one: Final = msgspec.json.Decoder(msgspec.Raw).decode


def by_contract(value: bytes, limits: Limits, now_ms: int) -> Incoming:
    """Reads an event of the published contract (stream/contracts/event.py)."""
    try:
        key = _decode_named(value).user_id.encode()
    except (msgspec.MsgspecError, UnicodeError, RecursionError):
        key = b""  # reading it by the contract says what is wrong
    event: Event = parse_event(Incoming(key, value), limits, now_ms)
    return Incoming(key, value, event.event_id)


FORMATS: Final[Mapping[str, Format]] = {"contract": by_contract}
"""What a body may be, by the name that `?format=` gives; another format is a line here."""


def split_body(body: bytes, content_type: str) -> list[bytes]:
    """Returns the events of a body: one object, an array of them, or one a line (NDJSON).

    Raises BadBodyError.
    """
    if "ndjson" in content_type or "jsonl" in content_type:
        events = [line for line in body.splitlines() if line.strip()]
    else:
        try:
            first = body.lstrip()[:1]
            found = _decode_list(body) if first == b"[" else [_decode_one(body)]
        except (msgspec.MsgspecError, UnicodeError, RecursionError):
            raise BadBodyError(
                "the body is no JSON; send an event, an array of events, or one event a line as "
                "application/x-ndjson"
            ) from None
        events = [bytes(each).strip() for each in found]
    if not events:
        raise BadBodyError("the body holds no event")
    if len(events) > MOST_EVENTS:
        raise BadBodyError(f"the body holds {len(events)} events; send at most {MOST_EVENTS}")
    return events


class Ingest:
    """Sends events to the clickstream and remembers those that have an event_id."""

    def __init__(self, settings: Settings, meters: Meters) -> None:
        self._settings, self._meters = settings, meters
        self._limits = limits_of(settings)
        self._producer: AIOKafkaProducer | None = None
        self._opening = asyncio.Lock()
        self._sent: OrderedDict[bytes, asyncio.Task[Verdict]] = OrderedDict()

    async def take(self, events: Sequence[bytes], read: Format) -> list[Verdict]:
        """Returns the verdict of each event, once all that were sent are acknowledged."""
        now_ms = int(time.time() * 1000)
        waiting = [self._begin(each, read, now_ms) for each in events]
        verdicts = [each if isinstance(each, Verdict) else await each for each in waiting]
        for verdict in verdicts:
            self._meters.events.labels(verdict.verdict).inc()
        return verdicts

    async def close(self) -> None:
        """Waits for what is on its way, and disconnects."""
        producer, self._producer = self._producer, None
        if producer is not None:
            with suppress(TimeoutError):
                await asyncio.wait_for(producer.stop(), ACKNOWLEDGE_S)

    def _begin(self, value: bytes, read: Format, now_ms: int) -> Verdict | asyncio.Task[Verdict]:
        """Returns what is wrong with an event, or the task that sends it, or has sent it before."""
        try:
            incoming = read(value, self._limits, now_ms)
        except BadEvent as error:
            return Verdict(REFUSED, reason=error.reason, message=str(error))
        if incoming.event_id is None:
            return asyncio.create_task(self.send(incoming))
        name = blake2b(
            b"%d %b %b" % (len(incoming.key), incoming.key, incoming.event_id.encode()),
            digest_size=16,
        ).digest()
        earlier = self._sent.get(name)
        if earlier is not None and not _has_failed(earlier):
            self._sent.move_to_end(name)
            return asyncio.create_task(self._repeat(earlier))
        task = self._sent[name] = asyncio.create_task(self.send(incoming))
        while len(self._sent) > REMEMBERED:
            self._sent.popitem(last=False)
        return task

    async def _repeat(self, earlier: asyncio.Task[Verdict]) -> Verdict:
        """Returns what became of the event when it came first."""
        verdict = await asyncio.shield(earlier)
        if verdict.verdict != TAKEN:
            return verdict
        return Verdict(REPEATED, verdict.partition, verdict.offset)

    async def send(self, incoming: Incoming) -> Verdict:
        """Sends an event and waits until all replicas have it; never raises for Kafka."""
        topic = self._settings.events_topic
        try:
            producer = await self._open()
            async with asyncio.timeout(ACKNOWLEDGE_S):
                sent = await producer.send(topic, incoming.value, key=incoming.key)
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


def _has_failed(task: asyncio.Task[Verdict]) -> bool:
    """Returns whether an event was not taken after all, so that it may be sent again."""
    return task.done() and (task.cancelled() or task.result().verdict != TAKEN)

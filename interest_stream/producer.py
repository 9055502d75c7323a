"""Sends events to the clickstream topic, checked by the contract before they leave the program."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Iterable, Mapping, Sequence
from types import TracebackType
from typing import TYPE_CHECKING, Any, Unpack

from interest_stream.connection import Connection, settings_of
from interest_stream.events import record_of
from interest_stream.updates import Place
from stream.contracts.event import Event, limits_of
from stream.contracts.faults import BadEvent
from stream.errors import PublishError

if TYPE_CHECKING:
    from aiokafka import AIOKafkaProducer


class Producer:
    """Sends events, each keyed by its user_id, and waits until all replicas have them.

        async with Producer(broker="kafka://127.0.0.1:19092") as producer:
            await producer.send(
                {"user_id": "u1", "action": "view", "time": 1764000000000, "item_id": "42"}
            )

    An event is an `Event` or a dictionary; a dictionary may carry fields of its own, which workers
    ignore. Writes are idempotent: a retry of the client puts no event into the topic twice.
    """

    def __init__(
        self, *, events_topic: str | None = None, **connection: Unpack[Connection]
    ) -> None:
        """`connection` is as for `subscribe`. Raises SettingsError."""
        self._settings = settings_of(connection, events_topic=events_topic)
        self._limits = limits_of(self._settings)
        self._producer: AIOKafkaProducer | None = None

    async def __aenter__(self) -> Producer:
        """Connects; raises BrokerError or TopicError."""
        from stream.clients.producer import open_event_producer

        self._producer = await open_event_producer(self._settings)
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        """Waits for what is still on its way, and disconnects."""
        producer, self._producer = self._producer, None
        if producer is not None:
            await producer.stop()

    async def send(self, event: Event | Mapping[str, Any]) -> Place:
        """Sends one event and returns where it stands, once Kafka has acknowledged it.

        Raises BadEvent, which names the field and the fix, before anything is sent; PublishError if
        Kafka did not acknowledge the event, which may then be in the topic or not.
        """
        (place,) = await self._acknowledged([record_of(event, self._limits, _now_ms())])
        return place

    async def send_all(self, events: Iterable[Event | Mapping[str, Any]]) -> list[Place]:
        """Sends events in their order and returns where they stand, once all are acknowledged.

        Many at once are much faster than one after the other. All of them are checked before the
        first is sent. Raises as `send` does; BadEvent says which of them is bad.
        """
        now_ms, records = _now_ms(), []
        for number, event in enumerate(events):
            try:
                records.append(record_of(event, self._limits, now_ms))
            except BadEvent as error:
                raise BadEvent(error.reason, f"events[{number}]: {error}", error.error) from None
        return await self._acknowledged(records)

    async def _acknowledged(self, records: Sequence[tuple[bytes, bytes]]) -> list[Place]:
        from aiokafka.errors import KafkaError

        if self._producer is None:
            raise PublishError("the producer is closed; send within 'async with Producer(...)'")
        topic = self._settings.events_topic
        try:
            deliveries = [
                await self._producer.send(topic, value, key=key) for key, value in records
            ]
            answers = await asyncio.gather(*deliveries)
        except KafkaError as error:
            raise PublishError(
                f"{topic} did not acknowledge an event ({type(error).__name__}: {error}); "
                "check the broker and the rights of this client, then send it again"
            ) from error
        return [Place(topic, answer.partition, answer.offset) for answer in answers]


def _now_ms() -> int:
    return int(time.time() * 1000)

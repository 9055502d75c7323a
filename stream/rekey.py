"""`--rekey`: events keyed otherwise are forwarded, keyed by their user, so that a user's events share a partition.

At-least-once: a crash may forward an event twice. Each forwarded record carries where it came from in a header, which the decoder
takes as event_id of an event that has none, so the second copy counts once (within the user's last 32 events).
"""

from __future__ import annotations

import asyncio
import time
from collections import defaultdict
from collections.abc import AsyncIterable, Callable
from typing import Any, Final, cast

import msgspec
from aiokafka.partitioner import DefaultPartitioner
from faust.types import EventT

from stream.config import Settings
from stream.dead_letters import DeadLetterBreaker, dead_letter
from stream.errors import PublishError
from stream.events import ORIGIN_HEADER, BadEvent, Reject
from stream.metrics import Metrics
from stream.record_batches import Record
from stream.transport import Consumer, Producer


class _User(msgspec.Struct):
    user_id: str


_decode: Final = msgspec.json.Decoder(_User).decode


class Forwarder:
    """The agent in front of the pipeline when the source topic is keyed by something else."""

    def __init__(
        self,
        settings: Settings,
        consumer: Callable[[], Consumer],
        producer: Callable[[], Producer],
        metrics: Metrics,
        fail: Callable[[Exception], None],
        failpoint: Callable[[str], None],
    ) -> None:
        self._settings, self._metrics, self._fail, self._failpoint = settings, metrics, fail, failpoint
        self._consumer, self._producer = consumer, producer
        self._breaker = DeadLetterBreaker(settings.max_consecutive_dead_letters)
        self._partitioner = DefaultPartitioner()

    async def consume(self, stream: AsyncIterable[EventT[Any]]) -> None:
        """Forward batch after batch; a failure stops the worker before anything is committed."""
        async for event in stream:
            try:
                async with asyncio.timeout(self._settings.publish_timeout_s):
                    await self._forward(event)
            except asyncio.CancelledError:
                raise
            except Exception as error:
                self._fail(
                    PublishError(f"forwarding to {self._settings.source_topic} failed: {type(error).__name__}: {error}")
                )
                return

    async def _forward(self, event: EventT[Any]) -> None:
        message, producer = event.message, self._producer()
        records = cast(list[Any], event.value)
        partitions = sorted(await producer._ensure_producer().partitions_for(self._settings.source_topic))
        outgoing, rejects = self._sort(message, records, partitions)
        self._breaker.check(message.partition, records, [reject for reject, _ in rejects])
        deliveries = []
        for partition, forwarded in outgoing.items():
            deliveries += await producer.send_records(self._settings.source_topic, partition, forwarded)
        letters = [
            dead_letter(message.topic, message.partition, record, reject, int(time.time() * 1000))
            for reject, record in rejects
        ]
        dead_partitions = sorted(await producer._ensure_producer().partitions_for(self._settings.dead_letters_topic))
        deliveries += await producer.send_records(
            self._settings.dead_letters_topic, dead_partitions[message.partition % len(dead_partitions)], letters
        )
        await asyncio.gather(*(future for future, _ in deliveries))
        self._failpoint("after_forward")
        self._consumer().applied(message.tp, message.offset)
        event.ack()
        self._metrics.events.labels("forwarded").inc(len(records) - len(rejects))

    def _sort(self, message: Any, records: list[Any], partitions: list[int]) -> tuple[dict[int, list[Any]], list[Any]]:
        outgoing: dict[int, list[Any]] = defaultdict(list)
        rejects = []
        for record in records:
            try:
                user = user_of(record.value, self._settings.max_value_bytes)
            except BadEvent as error:
                rejects.append((Reject(record.offset, error.reason, error.error, str(error), record), record))
                continue
            outgoing[self._partitioner(user, partitions, partitions)].append(forwarded_record(message, record, user))
        return outgoing, rejects


def user_of(value: bytes | None, max_value_bytes: int) -> bytes:
    """The user that an event is to be keyed by; all else about it is judged where it is applied. Raises BadEvent."""
    if value is not None and len(value) > max_value_bytes:
        raise BadEvent(
            "too-large", f"the value has {len(value)} bytes; send at most {max_value_bytes} (max_value_bytes)"
        )
    try:
        return _decode(value or b"").user_id.encode()
    except (msgspec.MsgspecError, UnicodeError, RecursionError) as error:
        raise BadEvent("no-user", f"no user_id to forward by: {error}", type(error).__name__) from None


def forwarded_record(message: Any, record: Any, user: bytes) -> Record:
    """The record keyed by its user, with its own headers and where it came from."""
    origin = f"{message.topic}-{message.partition}-{record.offset}".encode()
    return user, record.value, [*record.headers, (ORIGIN_HEADER, origin)]

"""Forwards events that are keyed by something else, keyed by their user (`--rekey`).

So a user's events share a partition. At-least-once: a crash may forward an event twice. Each
forwarded record carries where it came from in a header, which the decoder takes as event_id of an
event that has none, so the second copy counts once (within the user's last 32 events).

With a pseudonym key what is forwarded names a pseudonym instead of the user, in key and value. The
raw topic, and the dead letters of what could not be forwarded, keep the ids as they came.

Records of another format (stream/formats) are read here and forwarded as events of the contract,
one record an event; so each is judged here, where the record that it came from is at hand.

A control (stream/contracts/control.py) is forwarded like an event. Events of its user that the raw
topic holds in other partitions may overtake it, and a crash may forward it twice; so `erase` sends
controls to the topic that is keyed by user.
"""

from __future__ import annotations

import asyncio
import hmac
import time
from collections import defaultdict
from collections.abc import AsyncIterable, Callable, Sequence
from typing import Any, Final, NamedTuple, cast

import msgspec
from aiokafka.partitioner import DefaultPartitioner
from faust.types import EventT

from stream.contracts.control import MAC_HEADER, is_control, mac
from stream.contracts.dead_letter import dead_letter
from stream.contracts.event import ORIGIN_HEADER, Event, limits_of
from stream.contracts.faults import BadEvent, Reject, UnreadableBytes
from stream.contracts.pseudonym import pseudonym, renamed
from stream.errors import PublishError
from stream.formats.event_format import EventFormat
from stream.formats.records import read_record, rejects_of
from stream.kafka.batch_consumer import BatchConsumer
from stream.kafka.host import Host
from stream.kafka.producer import BatchProducer
from stream.kafka.record_batches import Record
from stream.plain_text import told
from stream.policies.breaker import DeadLetterBreaker
from stream.worker.familiarity import Drops


class _User(msgspec.Struct):
    """Reads the one field that forwarding needs."""

    user_id: str


_decode: Final = msgspec.json.Decoder(_User).decode
encode_event: Final = msgspec.json.Encoder().encode


class ForwardedControl(NamedTuple):
    """Holds what is forwarded of a control besides its key and value."""

    headers: list[tuple[str, bytes | None]]
    offset: int
    timestamp: int


class Forwarder:
    """Stands in front of the pipeline when the source topic is keyed by something else."""

    def __init__(
        self,
        host: Host,
        consumer: Callable[[], BatchConsumer],
        producer: Callable[[], BatchProducer],
        event_format: EventFormat | None = None,
    ) -> None:
        """Waits for batches; `event_format` is that of the raw records, None: the contract."""
        settings = host.settings
        self._host, self._settings = host, settings
        self._consumer, self._producer = consumer, producer
        self._breaker = DeadLetterBreaker(settings.max_consecutive_dead_letters)
        self._partitioner = DefaultPartitioner()
        self._pseudonym_key = settings.pseudonym_key()
        self._control_key = settings.control_key()
        self._format = event_format
        self._limits = limits_of(settings)
        self._drops = Drops(host.metrics)

    async def consume(self, stream: AsyncIterable[EventT[Any]]) -> None:
        """Forwards batch after batch; a failure stops the worker before anything is committed."""
        async for event in stream:
            try:
                async with asyncio.timeout(self._settings.publish_timeout_s):
                    await self._forward(event)
            except asyncio.CancelledError:
                raise
            except Exception as error:
                topic = self._settings.source_topic
                self._host.fail(PublishError(f"forwarding to {topic} failed: {told(error)}"))
                return

    async def _forward(self, event: EventT[Any]) -> None:
        message, producer, settings = event.message, self._producer(), self._settings
        records = cast(list[Any], event.value)

        # good records by the partition of their user, bad ones to the dead letters
        partitions = await producer.partitions_of(settings.source_topic)
        outgoing, rejects = self._sort(message, records, partitions)
        self._breaker.check(message.partition, records, rejects)
        deliveries = []
        for partition, forwarded in outgoing.items():
            deliveries += await producer.send_records(settings.source_topic, partition, forwarded)
        letters = [
            dead_letter(
                message.topic, message.partition, reject.record, reject, int(time.time() * 1000)
            )
            for reject in rejects
        ]
        dead_partitions = await producer.partitions_of(settings.dead_letters_topic)
        place = dead_partitions[message.partition % len(dead_partitions)]
        deliveries += await producer.send_records(settings.dead_letters_topic, place, letters)

        # only what is acknowledged may be committed
        await asyncio.gather(*(future for future, _ in deliveries))
        self._host.failpoint("after_forward")
        self._consumer().applied(message.tp, message.offset)
        event.ack()
        self._host.metrics.events.labels("forwarded").inc(sum(map(len, outgoing.values())))

    def _sort(
        self, message: Any, records: list[Any], partitions: list[int]
    ) -> tuple[dict[int, list[Record]], list[Reject]]:
        """Returns what is forwarded, by partition, and what is a dead letter."""
        outgoing: dict[int, list[Record]] = defaultdict(list)
        rejects: list[Reject] = []
        now_ms = int(time.time() * 1000)
        for record in records:
            try:
                if self._format is None or is_control(record.headers or ()):
                    forwarded = [self._of_contract(message, record)]
                else:
                    reading = read_record(record, self._format, self._limits, now_ms, keyed=False)
                    rejects += rejects_of(record, reading)
                    self._drops.count(message.topic, reading.dropped)
                    forwarded = forwarded_events(
                        message, record, reading.events, self._pseudonym_key
                    )
            except BadEvent as error:
                rejects.append(Reject(record.offset, error.reason, error.error, str(error), record))
                continue
            for each in forwarded:
                outgoing[self._partitioner(each[0], partitions, partitions)].append(each)
        return outgoing, rejects

    def _of_contract(self, message: Any, record: Any) -> Record:
        """Returns what is forwarded of an event or control of the contract; raises BadEvent."""
        user, value = user_and_value(
            record.value, self._settings.max_value_bytes, self._pseudonym_key
        )
        if value is not record.value and self._control_key and is_control(record.headers):
            record = signed_anew(record, value, self._control_key)
        return forwarded_record(message, record, user, value)


def user_of(value: bytes | None, max_value_bytes: int) -> bytes:
    """Returns the user that an event is to be keyed by.

    All else about the event is judged where it is applied. Raises BadEvent.
    """
    if isinstance(value, UnreadableBytes):
        raise BadEvent(value.reason, value.message)
    if value is not None and len(value) > max_value_bytes:
        raise BadEvent(
            "too-large",
            f"the value has {len(value)} bytes; send at most {max_value_bytes} (max_value_bytes)",
        )
    try:
        return _decode(value or b"").user_id.encode()
    except (msgspec.MsgspecError, UnicodeError, RecursionError) as error:
        raise _no_user(error) from None


def user_and_value(
    value: bytes | None, max_value_bytes: int, key: bytes | None = None
) -> tuple[bytes, bytes | None]:
    """Returns the user that an event is to be keyed by, and the event to forward.

    Both name a pseudonym if a key is given. An empty user_id has none: it is judged where the event
    is applied. Raises BadEvent.
    """
    user = user_of(value, max_value_bytes)
    if key is None or value is None or not user:
        return user, value
    name = pseudonym(user, key)
    try:
        return name.encode(), renamed(value, name)
    except (msgspec.MsgspecError, UnicodeError, RecursionError) as error:
        raise _no_user(error) from None


def _no_user(error: Exception) -> BadEvent:
    return BadEvent("no-user", f"no user_id to forward by: {error}", type(error).__name__)


def signed_anew(record: Any, value: bytes | None, key: bytes) -> Any:
    """Returns a control that names a pseudonym now, signed again if the signature was right.

    Of another one the signature stays wrong, so it becomes a dead letter where it is applied.
    """
    given = dict(record.headers).get(MAC_HEADER) or b""
    sound = value is not None and hmac.compare_digest(given, mac(record.value, key))
    headers = [
        (name, mac(value or b"", key) if sound and name == MAC_HEADER else found)
        for name, found in record.headers
    ]
    return ForwardedControl(headers, record.offset, record.timestamp)


def forwarded_record(
    message: Any, record: Any, user: bytes, value: bytes | None, place: int | None = None
) -> Record:
    """Returns a record keyed by its user, with its own headers and where it came from.

    place: of an event among several of the record.
    """
    # with the time, so that an event of a topic that was created again is none of the old one's
    origin = f"{message.topic}-{message.partition}-{record.offset}-{record.timestamp}"
    if place is not None:
        origin += f"-{place}"
    return user, value, [*record.headers, (ORIGIN_HEADER, origin.encode())]


def forwarded_events(
    message: Any, record: Any, events: Sequence[Event], key: bytes | None = None
) -> list[Record]:
    """Returns a record of the contract for each event that a record of another format holds.

    They name pseudonyms if a key is given.
    """
    forwarded = []
    for place, event in enumerate(events):
        if key is not None:
            event.user_id = pseudonym(event.user_id.encode(), key)
        several = place if len(events) > 1 else None
        user, value = event.user_id.encode(), encode_event(event)
        forwarded.append(forwarded_record(message, record, user, value, several))
    return forwarded

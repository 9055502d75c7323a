"""Sends requests about users' data (erase, suppress, unsuppress, forget), and finds them again.

A request is a control record in the source partition of its user (stream/contracts/control.py).
Whether it was obeyed, `request_watch` sees.
"""

from __future__ import annotations

import asyncio
import re
import secrets
import time
from collections.abc import Iterable, Mapping
from contextlib import suppress
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any, Final

import msgspec
from aiokafka import AIOKafkaConsumer, AIOKafkaProducer
from aiokafka.errors import KafkaError

from stream.clients.holdings import Progress
from stream.config import Settings
from stream.contracts.control import (
    ERASE,
    SUPPRESS,
    Control,
    encode_control,
    is_control,
)
from stream.contracts.faults import BadEvent
from stream.errors import PublishError, UsageError
from stream.kafka.client import open_producer
from stream.kafka.consumer import (
    partitions_of,
    ranges_of,
    records_of,
)

WAITING, DONE, REFUSED = STATES = ("waiting", "done", "refused")

CHUNK: Final = 500
"""Requests that are on their way at once."""

SEND_TIMEOUT_S: Final = 60.0


CLOCKS_APART_MS: Final = 3_600_000
"""How far this machine's clock may be ahead of the broker's."""

_MADE: Final = re.compile(r"[a-z]+-(\d{8}T\d{6}Z)-[0-9a-f]{8}")


@dataclass(frozen=True, slots=True)
class Ask:
    """Holds what is asked, of each of the users."""

    control: str
    request_id: str
    item_id: str | None = None
    query: str | None = None

    @property
    def erases(self) -> bool:
        """Returns whether everything is asked to go."""
        return self.control in (ERASE, SUPPRESS)


@dataclass(slots=True)
class Request:
    """Holds one request, and how far it has come."""

    user: str
    key: bytes
    partition: int
    offset: int | None = None  # None: not sent
    time_ms: int = 0  # the broker's, of the control
    state: str = WAITING
    why: str = ""  # it waits or was refused

    def as_json(self) -> dict[str, Any]:
        """Returns the request for a program to read."""
        return {
            "user_id": self.user,
            "partition": self.partition,
            "offset": self.offset,
            "time": self.time_ms,
            "state": self.state,
            "why": self.why or None,
        }


def new_request_id(control: str) -> str:
    """Returns a name for a request that no other has; it says when it was made."""
    return f"{control}-{datetime.now(UTC):%Y%m%dT%H%M%SZ}-{secrets.token_hex(4)}"


def made_at_ms(request_id: str) -> int:
    """Returns when a request was made by `new_request_id`; 0 for a name of other making."""
    found = _MADE.fullmatch(request_id)
    if found is None:
        return 0
    moment = datetime.strptime(found[1], "%Y%m%dT%H%M%SZ").replace(tzinfo=UTC)
    return int(moment.timestamp() * 1000)


Encoded = tuple[bytes, bytes, list[tuple[str, bytes]]]
"""Key, value and headers of a record."""


def encoded(settings: Settings, ask: Ask, keys: Iterable[bytes]) -> dict[bytes, Encoded]:
    """Returns the control of each user, by key.

    Raises UsageError for what no worker would take, SettingsError for a key that cannot be read.
    """
    secret, now_ms = settings.control_key(), int(time.time() * 1000)
    kind: Any = ask.control
    try:
        return {
            key: encode_control(
                Control(kind, key.decode(), ask.request_id, now_ms, ask.item_id, ask.query), secret
            )
            for key in keys
        }
    except BadEvent as error:
        raise UsageError(str(error)) from None


async def send(
    settings: Settings,
    requests: list[Request],
    made: Mapping[bytes, Encoded],
    progress: Progress,
) -> bool:
    """Sends requests and notes where each one lies; returns False if it was interrupted.

    What was sent before Ctrl-C (cancellation) is noted too. Raises BrokerError, PublishError.
    """
    producer = await open_producer(settings, linger_ms=5)
    try:
        async with asyncio.timeout(SEND_TIMEOUT_S + len(requests) / 100):
            for begin in range(0, len(requests), CHUNK):
                some = requests[begin : begin + CHUNK]
                await _send_some(producer, settings.source_topic, some, made)
                progress("sending", min(begin + CHUNK, len(requests)), len(requests))
    except asyncio.CancelledError:
        return False
    except (KafkaError, TimeoutError) as error:
        sent = sum(each.offset is not None for each in requests)
        raise PublishError(
            f"{sent:,} of {len(requests):,} requests were sent, then Kafka refused: "
            f"{str(error) or type(error).__name__}; run the command again, a request that is made "
            "twice does no harm"
        ) from error
    finally:
        with suppress(TimeoutError):
            await asyncio.wait_for(producer.stop(), SEND_TIMEOUT_S)
    return True


async def _send_some(
    producer: AIOKafkaProducer,
    topic: str,
    requests: list[Request],
    made: Mapping[bytes, Encoded],
) -> None:
    """Sends some requests and waits for their acknowledgements, those before a Ctrl-C too."""
    deliveries: list[Any] = []
    try:
        for request in requests:
            key, value, headers = made[request.key]
            deliveries.append(
                await producer.send(topic, value, key, request.partition, None, headers)
            )
        await asyncio.gather(*deliveries)
    finally:
        with suppress(KafkaError, TimeoutError):
            await asyncio.wait_for(producer.flush(), SEND_TIMEOUT_S)
        for request, delivery in zip(requests, deliveries, strict=False):
            if delivery.done() and not delivery.cancelled() and delivery.exception() is None:
                place = delivery.result()
                request.offset, request.time_ms = place.offset, place.timestamp


class _Made(msgspec.Struct):
    """Reads what a control says of itself."""

    control: str
    request_id: str


_decode: Final = msgspec.json.Decoder(_Made).decode


async def find(
    settings: Settings,
    consumer: AIOKafkaConsumer,
    request_id: str,
    requests: list[Request],
) -> str | None:
    """Notes where the requests of one name lie; returns what was asked, None if none is there."""
    used = {each.partition for each in requests}
    places = [
        each
        for each in await partitions_of(consumer, settings.source_topic)
        if each.partition in used
    ]
    ranges = await ranges_of(consumer, places)
    if since_ms := max(0, made_at_ms(request_id) - CLOCKS_APART_MS):
        found = await consumer.offsets_for_times(dict.fromkeys(places, since_ms))
        ranges = {
            each: (end if found.get(each) is None else max(begin, found[each].offset), end)
            for each, (begin, end) in ranges.items()
        }
    by_key = {each.key: each for each in requests}
    asked = None
    async for records in records_of(consumer, ranges):
        for record in records:
            if record.key not in by_key or not is_control(record.headers):
                continue
            with suppress(msgspec.MsgspecError):
                made = _decode(record.value or b"")
                if made.request_id == request_id:
                    request, asked = by_key[record.key], made.control
                    request.partition = record.partition
                    request.offset, request.time_ms = record.offset, record.timestamp
    return asked

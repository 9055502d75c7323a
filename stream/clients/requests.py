"""Sends requests about users' data (erase, suppress, unsuppress, forget) and sees them obeyed.

A request is a control record in the source partition of its user (stream/contracts/control.py).
Whether it was obeyed is read from the log alone: the offset of the user's state, the profile, the
committed offset, the dead letters. So it can be asked again at any time, by anybody, and a command
that was interrupted has forgotten nothing.
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
import orjson
from aiokafka import AIOKafkaConsumer, AIOKafkaProducer, TopicPartition
from aiokafka.errors import KafkaError

from stream.clients.holdings import Newest, Progress
from stream.config import Settings
from stream.contracts.control import (
    ERASE,
    SUPPRESS,
    Control,
    encode_control,
    is_control,
)
from stream.contracts.faults import BadEvent
from stream.contracts.state_record import CorruptRecordError, Record, decode_record
from stream.errors import PublishError, UsageError
from stream.kafka.client import open_producer
from stream.kafka.consumer import (
    commits,
    open_consumer,
    partitions_of,
    ranges_of,
    readers_of,
    records_of,
)

WAITING, DONE, REFUSED = STATES = ("waiting", "done", "refused")

CHUNK: Final = 500
"""Requests that are on their way at once."""

SEND_TIMEOUT_S: Final = 60.0
LOOK_MS: Final = 200
"""Longest wait for records between two looks at the committed offsets."""

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


@dataclass(slots=True)
class Facts:
    """Holds what the log says about one request."""

    state: Record | None = None  # None: there is none, or a null
    profile_offset: int | None = None  # the source offset of the profile; None: none, or a null
    committed: int = 0  # of the source partition
    letter: dict[str, str] | None = None  # facts of the dead letter that the control has become


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


def judge(ask: Ask, request: Request, facts: Facts) -> tuple[str, str]:
    """Returns the state of a request, and why it waits or was refused. Pure."""
    if request.offset is None:
        return WAITING, "it was not sent"
    if facts.letter is not None:
        return REFUSED, _refusal(facts.letter)
    offset = -1 if facts.state is None else int(facts.state.header["offset"])
    if offset < request.offset and facts.committed <= request.offset:
        behind = f"the workers are at offset {facts.committed} of partition {request.partition}"
        return WAITING, f"{behind}, the request is at {request.offset}"
    if not ask.erases:
        return DONE, ""
    if facts.state is not None and facts.state.erased_ms < request.time_ms:
        return WAITING, "the state is not the marker of an erased user yet"
    if facts.profile_offset is not None and facts.profile_offset < request.offset:
        return WAITING, "the profile is not empty yet"
    return DONE, ""


def _refusal(letter: dict[str, str]) -> str:
    reason, message = letter.get("reason", ""), letter.get("message", "")
    if reason == "bad-control":
        return f"a worker made a dead letter of it ({reason}): {message}"
    return (
        f"a worker of version {letter.get('worker', 'unknown')} made a dead letter of it "
        f"({reason}): that version knows no such request. Upgrade every worker, and run the "
        "command again"
    )


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


class Watch:
    """Follows what workers write about requests, from before they were sent.

    `open` before sending, `wait` after it, `close` in the end.
    """

    def __init__(
        self, settings: Settings, consumer: AIOKafkaConsumer, ask: Ask, requests: list[Request]
    ) -> None:
        self._settings, self._consumer, self._ask = settings, consumer, ask
        self.requests = requests
        self._facts = {each.key: Facts() for each in requests}
        self._by_key = {each.key: each for each in requests}
        self._positions: dict[TopicPartition, int] = {}
        self._group: AIOKafkaConsumer | None = None

    async def open(self, states: Newest, profiles: Newest) -> None:
        """Takes what was read already, and notes where reading goes on.

        Raises BrokerError, TopicError.
        """
        # of the workers' group, to read its offsets; it neither joins nor is assigned anything,
        # because aiokafka's coordinator fails where an assignment changes under it
        self._group = await open_consumer(self._settings, group_id=self._settings.app_id)
        for records in (states.records, profiles.records):
            for record in records.values():
                self._note(record)
        topics = self._settings.changelog_topic, self._settings.profiles_topic
        used = {each.partition for each in self.requests}
        places = [TopicPartition(topic, each) for topic in topics for each in sorted(used)]
        places += await partitions_of(self._consumer, self._settings.dead_letters_topic)
        read = states.ranges | profiles.ranges
        ends = {each: end for each, (_, end) in (await ranges_of(self._consumer, places)).items()}
        self._positions = ends | {each: end for each, (_, end) in read.items() if each in ends}

    async def close(self) -> None:
        """Disconnects from the group's coordinator."""
        if self._group is not None:
            await self._group.stop()

    async def wait(self, wait_s: float, progress: Progress) -> bool:
        """Waits until every request that was sent is obeyed or refused; False: not in time."""
        deadline = time.monotonic() + wait_s
        self._consumer.assign(list(self._positions))
        for place, position in self._positions.items():
            self._consumer.seek(place, position)
        while True:
            for records in (await self._consumer.getmany(timeout_ms=LOOK_MS)).values():
                for record in records:
                    self._note(record)
            await self._read_committed()
            left = self._judge()
            progress("obeyed", len(self.requests) - left, len(self.requests))
            if not left or time.monotonic() > deadline:
                return not left

    async def look_back(self) -> None:
        """Judges requests that were sent some time ago by all that is in the log now."""
        letters = self._settings.dead_letters_topic
        places = [each for each in self._positions if each.topic == letters]
        async for records in records_of(self._consumer, await ranges_of(self._consumer, places)):
            for record in records:
                self._note(record)
        await self._read_committed()
        self._judge()

    async def why_not(self) -> str:
        """Returns what a person should look at when nothing happens."""
        settings = self._settings
        waiting = [
            each for each in self.requests if each.state == WAITING and each.offset is not None
        ]
        with suppress(KafkaError):
            read = await readers_of(self._group, settings.app_id)
            unread = sorted(
                {
                    each.partition
                    for each in waiting
                    if TopicPartition(settings.source_topic, each.partition) not in read
                }
            )
            if not read:
                return (
                    f"no worker of group {settings.app_id} reads {settings.source_topic}: start "
                    "one, or check --app-id. The request is in the topic and will be obeyed"
                )
            if unread:
                return (
                    f"no worker of group {settings.app_id} reads partition "
                    f"{', '.join(map(str, unread))} of {settings.source_topic}"
                )
        return waiting[0].why if waiting else ""

    def _judge(self) -> int:
        """Judges every request and returns how many wait."""
        left = 0
        for each in self.requests:
            if each.state == WAITING:
                each.state, each.why = judge(self._ask, each, self._facts[each.key])
            left += each.state == WAITING and each.offset is not None
        return left

    async def _read_committed(self) -> None:
        topic = self._settings.source_topic
        used = {each.partition for each in self.requests}
        found = await commits(self._group, [TopicPartition(topic, each) for each in used])
        committed = {each.partition: commit.offset for each, commit in found.items()}
        for request in self.requests:
            self._facts[request.key].committed = committed.get(request.partition, 0)

    def _note(self, record: Any) -> None:
        """Takes what a record says about one of the requests, if it says anything."""
        settings = self._settings
        if record.topic == settings.dead_letters_topic:
            self._note_letter(record)
        elif record.key in self._facts:
            facts = self._facts[record.key]
            if record.topic == settings.profiles_topic:
                facts.profile_offset = source_offset(record.value)
            else:
                facts.state = state_of(record.value)

    def _note_letter(self, record: Any) -> None:
        request = self._by_key.get(record.key)
        if request is None:
            return
        facts = {
            name.removeprefix("is.dlq."): (value or b"").decode(errors="replace")
            for name, value in record.headers
        }
        # with the time, because a topic that was made anew has other records at the same places
        numbers = map(str, (request.partition, request.offset, request.time_ms))
        place = [self._settings.source_topic, *numbers]
        if [facts.get(name) for name in ("topic", "partition", "offset", "timestamp")] == place:
            self._facts[record.key].letter = facts


def state_of(value: bytes | None) -> Record | None:
    """Returns the state in a changelog value, None for a null or what is no state."""
    if value is None:
        return None
    try:
        return decode_record(value)
    except CorruptRecordError:
        return None


def source_offset(value: bytes | None) -> int | None:
    """Returns the offset of the event that a profile is as of, None for a null."""
    try:
        return int(orjson.loads(value or b"")["source"]["offset"])
    except (ValueError, KeyError, TypeError):
        return None


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

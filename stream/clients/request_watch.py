"""Sees whether requests about users' data were obeyed.

It is read from the log alone: the offset of the user's state, the profile, the committed offset,
the dead letters. So it can be asked again at any time, by anybody, and a command that was
interrupted has forgotten nothing.
"""

from __future__ import annotations

import time
from contextlib import suppress
from dataclasses import dataclass
from typing import Any, Final

import orjson
from aiokafka import AIOKafkaConsumer, TopicPartition
from aiokafka.errors import KafkaError

from stream.clients.holdings import Newest, Progress
from stream.clients.requests import DONE, REFUSED, WAITING, Ask, Request
from stream.config import Settings
from stream.contracts.state_record import CorruptRecordError, Record, decode_record
from stream.kafka.consumer import (
    commits,
    open_consumer,
    partitions_of,
    ranges_of,
    readers_of,
    records_of,
)

LOOK_MS: Final = 200
"""Longest wait for records between two looks at the committed offsets."""


@dataclass(slots=True)
class Facts:
    """Holds what the log says about one request."""

    state: Record | None = None  # None: there is none, or a null
    profile_offset: int | None = None  # the source offset of the profile; None: none, or a null
    committed: int = 0  # of the source partition
    letter: dict[str, str] | None = None  # facts of the dead letter that the control has become


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

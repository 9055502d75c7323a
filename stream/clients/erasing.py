"""Erases users and says place by place what was found, what is done, and until when the rest lives.

The order matters. State and profile are looked at before the request is sent, because it empties
them; then workers obey it; what lies in logs is counted last, because nothing can be done about it
but to wait until Kafka deletes it.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Collection, Mapping
from dataclasses import dataclass, field
from typing import Any, Final

from aiokafka import AIOKafkaConsumer
from aiokafka.errors import KafkaError

from stream.clients.holdings import (
    EVENTS,
    LETTERS,
    PROFILE,
    RAW,
    STATE,
    UPDATES,
    Newest,
    Place,
    Progress,
    Users,
    newest_profiles,
    newest_states,
    partitions_of_users,
    search_log,
)
from stream.clients.request_watch import Watch, source_offset, state_of
from stream.clients.requests import DONE, REFUSED, WAITING, Ask, Request, encoded, find, send
from stream.config import Settings
from stream.contracts.control import FORGET, SUPPRESS, UNSUPPRESS
from stream.errors import DataError, TopicError
from stream.kafka.consumer import open_consumer, partitions_of
from stream.kafka.topic_life import Life, life_of
from stream.kafka.topic_rules import Found
from stream.kafka.topics import look_at_topics
from stream.plain_text import span

NOT_TOUCHED: Final = (
    "trained models: train again without the user (train --exclude-users)",
    "event files, data sets and other copies outside the topics, and backups of the brokers",
    "what readers of the updates and profiles have stored",
)
"""What no request reaches, in words."""


@dataclass(slots=True)
class Held:
    """Holds what one place had, what is done there, and until when the rest can be read."""

    place: Place
    done: str
    gone_by_ms: int | None = None  # None: nothing was found, or it stays without end
    key_gone_by_ms: int | None = None  # of a compacted topic: the key and the null go later
    endless: bool = False
    details: dict[str, Any] = field(default_factory=dict)

    def as_json(self) -> dict[str, Any]:
        """Returns the place for a program to read."""
        place = self.place
        return {
            "place": place.name,
            "topic": place.topic,
            "read": {str(each): list(range_) for each, range_ in sorted(place.ranges.items())},
            "found": place.found,
            "users": len(place.users),
            "newest": place.newest_ms,
            "done": self.done,
            "gone_by": self.gone_by_ms,
            "key_gone_by": self.key_gone_by_ms,
            "life": None if place.life is None else place.life.as_json(),
            **self.details,
        }


@dataclass(slots=True)
class Outcome:
    """Holds what became of one call."""

    ask: Ask
    requests: list[Request]
    dry_run: bool = False
    places: list[Held] = field(default_factory=list)
    warnings: list[str] = field(default_factory=list)
    interrupted: bool = False
    why: str = ""  # it is not done

    @property
    def sent(self) -> int:
        """Returns how many requests are in the topic."""
        return sum(each.offset is not None for each in self.requests)

    @property
    def state(self) -> str:
        """Returns the state of all requests together: the worst of them."""
        states = {each.state for each in self.requests}
        return REFUSED if REFUSED in states else WAITING if WAITING in states else DONE

    @property
    def held(self) -> set[bytes]:
        """Returns the users of whom a state or profile was held, by key."""
        kept = (each.place for each in self.places if each.place.name in (STATE, PROFILE))
        return {user for place in kept for user in place.users}

    def as_json(self) -> dict[str, Any]:
        """Returns the outcome for a program to read."""
        return {
            "request_id": self.ask.request_id,
            "control": self.ask.control,
            "state": self.state,
            "dry_run": self.dry_run,
            "interrupted": self.interrupted,
            "users": len(self.requests),
            "sent": self.sent,
            "done": sum(each.state == DONE for each in self.requests),
            "refused": sum(each.state == REFUSED for each in self.requests),
            "held": len(self.held),
            "why": self.why or None,
            "requests": [each.as_json() for each in self.requests],
            "places": [each.as_json() for each in self.places],
            "not_touched": list(NOT_TOUCHED),
            "warnings": self.warnings,
        }


@dataclass(slots=True)
class _Before:
    """Holds what there was before a request, and where it has to go."""

    users: Users
    states: Newest
    profiles: Newest
    requests: list[Request]
    topics: dict[str, Found]


async def ask_workers(
    settings: Settings,
    ids: Collection[str],
    ask: Ask,
    *,
    wait_s: float,
    dry_run: bool,
    count: bool,
    progress: Progress,
) -> Outcome:
    """Sends a request for each user, waits until workers have obeyed it, and returns what is left.

    dry_run: nothing is sent. count: logs are searched too. On Ctrl-C (cancellation) the outcome is
    what was done until then. Raises BrokerError, TopicError, PublishError, UsageError.
    """
    users = Users.of(settings, ids)
    made = encoded(settings, ask, users.ids)
    outcome = Outcome(ask, [], dry_run)
    consumer, watch = await open_consumer(settings), None
    try:
        before = await _look_before(settings, consumer, users, outcome)
        outcome.requests = before.requests
        watch = Watch(settings, consumer, ask, before.requests)
        await watch.open(before.states, before.profiles)
        if not dry_run:
            outcome.interrupted = not await send(settings, before.requests, made, progress)
        at_ms = max((each.time_ms for each in before.requests), default=0)
        outcome.places = _emptied(settings, ask, before, at_ms or int(time.time() * 1000))
        if not dry_run and not outcome.interrupted and wait_s:
            await _follow(watch, wait_s, outcome, progress)
        if count and not outcome.interrupted:
            await _count_logs(settings, consumer, before, outcome, progress)
    except asyncio.CancelledError:
        outcome.interrupted = True
    finally:
        await consumer.stop()
        if watch is not None:
            await watch.close()
    return outcome


async def _follow(watch: Watch, wait_s: float, outcome: Outcome, progress: Progress) -> None:
    """Waits until the requests are obeyed, and says why not; they are in the topic already."""
    try:
        if not await watch.wait(wait_s, progress):
            outcome.why = await watch.why_not()
    except KafkaError as error:
        outcome.why = f"Kafka does not let this client see ({type(error).__name__}: {error})"
    outcome.why = outcome.why or _first_refusal(outcome.requests)


async def look_again(
    settings: Settings, ids: Collection[str], request_id: str, progress: Progress
) -> Outcome:
    """Returns how far the requests of a name have come, and what is held now.

    Raises BrokerError, TopicError, UsageError, and DataError if no such request is in the topic.
    """
    users = Users.of(settings, ids)
    outcome = Outcome(Ask("", request_id), [])
    consumer = await open_consumer(settings)
    try:
        before = await _look_before(settings, consumer, users, outcome)
        outcome.requests = before.requests
        asked = await find(settings, consumer, request_id, before.requests)
        if asked is None:
            raise DataError(
                f"no request {request_id} of these users is in {settings.source_topic}; check "
                "--status and --user, or whether the topic has deleted it since"
            )
        outcome.ask = Ask(asked, request_id)
        await _judge_now(settings, consumer, before, outcome)
        at_ms = max(each.time_ms for each in before.requests)
        outcome.places = _emptied(settings, outcome.ask, before, at_ms)
        await _count_logs(settings, consumer, before, outcome, progress)
    finally:
        await consumer.stop()
    return outcome


async def _judge_now(
    settings: Settings, consumer: AIOKafkaConsumer, before: _Before, outcome: Outcome
) -> None:
    watch = Watch(settings, consumer, outcome.ask, before.requests)
    try:
        await watch.open(before.states, before.profiles)
        await watch.look_back()
        waiting = [each for each in before.requests if each.state == WAITING]
        outcome.why = await watch.why_not() if waiting else _first_refusal(before.requests)
    finally:
        await watch.close()


def _first_refusal(requests: list[Request]) -> str:
    return next((each.why for each in requests if each.state == REFUSED), "")


async def _look_before(
    settings: Settings, consumer: AIOKafkaConsumer, users: Users, outcome: Outcome
) -> _Before:
    """Reads state and profile of each user, and the settings of the topics."""
    try:
        topics = (await look_at_topics(settings)).found
    except TopicError as error:
        topics = {}
        outcome.warnings.append(f"until when the rest lives is not known: {error}")
    source = topics.get(settings.source_topic)
    if source is not None and source.settings.get("message.timestamp.type") == "CreateTime":
        outcome.warnings.append(
            f"{settings.source_topic} has message.timestamp.type CreateTime: the moment of the "
            "request is that of this machine's clock, and which events are older than it depends "
            "on the clocks of producers; set it to LogAppendTime"
        )
    places = await partitions_of(consumer, settings.source_topic)
    states = await newest_states(consumer, settings, users)
    partitions = partitions_of_users(users, states, len(places), settings.source_topic)
    profiles = await newest_profiles(consumer, settings, users, set(partitions.values()))
    requests = [Request(users.ids[key], key, partitions[key]) for key in users.ids]
    return _Before(users, states, profiles, requests, topics)


def _emptied(settings: Settings, ask: Ask, before: _Before, at_ms: int) -> list[Held]:
    """Returns what was held in the two places that a request empties, at the moment it was made."""
    lives = _lives(before.topics)
    state = Place(STATE, settings.changelog_topic, lives.get(settings.changelog_topic))
    kept = events = 0
    for key, record in before.states.records.items():
        found = state_of(record.value)
        if found is not None and not found.is_marker:
            state.add((key,), record, keep=False)
            kept, events = kept + len(found.recent), events + int(found.header["count"])
    profile = Place(PROFILE, settings.profiles_topic, lives.get(settings.profiles_topic))
    for key, record in before.profiles.records.items():
        if source_offset(record.value) is not None:
            profile.add((key,), record, keep=False)
    for place, read in ((state, before.states), (profile, before.profiles)):
        place.ranges = {each.partition: range_ for each, range_ in read.ranges.items()}
    window = settings.late_window_ms
    held = [
        Held(state, _done_to_state(ask, settings), details={"events_kept": kept, "events": events}),
        Held(profile, _done_to_profile(ask)),
    ]
    for each, until_null in zip(held, (window, 0), strict=True):
        if each.place.found and ask.control != UNSUPPRESS:
            _date(each, each.place.life, at_ms, until_null)
    return held


def _date(held: Held, life: Life | None, at_ms: int, until_null_ms: int) -> None:
    """Says when a value that is replaced now is gone, and the key after the null that follows."""
    if life is None or life.value_ms is None:
        held.endless = life is not None
        return
    held.gone_by_ms = at_ms + life.value_ms
    held.key_gone_by_ms = None if life.key_ms is None else at_ms + until_null_ms + life.key_ms


def _done_to_state(ask: Ask, settings: Settings) -> str:
    window = span(settings.late_window_ms)
    if ask.control == SUPPRESS:
        return "emptied; a marker without events drops every event until `unsuppress`"
    if ask.control == UNSUPPRESS:
        return "events are taken again, those that happen from now on"
    if ask.control == FORGET:
        return "its events about it are dropped, and the memory is made anew of the others"
    return f"emptied; a marker without events drops late ones for {window}, then a null follows"


def _done_to_profile(ask: Ask) -> str:
    if ask.erases:
        return "replaced by a null"
    if ask.control == UNSUPPRESS:
        return "left as it is"
    return "replaced by an update as of the events that are left"


async def _count_logs(
    settings: Settings,
    consumer: AIOKafkaConsumer,
    before: _Before,
    outcome: Outcome,
    progress: Progress,
) -> None:
    """Adds what the logs hold, which nobody can take out of them."""
    lives, used = _lives(before.topics), {each.partition for each in before.requests}
    logs: list[tuple[str, str, Collection[int] | None]] = [
        (UPDATES, settings.updates_topic, used),
        (EVENTS, settings.source_topic, used),
        (LETTERS, settings.dead_letters_topic, None),
    ]
    if settings.rekey:
        logs.append((RAW, settings.events_topic, None))
    for name, topic, partitions in logs:
        place = Place(name, topic, lives.get(topic))
        try:
            await search_log(consumer, place, before.users, partitions, progress)
        except (KafkaError, TopicError) as error:  # what was asked is done all the same
            reason = f"{type(error).__name__}: {error}"
            outcome.warnings.append(f"{topic} could not be searched ({reason})")
            continue
        held = Held(place, "left: Kafka deletes whole segments of a log, when they are old")
        held.gone_by_ms = place.gone_by_ms
        held.endless = bool(place.found and place.life and place.life.value_ms is None)
        outcome.places.append(held)


def _lives(topics: Mapping[str, Found]) -> dict[str, Life]:
    return {name: life_of(found.settings) for name, found in topics.items()}

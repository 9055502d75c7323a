"""Collects all that a pipeline holds about one user, as JSON that a person can read.

Every part says which offsets of which topic were read and until when what was found can be read
there. Texts that are no UTF-8 are given in base64.
"""

from __future__ import annotations

import base64
import os
import time
from collections.abc import Collection
from pathlib import Path
from typing import Any, Final

import numpy as np
import orjson

from stream.clients.dead_letter_replay import parse
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
from stream.clients.reader import recent_events
from stream.clients.request_watch import state_of
from stream.config import Settings
from stream.contracts.state_record import Record
from stream.errors import DataError, TopicError, UsageError
from stream.kafka.consumer import open_consumer, partitions_of
from stream.kafka.topic_life import Life, life_of
from stream.kafka.topics import look_at_topics
from stream.plain_text import utc
from stream.schema_registry.updates import PlainValues

FORMAT: Final = "interest-stream export 1"
MOMENT: Final = "%Y-%m-%dT%H:%M:%SZ"
ELSEWHERE: Final = (
    "trained models do not hold a user's history; words and items of a training are described in "
    "docs/operate/privacy.md",
    "event files, data sets, backups, and what readers of the topics have stored are not searched",
)


async def collect(settings: Settings, user: str, progress: Progress) -> dict[str, Any]:
    """Returns everything that is held about a user; raises BrokerError, TopicError, UsageError."""
    users = Users.of(settings, [user])
    (key,) = users.ids
    lives, warnings = await _lives(settings)
    values = PlainValues(settings)
    consumer = await open_consumer(settings)
    try:
        count = len(await partitions_of(consumer, settings.source_topic))
        states = await newest_states(consumer, settings, users)
        (home,) = partitions_of_users(users, states, count, settings.source_topic).values()
        profiles = await newest_profiles(consumer, settings, users, {home})
        logs = {
            UPDATES: Place(UPDATES, settings.updates_topic, lives.get(settings.updates_topic)),
            EVENTS: Place(EVENTS, settings.source_topic, lives.get(settings.source_topic)),
            LETTERS: Place(
                LETTERS, settings.dead_letters_topic, lives.get(settings.dead_letters_topic)
            ),
        }
        if settings.rekey:
            logs[RAW] = Place(RAW, settings.events_topic, lives.get(settings.events_topic))
        asked: list[Any] = []
        for name, place in logs.items():
            only: Collection[int] | None = {home} if name in (UPDATES, EVENTS) else None
            await search_log(
                consumer, place, users, only, progress, keep=True, controls=asked.append
            )
        for place in logs.values():
            place.records = list(await values.of(place.records))
    finally:
        await consumer.stop()
        await values.close()
    record = states.records.get(key)
    state = None if record is None else state_of(record.value)
    found = {
        "format": FORMAT,
        "user_id": user,
        "pseudonym": None if key == user.encode() else key.decode(),
        "made_at": utc(int(time.time() * 1000), MOMENT),
        "pipeline": settings.app_id,
        "state": _newest_part(STATE, states, key, lives.get(settings.changelog_topic))
        | {"state": None if state is None or state.is_marker else state_part(state)},
        "profile": _newest_part(PROFILE, profiles, key, lives.get(settings.profiles_topic))
        | {"profile": _json(_value(profiles, key))},
        "suppression": suppression_part(settings, state),
        "requests": [_request(each) for each in asked],
    }
    read = {UPDATES: _update, EVENTS: _event, LETTERS: letter_part, RAW: _event}
    for name, place in logs.items():
        records = sorted(place.records, key=lambda each: (each.timestamp, each.offset))
        found[name.replace(" ", "_")] = _log_part(place) | {
            "records": [read[name](each) for each in records]
        }
    return found | {"elsewhere": list(ELSEWHERE), "warnings": warnings}


def write(found: dict[str, Any], path: Path) -> None:
    """Writes an export to a new file that only its owner can read; raises UsageError."""
    text = orjson.dumps(found, option=orjson.OPT_INDENT_2 | orjson.OPT_APPEND_NEWLINE)
    try:
        descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    except FileExistsError:
        raise UsageError(f"{path} exists; name a new file with --out") from None
    with os.fdopen(descriptor, "wb") as out:
        out.write(text)


async def _lives(settings: Settings) -> tuple[dict[str, Life], list[str]]:
    try:
        topics = (await look_at_topics(settings)).found
    except TopicError as error:
        return {}, [f"until when records can be read is not known: {error}"]
    return {name: life_of(each.settings) for name, each in topics.items()}, []


def _newest_part(name: str, newest: Newest, key: bytes, life: Life | None) -> dict[str, Any]:
    """Returns where the newest record of the user was looked for, and how long a value stays."""
    record = newest.records.get(key)
    return {
        "topic": next((each.topic for each in newest.ranges), name),
        "offsets_read": {
            str(each.partition): list(range_) for each, range_ in newest.ranges.items()
        },
        "partition": None if record is None else record.partition,
        "offset": None if record is None else record.offset,
        "written_at": None if record is None else utc(record.timestamp, MOMENT),
        "kept": "until a newer record replaces it; "
        + ("for how long is not known" if life is None else life.in_words()),
    }


def _log_part(place: Place) -> dict[str, Any]:
    """Returns where a log was read, and until when what was found can be read there."""
    gone = place.gone_by_ms
    return {
        "topic": place.topic,
        "offsets_read": {str(each): list(range_) for each, range_ in place.ranges.items()},
        "kept": "for how long is not known" if place.life is None else place.life.in_words(),
        "gone_by": None if gone is None else utc(gone, MOMENT),
        "found": place.found,
    }


def state_part(state: Record) -> dict[str, Any]:
    """Returns a state in words; its memory has none."""
    header = state.header
    return {
        "events_applied": int(header["count"]),
        "last_event_at": utc(int(header["time_ms"]), MOMENT),
        "last_offset": int(header["offset"]),
        "partition": int(header["partition"]),
        "digest": f"{int(header['digest']):016x}",
        "model_fingerprint": f"{int(header['fingerprint']):016x}",
        "memory": {
            "numbers": len(state.memory),
            "length": round(float(np.linalg.norm(state.memory)), 6),
            "meaning": "what the model keeps of all events; no number has a meaning by itself",
            "float32_base64": base64.b64encode(state.memory.tobytes()).decode(),
        },
        "recent_events": [
            each | {"time": utc(each["time"], MOMENT)} for each in recent_events(state)
        ],
    }


def suppression_part(settings: Settings, state: Record | None) -> dict[str, Any]:
    """Returns which events of the user are dropped."""
    erased = 0 if state is None else state.erased_ms
    return {
        "suppressed": state is not None and state.suppressed,
        "erased_at": utc(erased, MOMENT) if erased else None,
        "older_events_are_dropped_until": utc(erased + settings.late_window_ms, MOMENT)
        if erased
        else None,
    }


def _value(newest: Newest, key: bytes) -> bytes | None:
    record = newest.records.get(key)
    value: bytes | None = None if record is None else record.value
    return value


def _json(value: bytes | None) -> Any:
    """Returns a value as what it says, or its text if it is no JSON."""
    if value is None:
        return None
    try:
        return orjson.loads(value)
    except ValueError:
        return _text(value)


def _text(value: bytes | None) -> Any:
    try:
        return None if value is None else value.decode()
    except UnicodeDecodeError:
        return {"base64": base64.b64encode(value or b"").decode()}


def _place(record: Any) -> dict[str, Any]:
    return {
        "partition": record.partition,
        "offset": record.offset,
        "written_at": utc(record.timestamp, MOMENT),
    }


def _update(record: Any) -> dict[str, Any]:
    return _place(record) | {"update": _json(record.value)}


def _event(record: Any) -> dict[str, Any]:
    return _place(record) | {"event": _json(record.value)}


def _request(record: Any) -> dict[str, Any]:
    return _place(record) | {"request": _json(record.value)}


def letter_part(record: Any) -> dict[str, Any]:
    """Returns a dead letter with its original bytes, and what was wrong with them."""
    found = _place(record) | {"key": _text(record.key), "value": _json(record.value)}
    try:
        letter = parse(record)
    except DataError:
        return found
    return found | {"original": letter.place, "reason": letter.reason, "message": letter.message}

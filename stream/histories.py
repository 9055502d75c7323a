"""Histories from a file through the worker's own path: one batch of a made-up partition, a blank arena, hop 4 to 6.

What differs from a worker is only where events come from and that nothing is kept.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import Any, Final

import msgspec
import numpy as np

from models.compact import COMPACT
from stream.event_faults import BadEvent, fault_of
from stream.events import Event, EventBatch, Limits, check_event, compact_event
from stream.scoring import Scoring
from stream.state import Arena

TOPIC: Final = "histories"
"""Stands in the updates where a worker names its source topic."""

HISTORIES: Final = 256
EVENTS: Final = 16_384
"""A batch is closed when it has this many of either."""

_decode: Final = msgspec.json.Decoder(dict[str, Any]).decode


@dataclass(frozen=True, slots=True)
class History:
    """One user of a line: its number, and the events, oldest first."""

    line: int
    user_id: str
    events: list[Event]


def parse_history(line: bytes, number: int, limits: Limits) -> History:
    """`{"user_id": ..., "events": [...]}`; the events need no user_id of their own. Raises BadEvent naming field and fix."""
    try:
        row = _decode(line)
    except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError) as error:
        raise fault_of(line, error) from None
    user_id, events = row.get("user_id"), row.get("events")
    if not isinstance(user_id, str) or not user_id:
        raise BadEvent("missing-field", 'user_id is missing or no string; write {"user_id": "u1", "events": [...]}')
    if not isinstance(events, list) or not events:
        raise BadEvent("missing-field", "events is missing, empty or no array; a prediction needs at least one event")
    return History(number, user_id, [_event(each, place, user_id, limits) for place, each in enumerate(events)])


def rank_histories(
    histories: Iterable[History], scoring: Scoring, now_ms: int
) -> Iterator[tuple[History, bytes | str]]:
    """Each history with its update as JSON, in the order given; or with the reason why the model failed on it."""
    batch: list[History] = []
    users: set[str] = set()
    for history in histories:
        full = len(batch) >= HISTORIES or sum(len(each.events) for each in batch) >= EVENTS
        if batch and (full or history.user_id in users):
            yield from _rank(batch, scoring, now_ms)
            batch, users = [], set()
        batch.append(history)
        users.add(history.user_id)
    if batch:
        yield from _rank(batch, scoring, now_ms)


def _rank(batch: list[History], scoring: Scoring, now_ms: int) -> Iterator[tuple[History, bytes | str]]:
    info = scoring.predictor.info
    arena = Arena(info.state_size, info.fingerprint, 1)
    outcome = scoring.process(_event_batch(batch), arena, now_ms)
    updates = dict(zip(outcome.users, outcome.updates, strict=True))  # of a user scored twice the later one stays
    for history in batch:
        user = history.user_id.encode()
        if user in updates:
            yield history, updates[user]
        else:
            yield history, outcome.rejects[0].message if outcome.rejects else "every event was a repetition of another"


def _event_batch(batch: list[History]) -> EventBatch:
    events = [event for history in batch for event in history.events]
    return EventBatch(
        topic=TOPIC,
        partition=0,
        first_offset=0,
        last_offset=len(events) - 1,
        users=[history.user_id.encode() for history in batch for _ in history.events],
        offsets=np.arange(len(events), dtype=np.int64),
        checksums=np.zeros(len(events), np.uint32),
        compact=np.array([compact_event(event) for event in events], COMPACT),
        timestamps_ms=np.full(len(events), -1, np.int64),
        rejects=[],
    )


def _event(row: Any, place: int, user_id: str, limits: Limits) -> Event:
    if not isinstance(row, dict):
        raise BadEvent("not-object", f"events[{place}] is no object")
    if row.get("user_id", user_id) != user_id:
        raise BadEvent("key-mismatch", f"events[{place}] has another user_id than the history")
    try:
        event = msgspec.convert({**row, "user_id": user_id}, Event)
        check_event(event, limits)
    except msgspec.ValidationError as error:
        fault = fault_of(msgspec.json.encode(row), error)
        raise BadEvent(fault.reason, f"events[{place}]: {fault}") from None
    except BadEvent as error:
        raise BadEvent(error.reason, f"events[{place}]: {error}") from None
    return event

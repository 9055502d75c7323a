"""Ranks histories of events by the worker's own hops, without Kafka.

Histories become one batch of a partition that does not exist, which goes through an empty arena and
hops 4 to 6 of the pipeline. Nothing is kept afterwards.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import Any, Final

import msgspec
import numpy as np

from models.compact import COMPACT
from models.contract import Predictor
from stream.contracts.event import Event, Limits, check_event, compact_event
from stream.contracts.event_batch import EventBatch
from stream.contracts.faults import BadEvent, fault_of
from stream.contracts.update import UpdateSize
from stream.pipeline.scoring import Scoring
from stream.pipeline.state import Arena

TOPIC: Final = "histories"
"""Stands in the updates in the place of a source topic."""

HISTORIES: Final = 256
EVENTS: Final = 16_384
"""A batch is closed when it has this many of either."""

_decode: Final = msgspec.json.Decoder(dict[str, Any]).decode


@dataclass(frozen=True, slots=True)
class History:
    """Holds the events of one user, oldest first, and the number of their line."""

    line: int
    user_id: str
    events: list[Event]


def parse_history(line: bytes, number: int, limits: Limits) -> History:
    """Returns the history of a line `{"user_id": ..., "events": [...]}`.

    The events need no user_id of their own. Raises BadEvent naming field and fix.
    """
    try:
        row = _decode(line)
    except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError) as error:
        raise fault_of(line, error) from None
    user_id, events = row.get("user_id"), row.get("events")
    if not isinstance(user_id, str) or not user_id:
        raise BadEvent(
            "missing-field",
            'user_id is missing or no string; write {"user_id": "u1", "events": [...]}',
        )
    if not isinstance(events, list) or not events:
        raise BadEvent(
            "missing-field",
            "events is missing, empty or no array; a prediction needs at least one event",
        )
    return History(
        number, user_id, [_event(each, place, user_id, limits) for place, each in enumerate(events)]
    )


def scoring_of(predictor: Predictor, *, interests: int, items: int, because: int) -> Scoring:
    """Returns what scores histories, with so many interests, items and causes in an update."""
    return Scoring(predictor, UpdateSize(interests, items, because))


def rank_histories(
    histories: Iterable[History], scoring: Scoring, now_ms: int
) -> Iterator[tuple[History, bytes | str]]:
    """Yields each history with its update as JSON, in the order given.

    Where the model failed on a history, the reason stands in the place of the update.
    """
    batch: list[History] = []
    users: set[str] = set()
    for history in histories:
        # A user that comes a second time is another user, so the batch ends before it.
        full = len(batch) >= HISTORIES or sum(len(each.events) for each in batch) >= EVENTS
        if batch and (full or history.user_id in users):
            yield from _rank(batch, scoring, now_ms)
            batch, users = [], set()
        batch.append(history)
        users.add(history.user_id)
    if batch:
        yield from _rank(batch, scoring, now_ms)


def _rank(
    batch: list[History], scoring: Scoring, now_ms: int
) -> Iterator[tuple[History, bytes | str]]:
    info = scoring.predictor.info
    arena = Arena(info.state_size, info.fingerprint, 1)
    outcome = scoring.process(_event_batch(batch), arena, now_ms)
    # Of a user who was scored twice the later update stays.
    updates = dict(zip(outcome.users, outcome.updates, strict=True))
    for history in batch:
        user = history.user_id.encode()
        if (update := updates.get(user)) is not None:
            yield history, update
        elif outcome.rejects:
            yield history, outcome.rejects[0].message
        else:
            yield history, "every event was a repetition of another"


def _event_batch(batch: list[History]) -> EventBatch:
    """Returns the events of some histories as if they had been fetched from a partition."""
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
    """Returns an event of a history, checked; raises BadEvent naming its place, field and fix."""
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

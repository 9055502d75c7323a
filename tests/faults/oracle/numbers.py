"""Checks T2: the memory of every user, against the source topic replayed by one thread.

It replays one event of a user at a time. Shared with the worker: the numeric cell
(models/predict.py) and the reduction of an event to what the cell sees (pipeline/decode.py).
"""

from __future__ import annotations

from typing import Any, Final

import numpy as np

from models.contract import Predictor
from stream.audit.changelog import RECORD, memory_at
from stream.contracts.event import Limits
from stream.pipeline.decode import Decoder
from tests.faults.oracle.history import History, UserPlace

TOLERANCE: Final = 1e-5


def t2_numbers_are_right(
    history: History, predictor: Predictor, tolerance: float = TOLERANCE
) -> list[str]:
    """Largest difference of any component of any user."""
    return [
        f"{place}: a component of its memory is off by {error:.2e}"
        for place, error in differences(history, predictor).items()
        if not error <= tolerance
    ]


def differences(history: History, predictor: Predictor) -> dict[UserPlace, float]:
    """Of each user the largest absolute difference between its state and the reference."""
    want, held = reference(history, predictor), memories(history)
    return {
        place: float(np.abs(memory - held[place]).max()) if place in held else float("inf")
        for place, memory in want.items()
    }


def reference(history: History, predictor: Predictor) -> dict[UserPlace, np.ndarray[Any, Any]]:
    """Returns memory float32 [S] of each user after its last applied event.

    Round r applies the r-th event of every user that has so many.
    """
    decoder = Decoder(Limits())
    events: dict[UserPlace, list[np.ndarray[Any, Any]]] = {}
    for record in history.source:
        blanked = history.reference.blanked.get((record.partition, record.key or b""), -1)
        applied = (record.partition, record.offset) in history.reference.applied
        if applied and record.key is not None and record.offset > blanked:
            event = decoder.decode(history.topic, record.partition, [_Raw(record)]).compact
            events.setdefault((record.partition, record.key), []).append(event)
    memory = dict.fromkeys(events, np.zeros(predictor.info.state_size, np.float32))
    last_ms = dict.fromkeys(events, -1)
    for number in range(max(map(len, events.values()), default=0)):
        users = [user for user, own in events.items() if len(own) > number]
        batch = np.concatenate([events[user][number] for user in users])
        before = np.stack([memory[user] for user in users])
        previous = np.array([last_ms[user] for user in users])
        after = predictor.step(before, batch, np.array([len(users)]), previous)
        memory.update(zip(users, after, strict=True))
        last_ms.update(zip(users, batch["time_ms"].tolist(), strict=True))
    return memory


def memories(history: History) -> dict[UserPlace, np.ndarray[Any, Any]]:
    """Returns the memory of each user as the changelog has it.

    It is that of the record with the highest source offset.
    """
    found: dict[UserPlace, np.ndarray[Any, Any]] = {}
    highest: dict[UserPlace, int] = {}
    for record in history.changelog:
        if record.key is None or record.value is None:
            continue
        place, fields = (record.partition, record.key), RECORD.unpack_from(record.value)
        if fields[7] >= highest.get(place, -1):
            highest[place] = fields[7]
            found[place] = np.frombuffer(record.value, "<f4", fields[2], memory_at(record.value))
    return found


class _Raw:
    """A record as a consumer hands it to the decoder."""

    def __init__(self, record: Any) -> None:
        self.key, self.value, self.offset, self.headers = (
            record.key,
            record.value,
            record.offset,
            record.headers,
        )
        self.timestamp, self.partition = record.timestamp_ms, record.partition

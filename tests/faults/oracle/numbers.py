"""T2: the memory of every user, against the source topic replayed by one thread with batches of one event.

Shared with the worker: the numeric cell (models/predict.py) and the reduction of an event to what the cell sees (stream/events.py).
"""

from __future__ import annotations

from typing import Any, Final

import numpy as np

from stream.asking import Predictor
from stream.audit import RECORD
from stream.events import Decoder, Limits
from tests.faults.oracle.history import History, UserPlace

TOLERANCE: Final = 1e-5


def t2_numbers_are_right(history: History, predictor: Predictor, tolerance: float = TOLERANCE) -> list[str]:
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
    """Memory float32 [S] of each user after its last applied event."""
    decoder = Decoder(Limits())
    memory: dict[UserPlace, np.ndarray[Any, Any]] = {}
    last_ms: dict[UserPlace, int] = {}
    blank = np.zeros(predictor.info.state_size, np.float32)
    for record in history.source:
        if (record.partition, record.offset) not in history.reference.applied or record.key is None:
            continue
        event = decoder.decode(history.topic, record.partition, [_Raw(record)]).compact
        place = record.partition, record.key
        before, previous = memory.get(place, blank), last_ms.get(place, -1)
        memory[place] = predictor.step(before[None].copy(), event, np.array([1]), np.array([previous]))[0]
        last_ms[place] = int(event["time_ms"][0])
    return memory


def memories(history: History) -> dict[UserPlace, np.ndarray[Any, Any]]:
    """Memory of each user as the changelog has it, from the record with the highest source offset."""
    found: dict[UserPlace, np.ndarray[Any, Any]] = {}
    highest: dict[UserPlace, int] = {}
    for record in history.changelog:
        if record.key is None or record.value is None:
            continue
        place, fields = (record.partition, record.key), RECORD.unpack_from(record.value)
        if fields[7] >= highest.get(place, -1):
            highest[place] = fields[7]
            found[place] = np.frombuffer(record.value, "<f4", fields[2], RECORD.size)
    return found


class _Raw:
    """A record as a consumer hands it to the decoder."""

    def __init__(self, record: Any) -> None:
        self.key, self.value, self.offset, self.headers = record.key, record.value, record.offset, record.headers
        self.timestamp, self.partition = record.timestamp_ms, record.partition

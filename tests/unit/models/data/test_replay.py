"""Checks that a replay hands a model the same as a worker that sees one event after the other."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

from models.compact import RECENT
from models.data.prepare import Dataset
from models.data.replay import recent_events, replay
from models.data.splits import Cases, split

Array = np.ndarray[Any, Any]


class Remembering:
    """Keeps an order-sensitive sum of what it saw, with the gaps between events, as its state."""

    def step(self, state: Array, events: Array, sizes: Array, previous_ms: Array) -> Array:
        before = previous_ms.copy()
        start = 0
        for size in sizes.tolist():
            part = events[start : start + size]
            gap = np.where(before[:size] < 0, 0, part["time_ms"] - before[:size])
            state[:size, 0] = state[:size, 0] * 0.5 + (part["key"] % 97).astype(np.float32) + gap
            before[:size] = part["time_ms"]
            start += size
        return state


def alone(dataset: Dataset, user: int, history: int) -> float:
    """Returns the state after the first `history` events of one user, event by event."""
    state, before = np.zeros((1, 1), np.float32), np.full(1, -1, np.int64)
    start = int(dataset.user_start[user])
    for place in range(start, start + history):
        event = dataset.events[place : place + 1]
        state = Remembering().step(state, event, np.ones(1, np.int64), before)
        before = event["time_ms"].astype(np.int64)
    return float(state[0, 0])


@pytest.mark.parametrize("batch", [1, 3, 1000])
@pytest.mark.parametrize("protocol", ["leave-one-out", "time-split"])
def test_every_case_once_with_the_state_before_it(
    prepared: Callable[..., Dataset], batch: int, protocol: str
) -> None:
    random = np.random.default_rng(0)
    events = [
        (f"u{user}", "abcdefg"[random.integers(7)], int(time))
        for user in range(12)
        for time in random.integers(0, 10**6, random.integers(2, 60))
    ]
    cut = split(prepared(events, "abcdefg"), protocol)
    seen: list[int] = []
    for places, state, recent in replay(Remembering(), 1, cut.whole, cut.cases, batch):
        assert len(places) <= batch
        seen += places.tolist()
        for row, place in enumerate(places.tolist()):
            user, history = int(cut.cases.user[place]), int(cut.cases.history[place])
            assert state[row, 0] == pytest.approx(alone(cut.whole, user, history), rel=1e-6)
            expected = cut.whole.events[
                cut.cases.position[place] - history : cut.cases.position[place]
            ][::-1][:RECENT]
            assert (recent[row][: len(expected)] == expected).all()
            assert (recent[row][len(expected) :]["key"] == 0).all()
    assert sorted(seen) == list(range(len(cut.cases)))


def test_a_case_without_history_has_a_blank_state(prepared: Callable[..., Dataset]) -> None:
    dataset = prepared([("u", "a", 1), ("u", "b", 2)], "ab")
    first = Cases(*(np.array([value]) for value in (0, 0, 0, 0, 1)))
    ((_, state, recent),) = replay(Remembering(), 1, dataset, first, 8)
    assert state.tolist() == [[0.0]]
    assert (recent == recent_events(dataset, np.array([0]), np.array([0]))).all()
    assert (recent["key"] == 0).all()

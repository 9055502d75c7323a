"""Histories through a model as the worker would have sent them: state before each case, and the recent events.

A worker calls `step` with round-major batches and `score` with the last events (stream/step.py); here the same calls are
made for many users of a data set at once, so what is measured is what is served.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, Final, Protocol

import numpy as np

from models.compact import COMPACT, RECENT
from models.prepare import Dataset
from models.protocols import Cases

Array = np.ndarray[Any, Any]

USERS: Final = 1_024  # stepped together


class Stepper(Protocol):
    """The part of a predictor that moves states."""

    def step(self, state: Array, events: Array, sizes: Array, previous_ms: Array) -> Array: ...


def replay(
    model: Stepper, state_size: int, dataset: Dataset, cases: Cases, batch: int
) -> Iterator[tuple[Array, Array, Array]]:
    """Yields (places in `cases`, states float32 [B, S], recent COMPACT [B, 32] newest first), every case once."""
    order = np.lexsort((cases.history, cases.user))
    users, first, count = np.unique(cases.user[order], return_index=True, return_counts=True)
    needed = cases.history[order][first + count - 1]  # events to step for each user: up to the last case
    by_length = np.argsort(-needed, kind="stable")
    held: list[tuple[Array, Array]] = []
    for begin in range(0, len(users), USERS):
        chosen = by_length[begin : begin + USERS]
        places = order[np.concatenate([np.arange(first[u], first[u] + count[u]) for u in chosen.tolist()])]
        row = np.repeat(np.arange(len(chosen)), count[chosen])
        for found in _walk(model, state_size, dataset, users[chosen], needed[chosen], cases.history[places], row):
            which, states = found
            held.append((places[which], states))
            if sum(len(each) for each, _ in held) >= batch:
                yield from _batches(held, dataset, cases, batch)
                held = []
    if held:
        yield from _batches(held, dataset, cases, batch)


def recent_events(dataset: Dataset, position: Array, history: Array) -> Array:
    """COMPACT [T, 32]: the events before each position, newest first; unused slots are zero."""
    back = np.arange(1, RECENT + 1)[None, :]
    inside = back <= history[:, None]
    found = np.zeros((len(position), RECENT), COMPACT)
    found[inside] = dataset.events[(position[:, None] - back)[inside]]
    return found


def _walk(
    model: Stepper, state_size: int, dataset: Dataset, users: Array, needed: Array, asked: Array, row: Array
) -> Iterator[tuple[Array, Array]]:
    """Step users (sorted by `needed`, descending) and stop where a case asks: (places in asked, states before it)."""
    start, events = dataset.user_start[users], dataset.events
    state = np.zeros((len(users), state_size), np.float32)
    by_round = np.argsort(asked, kind="stable")
    stops, begin = np.unique(asked[by_round], return_index=True)
    ends = np.append(begin[1:], len(asked))
    done = 0
    for stop, low, high in zip(stops.tolist(), begin.tolist(), ends.tolist(), strict=True):
        if stop > done:
            active = int((needed > done).sum())
            sizes = [int((needed > k).sum()) for k in range(done, stop)]
            rounds = [start[:size] + k for k, size in zip(range(done, stop), sizes, strict=True)]
            before = events["time_ms"][start[:active] + done - 1] if done else np.full(active, -1, np.int64)
            batch = events[np.concatenate(rounds)]
            state[:active] = model.step(state[:active], batch, np.array(sizes, np.int64), before)
            done = stop
        which = by_round[low:high]
        yield which, state[row[which]].copy()


def _batches(
    held: list[tuple[Array, Array]], dataset: Dataset, cases: Cases, batch: int
) -> Iterator[tuple[Array, Array, Array]]:
    places = np.concatenate([each for each, _ in held])
    states = np.concatenate([each for _, each in held])
    for begin in range(0, len(places), batch):
        some = places[begin : begin + batch]
        recent = recent_events(dataset, cases.position[some], cases.history[some])
        yield some, states[begin : begin + batch], recent

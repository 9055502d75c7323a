"""Replays histories through a model as a worker would have sent them.

A worker calls `step` with round-major batches and `score` with the last events
(stream/pipeline/step.py). Here the same calls are made for many users of a data set at once, so
what is measured is what is served.

Glossary: T cases, B cases of a batch, S floats of state.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, Final, Protocol

import numpy as np

from models.compact import COMPACT, RECENT
from models.data.prepare import Dataset
from models.data.splits import Cases

Array = np.ndarray[Any, Any]

USERS: Final = 1_024
"""Users that are stepped together."""


class Stepper(Protocol):
    """Moves states: the part of a predictor that a replay needs."""

    def step(self, state: Array, events: Array, sizes: Array, previous_ms: Array) -> Array:
        """Returns the states after some events; see models.contract.Predictor."""
        ...


def replay(
    model: Stepper, state_size: int, dataset: Dataset, cases: Cases, batch: int
) -> Iterator[tuple[Array, Array, Array]]:
    """Yields what a model knows before each case, every case once, in batches.

    Each batch is (places in `cases` [B], states float32 [B, S], recent events COMPACT [B, 32],
    newest first).
    """
    # How many events each user has to be stepped through: those before its last case. Users with
    # equally long histories are stepped together.
    order = np.lexsort((cases.history, cases.user))
    users, first, count = np.unique(cases.user[order], return_index=True, return_counts=True)
    needed = cases.history[order][first + count - 1]
    by_length = np.argsort(-needed, kind="stable")

    # States are held until they fill a batch, whatever users they belong to.
    held: list[tuple[Array, Array]] = []
    for begin in range(0, len(users), USERS):
        chosen = by_length[begin : begin + USERS]
        places = order[
            np.concatenate([np.arange(first[u], first[u] + count[u]) for u in chosen.tolist()])
        ]
        row = np.repeat(np.arange(len(chosen)), count[chosen])
        for found in _walk(
            model, state_size, dataset, users[chosen], needed[chosen], cases.history[places], row
        ):
            which, states = found
            held.append((places[which], states))
            if sum(len(each) for each, _ in held) >= batch:
                yield from _batches(held, dataset, cases, batch)
                held = []
    if held:
        yield from _batches(held, dataset, cases, batch)


def recent_events(dataset: Dataset, position: Array, history: Array) -> Array:
    """Returns the events before each position, COMPACT [T, 32], newest first; empty slots are 0."""
    back = np.arange(1, RECENT + 1)[None, :]
    inside = back <= history[:, None]
    found = np.zeros((len(position), RECENT), COMPACT)
    found[inside] = dataset.events[(position[:, None] - back)[inside]]
    return found


def _walk(
    model: Stepper,
    state_size: int,
    dataset: Dataset,
    users: Array,
    needed: Array,
    stops: Array,
    row: Array,
) -> Iterator[tuple[Array, Array]]:
    """Steps some users through their events, and yields the states at each case on the way.

    Users are sorted by `needed`, the number of their events to step, descending. stops: int [T]
    the number of events before each case; row: int [T] the user of each case. Yields (places in
    `stops`, states before them).
    """
    start, events = dataset.user_start[users], dataset.events
    state = np.zeros((len(users), state_size), np.float32)
    by_round = np.argsort(stops, kind="stable")
    rounds_of_stops, begin = np.unique(stops[by_round], return_index=True)
    ends = np.append(begin[1:], len(stops))
    done = 0
    for stop, low, high in zip(
        rounds_of_stops.tolist(), begin.tolist(), ends.tolist(), strict=True
    ):
        if stop > done:
            # One call for all rounds up to the next stop; users whose last case is behind are out.
            active = int((needed > done).sum())
            sizes = [int((needed > k).sum()) for k in range(done, stop)]
            rounds = [start[:size] + k for k, size in zip(range(done, stop), sizes, strict=True)]
            before = (
                events["time_ms"][start[:active] + done - 1]
                if done
                else np.full(active, -1, np.int64)
            )
            batch = events[np.concatenate(rounds)]
            state[:active] = model.step(state[:active], batch, np.array(sizes, np.int64), before)
            done = stop
        which = by_round[low:high]
        yield which, state[row[which]].copy()


def _batches(
    held: list[tuple[Array, Array]], dataset: Dataset, cases: Cases, batch: int
) -> Iterator[tuple[Array, Array, Array]]:
    """Yields what is held in batches, each with the recent events of its cases."""
    places = np.concatenate([each for each, _ in held])
    states = np.concatenate([each for _, each in held])
    for begin in range(0, len(places), batch):
        some = places[begin : begin + batch]
        recent = recent_events(dataset, cases.position[some], cases.history[some])
        yield some, states[begin : begin + batch], recent

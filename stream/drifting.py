"""Simulated users whose true interests are known, through a model: what `evaluate --drift` measures, at several levels of noise."""

from __future__ import annotations

from typing import Any, Final

import msgspec
import numpy as np

from models.compact import COMPACT
from models.drift import HALF_LIVES, LAST, Drift, Rates, best_tracker, counters, drift, filtered, last_counts, last_seen
from models.evaluate import Model
from models.interest_baselines import touched_rows
from models.prepare import Catalogue, Dataset, EventChunk, PrepareConfig, catalogue_rows, owners, prepare
from models.protocols import Cases
from models.replay import replay
from stream.errors import DataError
from stream.events import Event, compact_event
from stream.simulate import MOST_NOISE, SIDE, SWITCH, Population
from stream.training_inputs import with_known_interests

Array = np.ndarray[Any, Any]

EVENTS: Final = 150  # of each user: some six switches
STEP_MS: Final = 10_000
START_MS: Final = 1_770_000_000_000
BATCH: Final = 256
NOISE: Final = (None, 0.0, 0.1, 0.2, 0.3)
"""Shares of events about anything; None: of each user another, from nought to MOST_NOISE."""


def measure_drift(model: Model, belongs: Array, users: int, seed: int) -> dict[str, Any]:
    """The model, decay counters and other trackers on the same users. belongs: bool [V, C], interests of the model's items.

    Raises DataError if the model does not know the interests of the simulation.
    """
    levels = []
    for noise in NOISE:
        mine, others, bound = _at(model, belongs, users, seed, noise)
        levels.append(
            {
                "noise": noise,
                "model": mine.summary(),
                "trackers": {name: each.summary() for name, each in others.items()},
                "best": best_tracker(others, mine),
                "knows the rates": bound.summary(),
            }
        )
    return {"users": users, "events_a_user": EVENTS, "seed": seed, "most_noise": MOST_NOISE, "levels": levels}


def _at(
    model: Model, belongs: Array, users: int, seed: int, noise: float | None
) -> tuple[Drift, dict[str, Drift], Drift]:
    """At one level of noise: the model, the trackers by name, and the filter that knows the rates."""
    info = model.info
    chunk, truths = simulate(users, seed, noise)
    unknown = sorted({name for truth in truths.values() for name in truth} - set(info.interests))
    if unknown:
        raise DataError(
            f"the model knows nothing of the simulated interest {unknown[0]!r}; --drift is for models of the simulation "
            "(the demo model, or one of 'train --simulate')"
        )
    catalogue = Catalogue(list(info.items), list(info.titles), [()] * len(info.items))
    keep_all = PrepareConfig(min_events=2, max_events_per_day=0, keep_duplicates=True)
    dataset = with_known_interests(prepare([chunk], catalogue, keep_all), info.interests, belongs)
    user = owners(dataset)
    true = np.array([info.interests.index(name) for each in dataset.users for name in truths[each]])
    touched = touched_rows(dataset)[catalogue_rows(dataset.events["key"], dataset.item_ids)]
    scores = {f"counter, half-life {half_life:g}": counters(touched, user, half_life) for half_life in HALF_LIVES}
    scores |= {f"last {last} events": last_counts(touched, user, last) for last in LAST}
    others = {name: drift(last_seen(score, touched), true, user) for name, score in scores.items()}
    mean_noise = MOST_NOISE / 2 if noise is None else noise
    known = filtered(touched, user, Rates(SWITCH, 1 - mean_noise - SIDE))
    return drift(_named(model, dataset, user), true, user), others, drift(known.argmax(1), true, user)


def _named(model: Model, dataset: Dataset, user: Array) -> Array:
    """int64 [N]: the model's most probable interest after each event."""
    after = np.arange(1, len(user) + 1)
    nothing = np.zeros(len(user), np.int64)
    cases = Cases(after, user, after - dataset.user_start[user], nothing, nothing)
    named = np.empty(len(user), np.int64)
    for places, state, recent in replay(model, model.info.state_size, dataset, cases, BATCH):
        named[places] = model.interest_probabilities(state, recent).argmax(1)
    return named


def simulate(users: int, seed: int, noise: float | None = None) -> tuple[EventChunk, dict[str, list[str]]]:
    """Events in turns, and of each user the true interest at each event."""
    population = Population(users, seed, noise)
    truths: dict[str, list[str]] = {}
    events: list[Event] = []
    for turn in range(EVENTS):
        for who in range(users):
            found = population.next_event(START_MS + turn * STEP_MS, who)
            events.append(msgspec.convert(found.event, Event))
            truths.setdefault(events[-1].user_id, []).append(found.interest)
    return (
        EventChunk(
            users=[event.user_id for event in events],
            events=np.array([compact_event(event) for event in events], COMPACT),
            item_ids=[event.item_id for event in events],
            titles=[event.title for event in events],
            categories=[()] * len(events),
        ),
        truths,
    )

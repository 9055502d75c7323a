"""Measures how soon a model notices that simulated users changed what they are interested in.

The true interests of simulated users are known. `evaluate --drift` shows the result, at several
levels of noise.
"""

from __future__ import annotations

from typing import Any, Final

import msgspec
import numpy as np

from models.compact import COMPACT
from models.data.prepare import (
    Catalogue,
    Dataset,
    EventChunk,
    PrepareConfig,
    catalogue_rows,
    owners,
    prepare,
)
from models.data.replay import replay
from models.data.splits import Cases
from models.evaluation import (
    COUNTER_HALF_LIVES,
    COUNTER_WINDOWS,
    EvaluatedModel,
    SimulationRates,
    TrackerDrift,
    best_tracker,
    decayed_counters,
    filtered_beliefs,
    measure_tracker,
    most_probable,
    touched_rows,
    window_counts,
)
from stream.contracts.event import Event, compact_event
from stream.errors import DataError
from stream.offline.dataset import with_known_interests
from stream.simulation.population import MOST_NOISE, SIDE, SWITCH, Population

Array = np.ndarray[Any, Any]

EVENTS: Final = 150  # of each user: some six switches
STEP_MS: Final = 10_000
START_MS: Final = 1_770_000_000_000
BATCH: Final = 256
NOISE: Final = (None, 0.0, 0.1, 0.2, 0.3)
"""Shares of events about anything; None: of each user another share, from nought to MOST_NOISE."""


def measure_drift(model: EvaluatedModel, belongs: Array, users: int, seed: int) -> dict[str, Any]:
    """Returns what the model, decayed counters and other trackers reach on the same users.

    `belongs` is bool [V, C], the interests of the model's items. Raises DataError if the model does
    not know the interests of the simulation.
    """
    levels = []
    for noise in NOISE:
        of_model, others, bound = _measure_at(model, belongs, users, seed, noise)
        levels.append(
            {
                "noise": noise,
                "model": of_model.summary(),
                "trackers": {name: each.summary() for name, each in others.items()},
                "best": best_tracker(others, of_model),
                "knows the rates": bound.summary(),
            }
        )
    return {
        "users": users,
        "events_a_user": EVENTS,
        "seed": seed,
        "most_noise": MOST_NOISE,
        "levels": levels,
    }


def _measure_at(
    model: EvaluatedModel, belongs: Array, users: int, seed: int, noise: float | None
) -> tuple[TrackerDrift, dict[str, TrackerDrift], TrackerDrift]:
    """Returns, at one level of noise, the model, the trackers by name, and an upper bound.

    The bound is the filter that knows the rates of the simulation.
    """
    info = model.info
    chunk, truths = simulate(users, seed, noise)
    unknown = sorted({name for truth in truths.values() for name in truth} - set(info.interests))
    if unknown:
        raise DataError(
            f"the model knows nothing of the simulated interest {unknown[0]!r}; "
            "--drift is for models of the simulation "
            "(the demo model, or one of 'train --simulate')"
        )

    # The simulated events as a data set with the model's own items and interests, none left out.
    catalogue = Catalogue(list(info.items), list(info.titles), [()] * len(info.items))
    keep_all = PrepareConfig(min_events=2, max_events_per_day=0, keep_duplicates=True)
    dataset = with_known_interests(prepare([chunk], catalogue, keep_all), info.interests, belongs)

    # Of each event: its user, the user's true interest then, and the interests that it touches.
    user = owners(dataset)
    true = np.array([info.interests.index(name) for each in dataset.users for name in truths[each]])
    touched = touched_rows(dataset)[catalogue_rows(dataset.events["key"], dataset.item_ids)]

    # Trackers that need no training, and the filter that knows how often users switch.
    scores = {
        f"counter, half-life {half_life:g}": decayed_counters(touched, user, half_life)
        for half_life in COUNTER_HALF_LIVES
    }
    scores |= {
        f"last {last} events": window_counts(touched, user, last) for last in COUNTER_WINDOWS
    }
    others = {
        name: measure_tracker(most_probable(score, touched), true, user)
        for name, score in scores.items()
    }
    mean_noise = MOST_NOISE / 2 if noise is None else noise
    known = filtered_beliefs(touched, user, SimulationRates(SWITCH, 1 - mean_noise - SIDE))
    return (
        measure_tracker(_best_interests(model, dataset, user), true, user),
        others,
        measure_tracker(known.argmax(1), true, user),
    )


def _best_interests(model: EvaluatedModel, dataset: Dataset, user: Array) -> Array:
    """Returns the model's most probable interest after each event, int64 [N]."""
    after = np.arange(1, len(user) + 1)
    nothing = np.zeros(len(user), np.int64)
    cases = Cases(after, user, after - dataset.user_start[user], nothing, nothing)
    best = np.empty(len(user), np.int64)
    for places, state, recent in replay(model, model.info.state_size, dataset, cases, BATCH):
        best[places] = model.interest_scores(state, recent).probability.argmax(1)
    return best


def simulate(
    users: int, seed: int, noise: float | None = None
) -> tuple[EventChunk, dict[str, list[str]]]:
    """Returns the events of simulated users, and each user's true interest at each event."""
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

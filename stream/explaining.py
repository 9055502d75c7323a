"""Explanations of simulated users, or of cases of a data set, against replays: what `evaluate --explanations` measures."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

import numpy as np

from models.compact import COMPACT
from stream.drifting import simulate

if TYPE_CHECKING:
    from models.predictor import Predictor
    from models.prepare import Dataset

Array = np.ndarray[Any, Any]

LENGTHS: Final = (10, 80)
"""Events of a simulated history, from and below."""
LONGEST: Final = 200
"""Events replayed of a longer history: its last ones."""


def simulated_histories(users: int, seed: int) -> list[Array]:
    """COMPACT histories, oldest first, of simulated users."""
    chunk, _ = simulate(users, seed)
    random = np.random.default_rng(seed)
    of_user: dict[str, list[Any]] = {}
    for user, event in zip(chunk.users, chunk.events, strict=True):
        of_user.setdefault(user, []).append(event)
    return [np.array(events[: random.integers(*LENGTHS)], COMPACT) for events in of_user.values()]


def histories_of(dataset: Dataset, users: int, seed: int) -> list[Array]:
    """COMPACT histories of some users of a data set without their last event, which training may have held out."""
    length = np.diff(dataset.user_start) - 1
    some = np.flatnonzero(length >= 2)
    chosen = np.sort(np.random.default_rng(seed).permutation(some)[:users])
    last = dataset.user_start[1:][chosen] - 1
    first = np.maximum(dataset.user_start[:-1][chosen], last - LONGEST)
    return [dataset.events[low:high] for low, high in zip(first.tolist(), last.tolist(), strict=True)]


def measure_explanations(predictor: Predictor, histories: list[Array], seed: int) -> dict[str, Any]:
    """models.explain.measure, with what it was measured on."""
    from models.explain import measure

    return {**measure(predictor, histories, seed), "seed": seed, "events": sum(map(len, histories))}

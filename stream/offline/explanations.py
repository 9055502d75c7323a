"""Measures whether the causes that a model names are the events that its predictions rest on.

This is what `evaluate --explanations` shows, on simulated users or on those of a data set.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

import numpy as np

from models.compact import COMPACT
from stream.offline.drift import simulate

if TYPE_CHECKING:
    from models.data.prepare import Dataset
    from models.serving.predictor import Predictor

Array = np.ndarray[Any, Any]

LENGTHS: Final = (10, 80)
"""Fewest events of a simulated history, and the number that it stays below."""
LONGEST: Final = 200
"""Events of a history that are replayed at most: its last ones."""


def simulated_histories(users: int, seed: int) -> list[Array]:
    """Returns the COMPACT histories of simulated users, oldest event first."""
    chunk, _ = simulate(users, seed)
    random = np.random.default_rng(seed)
    of_user: dict[str, list[Any]] = {}
    for user, event in zip(chunk.users, chunk.events, strict=True):
        of_user.setdefault(user, []).append(event)
    return [np.array(events[: random.integers(*LENGTHS)], COMPACT) for events in of_user.values()]


def histories_of(dataset: Dataset, users: int, seed: int) -> list[Array]:
    """Returns the COMPACT histories of some users of a data set, at random by `seed`.

    Their last event is left out, because training may have held it out.
    """
    length = np.diff(dataset.user_start) - 1
    long_enough = np.flatnonzero(length >= 2)
    drawn = np.sort(np.random.default_rng(seed).permutation(long_enough)[:users])
    last = dataset.user_start[1:][drawn] - 1
    first = np.maximum(dataset.user_start[:-1][drawn], last - LONGEST)
    return [
        dataset.events[low:high] for low, high in zip(first.tolist(), last.tolist(), strict=True)
    ]


def measure_explanations(predictor: Predictor, histories: list[Array], seed: int) -> dict[str, Any]:
    """Returns what models.evaluation.measure_faithfulness finds, and on what it was measured."""
    from models.evaluation import measure_faithfulness

    return {
        **measure_faithfulness(predictor, histories, seed),
        "seed": seed,
        "events": sum(map(len, histories)),
    }

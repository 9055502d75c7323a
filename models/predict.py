"""Loads a model for a worker: the only door between `stream` and the models themselves.

Importing this file does not import torch; loading a model does. What a loaded model can do is
written in `models.contract`, which uses the same letters for sizes.
"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from models.compact import RECENT
from models.contract import DEMO_MODEL, Array, Hosting, ModelInfo, Scores

if TYPE_CHECKING:
    from models.serving.predictor import Predictor


def load_predictor(
    path: Path | None = None, threads: int = 1, hosting: Hosting | None = None
) -> Predictor:
    """Returns the model of a directory, or the demo model of this package where `path` is None.

    With `hosting` it is made to serve; without, it computes as in training. Raises
    ModelDirectoryError, which names the file.
    """
    from models.model_directory import load

    return load(path or DEMO_MODEL, threads, hosting)


class NullPredictor:
    """Stands in for a model to measure the pipeline alone: states move, scores are constant."""

    phrases: tuple[str, ...] = ()
    popularity_as_of: int | None = None
    cheaper: None = None

    def __init__(self, info: ModelInfo) -> None:
        self.info = info

    def step(self, state: Array, events: Array, sizes: Array, previous_ms: Array) -> Array:
        """Adds one to the first number of a user's state for each of its events."""
        for size in sizes.tolist():
            state[:size, 0] += 1
        return state

    def rebuild(self, recent: Array) -> Array:
        """Returns the state that `step` would leave after the recent events."""
        state = np.zeros((len(recent), self.info.state_size), np.float32)
        state[:, 0] = (recent["key"] != 0).sum(1)
        return state

    def score(
        self, state: Array, recent: Array, *, interests: int, items: int, because: int
    ) -> Scores:
        """Returns the first interests and items, the same for everybody."""
        users = len(state)
        k, m = min(interests, len(self.info.interests)), min(items, len(self.info.items))

        def first(count: int) -> Array:
            """Returns the first places, the same for every user."""
            return np.broadcast_to(np.arange(count, dtype=np.int32), (users, count))

        return Scores(
            interest=first(k),
            probability=np.full((users, k), 0.5, np.float32),
            change=np.zeros((users, k), np.float32),
            trend=np.zeros((users, k), np.uint8),
            item=first(m),
            item_score=np.zeros((users, m), np.float32),
            because=np.zeros((users, min(because, 1)), np.int8),
            because_weight=np.ones((users, min(because, 1)), np.float32),
        )


def null_predictor(state_size: int = 128) -> NullPredictor:
    """Returns a stand-in with five interests and 32 items.

    Its state has the size of the demo model's unless another is given.
    """
    names = tuple(f"interest-{number}" for number in range(5))
    items = tuple(f"item-{number}" for number in range(RECENT))
    return NullPredictor(ModelInfo("null", "1", 1, names, items, items, state_size))

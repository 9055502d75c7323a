"""Runs EASE (Steck, WWW 2019, arXiv:1905.03375) by itself on the cases of a benchmark.

    python ease.py FOLDER SEED           (any environment with numpy)

It prints HR@10 and NDCG@10, with the ridge and the decay of older items that are best on
validation; the seed draws the validation users. It is written apart from models/scorers/ease.py,
with all weights, those below 0 too. Validation is the last training item of up to 5,000 users,
NDCG@10.
"""

from __future__ import annotations

import sys
from collections.abc import Callable
from typing import Any

import ask
import numpy as np

Array = np.ndarray[Any, Any]
RIDGES = (30.0, 100.0, 300.0, 1_000.0)
DECAYS = (1.0, 0.95, 0.9, 0.8, 0.7)
VALIDATION_USERS = 5_000


def fit(questions: ask.Questions, seed: int) -> Callable[[list[Array]], Array]:
    """Picks ridge and decay, learns all training events, and returns a function that scores."""
    asked = [history for history in questions.train if len(history) > 2]
    some = np.random.default_rng(seed).permutation(len(asked))[:VALIDATION_USERS]
    validation = ask.Questions(
        questions.items,
        questions.keep_seen,
        [history[:-1] for history in asked]
        + [history for history in questions.train if len(history) <= 2],
        [asked[user][:-1] for user in some],
        np.array([asked[user][-1] for user in some]),
    )
    best, picked = -1.0, (RIDGES[0], DECAYS[0])
    together = _together(validation)
    for ridge in RIDGES:
        weights = _weights(together, ridge)
        for decay in DECAYS:
            gain = ask.gain(validation.ranks(_scorer(weights, decay)))
            sys.stdout.write(
                f"ridge {ridge:g}, decay {decay:g}: NDCG@10 of validation {gain:.4f}\n"
            )
            if gain > best:
                best, picked = gain, (ridge, decay)
    return _scorer(_weights(_together(questions), picked[0]), picked[1])


def _together(questions: ask.Questions) -> Array:
    """Returns how many users have both of two items, float32 [V, V]."""
    found = np.zeros((questions.items, questions.items), np.float32)
    for history in questions.train:
        items = np.unique(history)
        found[np.ix_(items, items)] += 1
    return found


def _weights(together: Array, ridge: float) -> Array:
    """Returns the weights of equation 8, float32 [V, V]."""
    inverse = np.linalg.inv(together + ridge * np.eye(len(together), dtype=np.float32))
    found: Array = inverse / -np.diag(inverse)
    np.fill_diagonal(found, 0)
    return found


def _scorer(weights: Array, decay: float) -> Callable[[list[Array]], Array]:
    """Returns a function that scores histories."""

    def scores(histories: list[Array]) -> Array:
        """Returns the scores of all items, float32 [B, V]."""
        scored = np.zeros((len(histories), len(weights)), np.float32)
        for row, history in enumerate(histories):
            scored[row] = (decay ** np.arange(len(history))[::-1]).astype(np.float32) @ weights[
                history
            ]
        return scored

    return scores


if __name__ == "__main__":
    ask.run("EASE", fit)

"""Hop 5's view of a model: states and compact events in, scores out. The only door between stream/ and models/.

Importing this file does not import torch; loading a model does. Glossary: U users, N events, R rounds, S floats of state,
K interests, M items, B causes of an update.
"""

from __future__ import annotations

from dataclasses import dataclass, field, fields
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import numpy as np

from models.compact import RECENT

if TYPE_CHECKING:
    from models.predictor import Predictor

Array = np.ndarray[Any, Any]

TRENDS: Final = ("steady", "rising", "fading", "new")

DEMO_MODEL: Final = Path(__file__).with_name("demo_model")

POPULARITY_HALF_LIFE_DAYS: Final = 2.0
"""Of the live counts (stream/popularity.py): models are fitted to snapshots of this one."""


@dataclass(frozen=True)
class ModelInfo:
    """What a model is, and the names that its numbers stand for."""

    name: str
    version: str
    fingerprint: int  # unsigned 64 bits; another value, another meaning of states
    interests: tuple[str, ...]
    items: tuple[str, ...]
    titles: tuple[str, ...]
    state_size: int


@dataclass(frozen=True)
class Scores:
    """A row a user, best first. Indices are places in ModelInfo.interests and .items."""

    interest: Array  # int32 [U, K]
    probability: Array  # float32 [U, K] calibrated: the next event touches it
    change: Array  # float32 [U, K] from the user's own slower average
    trend: Array  # uint8 [U, K] index into TRENDS
    item: Array  # int32 [U, M]
    item_score: Array  # float32 [U, M]
    because: Array  # int8 [U, B] slot of the recent events, -1: none
    because_weight: Array  # float32 [U, B] shares, at most 1 together
    phrases: Array = field(default_factory=lambda: np.zeros((0, 0), np.float32))  # float32 [U, P], not calibrated

    def of(self, places: Array | slice) -> Scores:
        """The rows of some users."""
        columns = (getattr(self, each.name) for each in fields(self))
        return Scores(*(column[places] if len(column) else column for column in columns))


@dataclass(frozen=True)
class Hosting:
    """Where and how a language model of the user's own runs; means nothing to a model directory without one."""

    language_model: Path | None = None  # None: where it was when the directory was trained
    device: str = "cpu"  # or cuda
    precision: str = ""  # float32, bfloat16 or float16; empty: that of training


def load_predictor(path: Path | None = None, threads: int = 1, hosting: Hosting | None = None) -> Predictor:
    """A model from its directory; None: the demo model of this package. Raises ModelDirectoryError naming the file."""
    from models.predictor import load

    return load(path or DEMO_MODEL, threads, hosting)


class NullPredictor:
    """No model at all, for measuring the pipeline alone: the state moves, the scores are constant."""

    def __init__(self, info: ModelInfo) -> None:
        self.info = info

    def step(self, state: Array, events: Array, sizes: Array, previous_ms: Array) -> Array:
        """Counts the rounds of each user in the first number of its state."""
        for size in sizes.tolist():
            state[:size, 0] += 1
        return state

    def rebuild(self, recent: Array) -> Array:
        """What `step` would leave after the recent events."""
        state = np.zeros((len(recent), self.info.state_size), np.float32)
        state[:, 0] = (recent["key"] != 0).sum(1)
        return state

    def score(self, state: Array, recent: Array, *, interests: int, items: int, because: int) -> Scores:
        """Always the first ones."""
        users = len(state)
        k, m = min(interests, len(self.info.interests)), min(items, len(self.info.items))

        def first(count: int) -> Array:
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
    """Five interests, no catalogue; a state of the demo model's size unless told otherwise."""
    names = tuple(f"interest-{number}" for number in range(5))
    items = tuple(f"item-{number}" for number in range(RECENT))
    return NullPredictor(ModelInfo("null", "1", 1, names, items, items, state_size))

"""Says what a worker knows of a model: its names, its scores, and what a worker may ask of it.

Importing this file imports neither torch nor anything that a model is made of; `models.predict`
loads a model that keeps to this contract.

Glossary: U users, N events, R rounds, S floats of state, C interests, K of them in an update,
M items, P phrases, B causes of an update.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field, fields
from functools import cached_property
from pathlib import Path
from typing import Any, Final, NamedTuple, Protocol

import numpy as np

from models.compact import ItemIndex

Array = np.ndarray[Any, Any]

TRENDS: Final = ("steady", "rising", "fading", "new")
"""The names that the numbers in `Scores.trend` stand for."""

DEMO_MODEL: Final = Path(__file__).with_name("demo_model")
"""The directory of the model that comes with this package."""

POPULARITY_HALF_LIFE_DAYS: Final = 2.0
"""Half-life of the live counts (stream/popularity/counts.py).

Models are fitted to snapshots of them.
"""


@dataclass(frozen=True)
class ModelInfo:
    """Holds the identity of a model and the names that its numbers stand for."""

    name: str
    version: str
    fingerprint: int  # unsigned 64 bits; with another value, states mean something else
    interests: tuple[str, ...]
    items: Sequence[str]
    titles: Sequence[str]
    state_size: int  # S

    @cached_property
    def index(self) -> ItemIndex:
        """Returns what finds the rows of the items by their keys; made when it is first asked."""
        return ItemIndex(self.items)


@dataclass(frozen=True)
class Scores:
    """Holds what a model says of some users: a row a user, the best first.

    Indices are places in ModelInfo.interests and ModelInfo.items.
    """

    interest: Array  # int32 [U, K]
    probability: Array  # float32 [U, K] that the next event touches it
    change: Array  # float32 [U, K] from the user's own slower average
    trend: Array  # uint8 [U, K] index into TRENDS
    item: Array  # int32 [U, M]
    item_score: Array  # float32 [U, M]
    because: Array  # int8 [U, B] slot of the recent events, -1: none
    because_weight: Array  # float32 [U, B] shares, at most 1 together
    phrases: Array = field(
        default_factory=lambda: np.zeros((0, 0), np.float32)
    )  # float32 [U, P], not calibrated

    def of(self, places: Array | slice) -> Scores:
        """Returns the rows of some users."""
        columns = (getattr(self, each.name) for each in fields(self))
        return Scores(*(column[places] if len(column) else column for column in columns))


class InterestScores(NamedTuple):
    """Holds what a model says of every interest, where Scores has the best few."""

    probability: Array  # float32 [U, C]
    change: Array  # float32 [U, C]
    trend: Array  # uint8 [U, C]
    uncorrected: Array | None = None
    """Probability float32 [U, C] before calibration; None: the model has none."""


@dataclass(frozen=True)
class Hosting:
    """Holds where and how a language model of the user's own runs.

    It means nothing to a model directory without such a language model.
    """

    language_model: Path | None = None  # None: where it was when the directory was trained
    device: str = "cpu"  # or cuda
    precision: str = ""  # float32, bfloat16 or float16; empty: that of training


class Predictor(Protocol):
    """Scores users for a worker, and keeps no state of any of them.

    The memory of a user is handed in and returned, so that the worker can store it.
    """

    @property
    def info(self) -> ModelInfo:
        """Returns the identity of the model and its names."""

    @property
    def phrases(self) -> tuple[str, ...]:
        """Returns the interests in words that it scores besides those of its training."""

    @property
    def popularity_as_of(self) -> int | None:
        """Returns when the live popularity in use was counted, in Unix ms; None: there is none."""

    @property
    def cheaper(self) -> Predictor | None:
        """Returns the same model without its costly part; None if it has no such form."""

    def step(self, state: Array, events: Array, sizes: Array, previous_ms: Array) -> Array:
        """Returns the memory after some events, float32 [U, S]; it may write into `state`.

        events: COMPACT [N], round by round: round r holds one event of each of the first sizes[r]
        users (sizes: int [R]). previous_ms: int64 [U], the time of each user's event before, -1 if
        there was none.
        """

    def rebuild(self, recent: Array) -> Array:
        """Returns the memory float32 [U, S] that `step` would leave after the recent events.

        recent: COMPACT [U, 32], newest first.
        """

    def score(
        self, state: Array, recent: Array, *, interests: int, items: int, because: int
    ) -> Scores:
        """Returns the best interests and items of each user and the events that they rest on.

        state: float32 [U, S]; recent: COMPACT [U, 32], newest first; interests, items, because:
        how many of each (K, M, B), fewer where the model has no more.
        """

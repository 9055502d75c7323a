"""Gives interest probabilities by simple rules that a model must beat.

They are popularity, and a user's own counters that forget, blended with it. A counter with
half-life h gives the event k steps back the weight 2^(-k / h); the probability of an interest is
the weighted share of the user's events that touched it, with `a` popular events mixed in. `a` is
picked for each half-life on the last training event of each user, so the opponent is as strong as
it can be made without the test.

Glossary: T cases, C interests, V items.
"""

from __future__ import annotations

from typing import Any, Final

import numpy as np

from models.data.prepare import Dataset, catalogue_rows
from models.data.splits import Cases, Split, leave_one_out
from models.evaluation.metrics import interest_losses

Array = np.ndarray[Any, Any]

HALF_LIVES: Final = (2, 8, 32)
"""In events."""
PRIORS: Final = (0.5, 1.0, 2.0, 4.0, 8.0, 16.0, 32.0)
"""Numbers of popular events mixed in that are tried: `a`."""
LONGEST: Final = 8
"""Half-lives after which an event no longer counts."""


class InterestPopularity:
    """Gives each interest its share of the training events, whoever the user is."""

    name = "popularity"

    def __init__(self, split: Split) -> None:
        self.share = _shares(split.train)

    def probabilities(self, cases: Cases) -> Array:
        """Returns the probability of each interest at each case, float32 [T, C]."""
        return np.broadcast_to(self.share, (len(cases), len(self.share)))


class DecayCounter:
    """Gives each interest its share of the user's own decayed events, popularity blended in."""

    def __init__(self, split: Split, half_life: int) -> None:
        self.name = f"decay counter, half-life {half_life} events"
        self._half_life = half_life
        self._dataset = split.whole
        self._share = _shares(split.train)
        self.prior = self._fit(split.train)

    def probabilities(self, cases: Cases) -> Array:
        """Returns the probability of each interest at each case, float32 [T, C]."""
        return self._blend(*decayed_counts(self._dataset, cases, self._half_life), self.prior)

    def _blend(self, found: Array, total: Array, prior: float) -> Array:
        """Returns the probabilities [T, C] with so many popular events mixed in."""
        return np.asarray((found + prior * self._share) / (total + prior), np.float32)

    def _fit(self, train: Dataset) -> float:
        """Returns the prior with the least loss on the last training event of each user."""
        validation = leave_one_out(train)
        if not len(validation.cases):
            return PRIORS[-1]
        counts = decayed_counts(train, validation.cases, self._half_life)
        happened = touched_rows(train)[validation.cases.target + 1]
        losses = [interest_losses(self._blend(*counts, prior), happened).mean() for prior in PRIORS]
        return PRIORS[int(np.argmin(losses))]


def decayed_counts(dataset: Dataset, cases: Cases, half_life: float) -> tuple[Array, Array]:
    """Returns decayed counts of the events before each case: by interest, and in all.

    They are the weighted events that touched each interest, float32 [T, C], and the weight of all
    events about known items [T, 1].
    """
    rows, touched = catalogue_rows(dataset.events["key"], dataset.item_ids), touched_rows(dataset)
    total = np.zeros((len(cases), 1), np.float32)
    found = np.zeros((len(cases), touched.shape[1]), np.float32)
    for back in range(1, round(LONGEST * half_life) + 1):
        inside = np.flatnonzero(cases.history >= back)
        mine = rows[cases.position[inside] - back]
        weight = np.where(mine > 0, 0.5 ** ((back - 1) / half_life), 0.0).astype(np.float32)
        total[inside, 0] += weight
        found[inside] += weight[:, None] * touched[mine]
    return found, total


InterestBaseline = InterestPopularity | DecayCounter


def interest_baselines(split: Split) -> list[InterestBaseline]:
    """Returns popularity and a counter for each half-life."""
    return [
        InterestPopularity(split),
        *(DecayCounter(split, half_life) for half_life in HALF_LIVES),
    ]


def touched_rows(dataset: Dataset) -> Array:
    """Returns the interests of each catalogue row, bool [V + 1, C]; row 0, unknown, has none."""
    indptr, indices = dataset.membership
    found = np.zeros((len(dataset.item_ids) + 1, len(dataset.interests)), bool)
    item = np.repeat(np.arange(len(dataset.item_ids)), np.diff(indptr))
    found[item + 1, indices] = True
    return found


def _shares(dataset: Dataset) -> Array:
    """Returns the share of the events about known items that touch each interest, float32 [C]."""
    rows = catalogue_rows(dataset.events["key"], dataset.item_ids)
    count = np.bincount(rows, minlength=len(dataset.item_ids) + 1)[1:]
    touched = touched_rows(dataset)[1:]
    shares: Array = (count @ touched / max(count.sum(), 1)).astype(np.float32)
    return shares

"""Adds noise to what users did, and accounts for it: differential privacy of whole users.

Two data sets are neighbours if one has all events of one more user. A release is (epsilon, delta)
differentially private if no event of its outcome is more than e^epsilon times as probable, plus
delta, under one neighbour as under the other [1]. Everything here is a Gaussian mechanism: a sum
over users, each of whose vectors is scaled down to a bounded L2 norm, with normal noise on every
cell, those where nothing happened too.

A Gaussian mechanism with noise of standard deviation norm / mu is mu-GDP, and mechanisms of mu_1,
mu_2, ... one after the other, each seeing what the others gave, are sqrt(mu_1^2 + mu_2^2 + ...)-GDP
[2]. Mechanisms over groups of users that share no user count once: the largest mu of them. mu-GDP
is the same as (epsilon, delta) for all pairs with equation 6 of [3]; so the account is exact, not a
bound. The noise comes from the system's entropy, never from the seed of a training.

[1] Dwork, Roth: The Algorithmic Foundations of Differential Privacy (2014), definition 2.4.
[2] Dong, Roth, Su: Gaussian Differential Privacy (2022), theorem 2.7, corollary 3.3.
[3] Balle, Wang: Improving the Gaussian Mechanism for Differential Privacy (2018), theorem 8.

Glossary: N contributions, P cells of a table.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from statistics import NormalDist
from typing import Any, Final

import numpy as np

from models.errors import ModelDataError

Array = np.ndarray[Any, Any]

MOST_EPSILON: Final = 100.0
"""A larger one promises nothing."""
_NORMAL: Final = NormalDist()


@dataclass(frozen=True)
class Budget:
    """Holds how much a model may tell of any one user."""

    epsilon: float
    delta: float

    def __post_init__(self) -> None:
        if not 0 < self.epsilon <= MOST_EPSILON:
            raise ModelDataError(f"epsilon is {self.epsilon}; give a number up to {MOST_EPSILON:g}")
        if not 0 < self.delta < 1e-3:
            raise ModelDataError(
                f"delta is {self.delta}; give less than one in the number of users, as 1e-6"
            )

    @property
    def mu(self) -> float:
        """Returns the largest mu whose mechanisms keep to this budget."""
        low, high = 0.0, 100.0
        for _ in range(100):
            middle = (low + high) / 2
            if delta_of(middle, self.epsilon) <= self.delta:
                low = middle
            else:
                high = middle
        return low


def delta_of(mu: float, epsilon: float) -> float:
    """Returns the least delta of a mu-GDP mechanism at an epsilon [3]."""
    if mu <= 0:
        return 0.0
    return _below(-epsilon / mu + mu / 2) - math.exp(epsilon) * _below(-epsilon / mu - mu / 2)


def _below(z: float) -> float:
    """Returns the standard normal distribution function, exact far out too."""
    return math.erfc(-z / math.sqrt(2)) / 2


def clipped(owners: Array, cells: Array, values: Array, norm: float) -> tuple[Array, Array]:
    """Returns the sums over users of their vectors, each scaled down to an L2 norm.

    owners, cells, values: int, int, float [N], what a user adds to a cell. The result is the cells
    that somebody adds to, sorted and unique, and the sums, float64.
    """
    # what each user adds to each cell, in all
    order = np.lexsort((cells, owners))
    owners, cells, values = owners[order], cells[order], values[order]
    first = np.ones(len(cells), bool)
    first[1:] = (owners[1:] != owners[:-1]) | (cells[1:] != cells[:-1])
    of = np.cumsum(first) - 1
    summed = np.bincount(of, values, minlength=int(first.sum()))
    owners, cells = owners[first], cells[first]
    # each user's vector scaled down, and all of them added up
    length = np.sqrt(np.bincount(owners, summed**2))
    scale = np.minimum(1, norm / np.maximum(length, 1e-12))
    unique, place = np.unique(cells, return_inverse=True)
    return unique, np.bincount(place, summed * scale[owners], minlength=len(unique))


class Noise:
    """Is the one door through which sums over users reach a model.

    Draws normal noise, and remembers what was released with which mu.
    """

    def __init__(self) -> None:
        self._random = np.random.default_rng()  # of the system's entropy
        self.spent: list[tuple[str, float]] = []

    def total(self) -> float:
        """Returns the mu of all releases together, if all were of the same users."""
        return math.sqrt(sum(mu**2 for _, mu in self.spent))

    def dense(self, what: str, sums: Array, norm: float, mu: float) -> tuple[Array, float]:
        """Returns sums of vectors of at most this norm with noise, and its standard deviation."""
        self.spent.append((what, mu))
        deviation = norm / mu
        return sums + self._random.normal(0, deviation, sums.shape), deviation

    def pairs(
        self, what: str, table: tuple[Array, Array], items: int, norm: float, mu: float
    ) -> tuple[Array, Array]:
        """Returns the cells of a table of pairs of items that stand out of the noise, and values.

        table: the cells with a sum, a * (items + 1) + b with a != b, both from 1 to items, and the
        sums. Of all cells, noise alone lifts one a hundred items above the threshold. Cells where
        nothing happened are not held: how many of them the noise lifts is drawn, and which.
        """
        self.spent.append((what, mu))
        deviation = norm / mu
        cells, sums = table
        chance = min(0.5, 1 / (100 * max(items - 1, 1)))
        threshold = -_NORMAL.inv_cdf(chance) * deviation
        values = sums + self._random.normal(0, deviation, len(sums))
        kept = values > threshold
        # the others: each of them is lifted by the same chance
        empty = items * (items - 1) - len(cells)
        lifted = self._empty_cells(cells, items, int(self._random.binomial(empty, chance)))
        tails = 1 - chance * (1 - self._random.random(len(lifted)))
        above = np.array([_NORMAL.inv_cdf(min(each, 1 - 1e-16)) for each in tails.tolist()])
        cells = np.concatenate((cells[kept], lifted))
        values = np.concatenate((values[kept], above * deviation))
        order = np.argsort(cells)  # no order tells which of them somebody added to
        return cells[order], values[order]

    def _empty_cells(self, taken: Array, items: int, count: int) -> Array:
        """Returns so many different cells, drawn among those that are not taken."""
        found = np.zeros(0, np.int64)
        while len(found) < count:
            first, second = self._random.integers(1, items + 1, (2, 2 * count + 8))
            drawn = (first * (items + 1) + second)[first != second]
            drawn = drawn[~np.isin(drawn, taken) & ~np.isin(drawn, found)]
            _, place = np.unique(drawn, return_index=True)
            found = np.concatenate((found, drawn[np.sort(place)]))
        return found[:count]

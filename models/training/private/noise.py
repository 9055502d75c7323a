"""Adds noise to sums over users, and remembers what was released.

Everything is a Gaussian mechanism: a sum over users, each of whose vectors is scaled down to a
bounded L2 norm, with normal noise on every cell, those where nothing happened too. `account` says
what the releases tell of a user. Noise and draws come from the system's entropy, never from the
seed of a training.

Glossary: N contributions, P cells of a table, U users.
"""

from __future__ import annotations

from statistics import NormalDist
from typing import Any, Final

import numpy as np

from models.training.private.account import Release

Array = np.ndarray[Any, Any]

_NORMAL: Final = NormalDist()


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

    Draws users and normal noise, and remembers what was released.
    """

    def __init__(self) -> None:
        self._random = np.random.default_rng()  # of the system's entropy
        self.releases: list[Release] = []

    def drawn(self, users: int, rate: float) -> Array:
        """Returns which of some users are drawn, bool [U], each with a chance on its own."""
        chosen: Array = self._random.random(users) < rate
        return chosen

    def dense(
        self, what: str, sums: Array, norm: float, noise: float, rate: float = 1.0
    ) -> tuple[Array, float]:
        """Returns sums of vectors of at most this norm with noise, and its standard deviation.

        noise: the deviation over the norm; rate: the chance with which `drawn` drew the users.
        """
        self._note(Release(what, noise, rate))
        deviation = norm * noise
        return sums + self._random.normal(0, deviation, sums.shape), deviation

    def pairs(
        self, what: str, table: tuple[Array, Array], items: int, norm: float, noise: float
    ) -> tuple[Array, Array]:
        """Returns the cells of a table of pairs of items that stand out of the noise, and values.

        table: the cells with a sum, a * (items + 1) + b with a != b, both from 1 to items, and the
        sums. Of all cells, noise alone lifts one a hundred items above the threshold. Cells where
        nothing happened are not held: how many of them the noise lifts is drawn, and which.
        """
        self._note(Release(what, noise))
        deviation = norm * noise
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

    def _note(self, release: Release) -> None:
        """Remembers a release; one that was made like the last one counts with it."""
        if self.releases and self.releases[-1]._replace(times=1) == release:
            release = release._replace(times=self.releases.pop().times + 1)
        self.releases.append(release)

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

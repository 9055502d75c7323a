"""Scores items by EASE: every item regressed on all others, in closed form.

It finds what the things that a user has say beyond what they say by pairs. Steck, "Embarrassingly
Shallow Autoencoders for Sparse Data" (WWW 2019, arXiv:1905.03375), equations 7 and 8: with X [U, V]
of 0 and 1 (whether a user met an item) and P = (X'X + lambda I)^-1, the weight of item i for item j
is -P_ij / P_jj, 0 of an item for itself. Co-occurrence counts a pair for each of the items that go
with it; a regression gives it to the one that explains the others.

Ours: a score sums over the last 32 events, each older one counting 0.95 of the next; only weights
above 0 are kept, the strongest of each item, and only of two items that `least_users` users met
both of (the regression itself reads everything); of a large catalogue the most met items take part,
since the cost is that of inverting a matrix, V^3.

Glossary: U users, N events, V items (row 0: unknown), M of them that take part, K neighbours.
"""

from __future__ import annotations

from typing import Any, Final, Self

import numpy as np
import torch
from torch import Tensor

from models.compact import RECENT
from models.scorers.pair_table import PairScorer, most_kept
from models.scorers.scorer import Histories

Array = np.ndarray[Any, Any]

RIDGE: Final = 300.0
"""Lambda; picked on validation, in the blend (docs/measured/logs/ease.md), as the decay was."""
DECAY: Final = 0.95
MOST_ITEMS: Final = 12_288
"""Items that take part: three matrices of 600 MB, half a minute."""


class Ease(PairScorer):
    """Scores items by a regression of every item on all others."""

    name = "ease"
    label = "EASE"
    tensors_prefix = "ease."
    must_earn_its_cost = True  # it takes a fifth of a scoring pass
    explained = 5
    decay = DECAY
    look_back = RECENT
    named = 384

    @classmethod
    def learn(cls, histories: Histories) -> Self:
        """Returns the scorer as regressed on histories."""
        return cls.of(*learn(*histories.met))


def learn(rows: Array, user_start: Array, items: int, least_users: int = 1) -> tuple[Array, Array]:
    """Returns each item's strongest neighbours and their weights, [V + 1, K] each.

    rows: int [N] item rows (0: unknown), the events of user u at user_start[u] : user_start[u + 1].
    """
    # the most met items take part, in the order of the catalogue
    counts = np.bincount(rows, minlength=items + 1)
    counts[0] = 0
    met = np.sort(np.argsort(-counts, kind="stable")[: min(MOST_ITEMS, int((counts > 0).sum()))])
    place = np.full(items + 1, -1, np.int64)
    place[met] = np.arange(len(met))
    # each of them keeps its largest weights that are above 0
    most = min(most_kept(items), max(len(met), 1))
    neighbours, weights = (
        np.zeros((items + 1, most), np.int32),
        np.zeros((items + 1, most), np.float32),
    )
    if len(met):
        together = _together(place[rows], user_start, len(met))
        few = together < least_users
        strongest = _weights(together).masked_fill_(few, 0).topk(most, dim=1)
        weights[met] = strongest.values.numpy()
        neighbours[met] = np.where(weights[met] > 0, met[strongest.indices.numpy()], 0)
    return neighbours, weights


def _weights(together: Tensor) -> Tensor:
    """Returns the weights [M, M] by equation 8 of X'X [M, M], which is written over."""
    together.diagonal().add_(RIDGE)
    inverse = torch.cholesky_inverse(torch.linalg.cholesky(together))
    found = inverse.div_(-inverse.diagonal().clone()).clamp_(min=0)
    found.diagonal().zero_()
    return found


def _together(places: Array, user_start: Array, items: int) -> Tensor:
    """Returns X'X float32 [M, M], how many users met both of two items.

    places: int64 [N], -1 for an item that takes no part.
    """
    found = np.zeros((items, items), np.float32)
    for start, end in zip(user_start[:-1].tolist(), user_start[1:].tolist(), strict=True):
        met = np.unique(places[start:end])
        met = met[met >= 0]
        found[np.ix_(met, met)] += 1
    return torch.from_numpy(found)

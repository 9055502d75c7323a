"""EASE: every item regressed on all others, in closed form; what the things that a user has say beyond what they say by pairs.

Steck, "Embarrassingly Shallow Autoencoders for Sparse Data" (WWW 2019, arXiv:1905.03375), equations 7 and 8: with X [U, V] of 0 and 1
(whether a user met an item) and P = (X'X + lambda I)^-1, the weight of item i for item j is -P_ij / P_jj, 0 of an item for itself.
Co-occurrence counts a pair for each of the items that go with it; a regression gives it to the one that explains the others.

Ours: a score sums over the last 32 events, each older one counting 0.95 of the next; only weights above 0 are kept, the strongest of
each item; of a large catalogue the most met items take part, since the cost is that of inverting a matrix, V^3.

Glossary: U users, N events, V items (row 0: unknown), M of them that take part.
"""

from __future__ import annotations

from typing import Any, Final

import numpy as np
import torch
from torch import Tensor

from models.compact import RECENT
from models.pair_tables import PairTable, most_kept

Array = np.ndarray[Any, Any]

RIDGE: Final = 300.0
"""Lambda; picked on validation, in the blend (docs/model-log.md#ease), as the decay was."""
DECAY: Final = 0.95
MOST_ITEMS: Final = 12_288
"""Three matrices of 600 MB, half a minute."""


def learn(rows: Array, user_start: Array, items: int) -> PairTable:
    """Regress the items of histories: item rows int [N] (0: unknown), the events of user u at user_start[u]:user_start[u + 1]."""
    counts = np.bincount(rows, minlength=items + 1)
    counts[0] = 0
    met = np.sort(np.argsort(-counts, kind="stable")[: min(MOST_ITEMS, int((counts > 0).sum()))])
    place = np.full(items + 1, -1, np.int64)
    place[met] = np.arange(len(met))
    most = min(most_kept(items), max(len(met), 1))
    neighbours, weights = np.zeros((items + 1, most), np.int32), np.zeros((items + 1, most), np.float32)
    if len(met):
        strongest = _weights(_together(place[rows], user_start, len(met))).topk(most, dim=1)
        weights[met] = strongest.values.numpy()
        neighbours[met] = np.where(weights[met] > 0, met[strongest.indices.numpy()], 0)
    return table(neighbours, weights)


def table(neighbours: Array, weights: Array) -> PairTable:
    """Of neighbours int32 and their weights float32 [V + 1, K]."""
    return PairTable(neighbours, weights, DECAY, RECENT)


def _weights(together: Tensor) -> Tensor:
    """[M, M] of X'X [M, M], which is written over."""
    together.diagonal().add_(RIDGE)
    inverse = torch.cholesky_inverse(torch.linalg.cholesky(together))
    found = inverse.div_(-inverse.diagonal().clone()).clamp_(min=0)
    found.diagonal().zero_()
    return found


def _together(places: Array, user_start: Array, items: int) -> Tensor:
    """X'X float32 [M, M]: how many users met both of two items; places int64 [N], -1 for one that takes no part."""
    found = np.zeros((items, items), np.float32)
    for start, end in zip(user_start[:-1].tolist(), user_start[1:].tolist(), strict=True):
        met = np.unique(places[start:end])
        met = met[met >= 0]
        found[np.ix_(met, met)] += 1
    return torch.from_numpy(found)

"""Scores items by how many events of the whole training were about them, alike for all users.

Glossary: U users, N events, V items (row 0: unknown).
"""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from torch import Tensor

from models.scorers.scorer import Family, Needs, Product, Scored, Scorer, ScorerInput

Array = np.ndarray[Any, Any]


class Popularity(Scorer):
    """Scores an item by the logarithm of its share in all training events."""

    name = "popularity"
    family = Family.POPULARITY
    needs = Needs.NOTHING
    product = Product.POPULARITY

    def scores(self, given: ScorerInput) -> Scored:
        """Returns log shares [U, V + 1]."""
        return Scored(given.log_popularity.expand(given.language_model.shape[0], -1))


def log_shares(rows: Array, items: int) -> Tensor:
    """Returns the log share of each item among rows, float32 [V + 1], half an event added to each.

    rows: int [N], 0: unknown and not counted.
    """
    counts = np.bincount(rows, minlength=items + 1).astype(np.float32)
    shares = torch.from_numpy(np.log((counts + 0.5) / (counts[1:].sum() + 0.5 * len(counts))))
    shares[0] = 0
    return shares

"""Decayed co-occurrence: which items follow which. No training, cheap, and a floor that a network must beat or gain from.

Train: for every ordered pair within a window of 10, co[a][b] += 1 / distance, and half of that backwards. Score: sum over the last
15 events of 0.7^age * co[i][j] / sqrt(count_j + 1). Each item keeps its strongest neighbours only.

Glossary: U users, V items (row 0: unknown), K neighbours an item, A = 15 events looked back at.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Final

import numpy as np

Array = np.ndarray[Any, Any]

WINDOW: Final = 10
LOOK_BACK: Final = 15
DECAY: Final = 0.7


@dataclass(frozen=True)
class Cooccurrence:
    """neighbours int32 [V + 1, K] item rows (0: none), weights float32 [V + 1, K]."""

    neighbours: Array
    weights: Array

    def scores(self, rows: Array) -> Array:
        """float32 [U, V + 1] for the last events of users, item rows [U, A] newest first (0: none)."""
        rows = rows[:, :LOOK_BACK]
        users, items, k = len(rows), len(self.neighbours), self.neighbours.shape[1]
        decay = (DECAY ** np.arange(rows.shape[1])).astype(np.float32)
        values = self.weights[rows] * decay[None, :, None]
        places = self.neighbours[rows].astype(np.int64) + (np.arange(users) * items)[:, None, None]
        summed = np.bincount(places.ravel(), values.ravel(), minlength=users * items)
        scores = summed.reshape(users, items).astype(np.float32)
        scores[:, 0] = 0
        assert k == values.shape[2]
        return scores


def learn(rows: Array, user_start: Array, items: int, most: int = 64) -> Cooccurrence:
    """Count the pairs of sequences: item rows int [N], the events of user u at user_start[u]:user_start[u + 1]."""
    owner = np.repeat(np.arange(len(user_start) - 1), np.diff(user_start))
    pairs, weights = [], []
    for distance in range(1, WINDOW + 1):
        first, second = rows[:-distance], rows[distance:]
        good = (owner[:-distance] == owner[distance:]) & (first > 0) & (second > 0) & (first != second)
        ahead = first[good].astype(np.int64) * (items + 1) + second[good]
        back = second[good].astype(np.int64) * (items + 1) + first[good]
        pairs += [ahead, back]
        weights += [np.full(len(ahead), 1.0 / distance), np.full(len(back), 0.5 / distance)]
    counts = np.bincount(rows, minlength=items + 1)
    unique, places = np.unique(np.concatenate(pairs), return_inverse=True)
    totals = np.bincount(places, np.concatenate(weights)) if len(unique) else np.zeros(0)
    first, second = unique // (items + 1), unique % (items + 1)
    strength = totals / np.sqrt(counts[second] + 1.0)
    order = np.lexsort((second, -strength, first))
    first, second, strength = first[order], second[order], strength[order]
    starts = np.searchsorted(first, np.arange(items + 1))
    rank = np.arange(len(first)) - starts[first]
    kept = rank < most
    width = int(min(most, rank.max(initial=0) + 1))
    neighbours, values = np.zeros((items + 1, width), np.int32), np.zeros((items + 1, width), np.float32)
    neighbours[first[kept], rank[kept]] = second[kept]
    values[first[kept], rank[kept]] = strength[kept]
    return Cooccurrence(neighbours, values)

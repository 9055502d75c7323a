"""Decayed co-occurrence: which items follow which. No training, cheap, and a floor that a network must beat or gain from.

Train: for every ordered pair within a window of 10, co[a][b] += 1 / distance, and half of that backwards. Score: sum over the last
15 events of 0.7^age * co[i][j] / sqrt(count_j + 1). Each item keeps its strongest neighbours only.

Glossary: U users, V items (row 0: unknown), K neighbours an item, A = 15 events looked back at.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from typing import Any, Final

import numpy as np
import torch
from torch import Tensor
from torch.nn.functional import embedding, embedding_bag

from models import followers as following
from models.followers import Followers
from models.pair_tables import strongest

Array = np.ndarray[Any, Any]

WINDOW: Final = 10
LOOK_BACK: Final = 15
DECAY: Final = 0.7
PART: Final = 500_000
"""Events whose pairs are counted at once: 10 million pairs, some 500 MB while they are sorted."""
DENSE_ITEMS: Final = 4_096
"""Up to here all pairs are held as a matrix, 64 MB at most."""
MANY: Final = 512
FEW: Final = 64
"""Neighbours that an item keeps: many where they cost a matrix's row all the same (16 MB of a model directory), few beyond."""


@dataclass(frozen=True)
class Cooccurrence:
    """neighbours int32 [V + 1, K] item rows (0: none), weights float32 [V + 1, K]; followers: None in models that had none."""

    neighbours: Array
    weights: Array
    followers: Followers | None = None

    @cached_property
    def _dense(self) -> Tensor | None:
        """[V + 1, V + 1] all weights, 25 times as fast to sum; None where it would be large."""
        items = len(self.neighbours)
        if items > DENSE_ITEMS:
            return None
        dense = np.zeros((items, items), np.float32)
        np.add.at(dense, (np.arange(items)[:, None], self.neighbours), self.weights)
        dense[:, 0] = 0
        return torch.from_numpy(dense)

    def permuted(self, order: Array) -> Cooccurrence:
        """Each item with the neighbours and followers of another: order int64 [V + 1], 0 first."""
        found = self.followers
        moved = None if found is None else Followers(found.rows[order], found.scores[order])
        return Cooccurrence(self.neighbours[order], self.weights[order], moved)

    def scores(self, rows: Tensor) -> Tensor:
        """float32 [U, V + 1] for the last events of users, item rows int64 [U, A] newest first (0: none)."""
        rows = rows[:, :LOOK_BACK]
        decay = DECAY ** torch.arange(rows.shape[1], dtype=torch.float32)
        if self._dense is not None:
            shares = decay.expand(rows.shape[0], -1).contiguous()
            return embedding_bag(rows.contiguous(), self._dense, mode="sum", per_sample_weights=shares)
        neighbours, weights = torch.from_numpy(self.neighbours), torch.from_numpy(self.weights)
        given = (embedding(rows, weights) * decay[:, None]).flatten(1)
        scores = torch.zeros(rows.shape[0], neighbours.shape[0])
        scores.scatter_add_(1, embedding(rows, neighbours).flatten(1).long(), given)
        scores[:, 0] = 0
        return scores


def learn(rows: Array, user_start: Array, items: int, most: int = 0) -> Cooccurrence:
    """Count the pairs of sequences: item rows int [N], the events of user u at user_start[u]:user_start[u + 1].

    Each item keeps its `most` strongest neighbours; 0: MANY or FEW of them, by the size of the catalogue.

    Users are counted PART events at a time and the sums merged, so memory follows the pairs that exist, not the events.
    """
    keys, totals = np.zeros(0, np.int64), np.zeros(0, np.float32)
    first = 0
    while first < len(user_start) - 1:
        last = max(int(np.searchsorted(user_start, user_start[first] + PART, side="right")) - 1, first + 1)
        part, starts = rows[user_start[first] : user_start[last]], user_start[first : last + 1] - user_start[first]
        keys, totals = _merged(keys, totals, *_pairs(part, starts, items))
        first = last
    most = most or (MANY if items < DENSE_ITEMS else FEW)
    item, other = keys // (items + 1), keys % (items + 1)
    counts = np.bincount(rows, minlength=items + 1)
    neighbours, weights = strongest(item, other, totals / np.sqrt(counts[other] + 1.0), items, most)
    return Cooccurrence(neighbours, weights, following.learn(rows, user_start, items))


def learn_before_last(rows: Array, user_start: Array, items: int) -> Cooccurrence:
    """The same without each user's last event: what a validation on that event may know."""
    keep = np.ones(len(rows), bool)
    keep[user_start[1:] - 1] = False
    return learn(rows[keep], user_start - np.arange(len(user_start)), items)


def _pairs(rows: Array, user_start: Array, items: int) -> tuple[Array, Array]:
    """Sorted unique keys first * (items + 1) + second of the pairs of some users, and their summed weights."""
    owner = np.repeat(np.arange(len(user_start) - 1), np.diff(user_start))
    pairs, weights = [], []
    for distance in range(1, WINDOW + 1):
        first, second = rows[:-distance], rows[distance:]
        good = (owner[:-distance] == owner[distance:]) & (first > 0) & (second > 0) & (first != second)
        ahead = first[good].astype(np.int64) * (items + 1) + second[good]
        back = second[good].astype(np.int64) * (items + 1) + first[good]
        pairs += [ahead, back]
        weights += [np.full(len(ahead), 1.0 / distance), np.full(len(back), 0.5 / distance)]
    return _summed(np.concatenate(pairs), np.concatenate(weights))


def _merged(keys: Array, totals: Array, more: Array, weights: Array) -> tuple[Array, Array]:
    return (
        (more, weights) if not len(keys) else _summed(np.concatenate((keys, more)), np.concatenate((totals, weights)))
    )


def _summed(keys: Array, weights: Array) -> tuple[Array, Array]:
    unique, places = np.unique(keys, return_inverse=True)
    return unique, np.bincount(places, weights, minlength=len(unique)).astype(np.float32)

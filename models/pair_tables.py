"""What items say of other items: for each one a row of others with weights, summed over a user's recent events.

Glossary: P pairs of items, U users, V items (row 0: unknown), K others an item, A recent events looked back at, newest first.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from functools import cached_property
from typing import Any, Final

import numpy as np
import torch
from torch import Tensor
from torch.nn.functional import embedding, embedding_bag

Array = np.ndarray[Any, Any]

DENSE_ITEMS: Final = 4_096
"""Up to here all pairs are held as a matrix, 32 MB at most."""
MANY: Final = 512
FEW: Final = 64
"""Others that an item keeps: many where they cost a matrix's row all the same (16 MB of a model directory), few beyond."""


@dataclass(frozen=True)
class PairTable:
    """neighbours int32 [V + 1, K] item rows (0: none), weights float32 [V + 1, K], 0 where there is none."""

    neighbours: Array
    weights: Array
    decay: float  # what an event counts for, of the one after it
    look_back: int  # A

    @cached_property
    def _dense(self) -> Tensor | None:
        """float16 [V + 1, V + 1] all weights, half the memory to read and as good for a logarithm; None where it would be large."""
        items = len(self.neighbours)
        if items > DENSE_ITEMS:
            return None
        dense = np.zeros((items, items), np.float32)
        np.add.at(dense, (np.arange(items)[:, None], self.neighbours), self.weights)
        dense[:, 0] = 0
        return torch.from_numpy(dense).half()

    def permuted(self, order: Array) -> PairTable:
        """Each item with the neighbours of another: order int64 [V + 1], 0 first."""
        return replace(self, neighbours=self.neighbours[order], weights=self.weights[order])

    def strongest(self, most: int) -> PairTable:
        """The same with no more than that many neighbours an item."""
        return replace(self, neighbours=self.neighbours[:, :most], weights=self.weights[:, :most])

    def scores(self, rows: Tensor) -> Tensor:
        """float32 [U, V + 1] for the last events of users, item rows int64 [U, R] newest first (0: none)."""
        rows = rows[:, : self.look_back]
        if self._dense is not None:
            shares = self.shares(rows).half().expand(rows.shape[0], -1).contiguous()
            return embedding_bag(rows.contiguous(), self._dense, mode="sum", per_sample_weights=shares).float()
        neighbours, given = self.given(rows)
        scores = torch.zeros(rows.shape[0], len(self.neighbours))
        scores.scatter_add_(1, neighbours.flatten(1), given.flatten(1))
        scores[:, 0] = 0
        return scores

    def given(self, rows: Tensor) -> tuple[Tensor, Tensor]:
        """What each event gives: rows int64 and their weights [U, A, K], of item rows [U, A]."""
        neighbours, weights = torch.from_numpy(self.neighbours), torch.from_numpy(self.weights)
        return embedding(rows, neighbours).long(), embedding(rows, weights) * self.shares(rows)[:, None]

    def shares(self, rows: Tensor) -> Tensor:
        """[A]: what the events of rows [U, A] count for."""
        return self.decay ** torch.arange(rows.shape[1], dtype=torch.float32)


def most_kept(items: int) -> int:
    """K of a catalogue of that many items."""
    return MANY if items < DENSE_ITEMS else FEW


def strongest(first: Array, second: Array, strength: Array, items: int, most: int) -> tuple[Array, Array]:
    """int32 and float32 [V + 1, K]: the `most` strongest `second` of each `first`, best first, and their strengths; 0 where there is none.

    first, second, strength: [P], a pair once. Among equals the lower row comes first.
    """
    order = np.lexsort((second, -strength, first))
    first, second, strength = first[order], second[order], strength[order]
    rank = np.arange(len(first)) - np.searchsorted(first, np.arange(items + 1))[first]
    kept = rank < most
    width = int(min(most, rank.max(initial=0) + 1))
    rows, values = np.zeros((items + 1, width), np.int32), np.zeros((items + 1, width), np.float32)
    rows[first[kept], rank[kept]] = second[kept]
    values[first[kept], rank[kept]] = strength[kept]
    return rows, values

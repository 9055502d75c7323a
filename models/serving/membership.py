"""Says which items belong to which interests, for a whole catalogue or for the items of a pool.

Where all items are scored it is a matrix of floats, to be multiplied with. A large catalogue's is a
byte each, of which those of some items are read: a quarter of the memory, once instead of twice.

Glossary: U users, V items (row 0: unknown), K places of a pool, C interests, R recent events, S
items of the rest of a pool.
"""

from __future__ import annotations

from typing import Any, Final

import numpy as np
import torch
from torch import Tensor
from torch.nn.functional import embedding

from models.scorers.scorer import Pool

Array = np.ndarray[Any, Any]


SCALE: Final = np.array([1.0, 0.0], np.float32).view(np.uint8)
"""Behind the bytes of a row: what they are multiplied by, and what is added, as FBGEMM reads it."""


class Membership:
    """Says which items belong to an interest."""

    def __init__(self, belongs: Array, *, whole: bool) -> None:
        """Takes bool [V + 1, C], row 0 empty; whole: whether every item will be scored."""
        rows, self._interests = belongs.shape
        self.count = rows - 1
        """How many items there are (V)."""
        if whole:
            self._table = torch.from_numpy(belongs.astype(np.float32))
            # one row an interest: those of a user lie together
            self._by_interest: Tensor | None = self._table.t().contiguous()
            return
        table = np.empty((rows, self._interests + len(SCALE)), np.uint8)
        table[:, : self._interests], table[:, self._interests :] = belongs, SCALE
        self._table, self._by_interest = torch.from_numpy(table), None

    @property
    def belongs(self) -> Array:
        """Returns which interests each item belongs to, bool [V, C]."""
        found: Array = self._table[1:, : self._interests].numpy() > 0
        return found

    def of(self, rows: Tensor) -> Tensor:
        """Returns 1 where items belong to an interest, float32 [.., C] of rows int64 [..]."""
        return embedding(rows, self._table)[..., : self._interests].float()

    def among(self, rows: Tensor, which: Tensor) -> Tensor:
        """Returns 1 where items belong to an interest, float32 [U, n].

        rows: int64 [U, n]; which: the interest of each user, int64 [U].
        """
        places = rows * self._table.shape[1] + which.unsqueeze(1)
        found = self._table.flatten().index_select(0, places.flatten())
        return found.view_as(rows).float()

    def of_all(self, which: Tensor) -> Tensor:
        """Returns 1 where an item of the catalogue belongs to an interest, float32 [U, V + 1].

        which: the interest of each user, int64 [U].
        """
        if self._by_interest is None:
            return self._table[:, which].t().float()
        return self._by_interest[which]

    def summed(self, pool: Pool, weights: Tensor) -> Tensor:
        """Returns the weights [U, K] of a pool's items added up by interest, [U, C]."""
        if pool.rows is None:
            return weights @ self._table[:, : self._interests].float()
        if self._by_interest is not None:
            return pool.summed(weights, self._table)
        # as embedding_bag, which takes no bytes; a quarter of what it reads of floats
        users, places = pool.rows.shape[0], pool.rows.shape[1]
        found: Tensor = torch.ops.quantized.embedding_bag_byte_rowwise_offsets(
            self._table,
            pool.rows.flatten(),
            torch.arange(users) * places,
            mode=0,  # a sum
            per_sample_weights=weights.flatten(),
        )
        return found

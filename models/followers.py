"""Which items directly followed each item: a first-order Markov chain, next to decayed co-occurrence. No training.

Where people follow links (pages, playlists, series) the item before says more than all others. Of an item that was directly followed n
times, m of them by j, the score of j is log(1 + m / (n + PRIOR) / FLOOR): the logarithm of its share, 0 where it is as good as none.

Glossary: U users, N events, V items (row 0: unknown), K followers an item, A recent events, newest first.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Final

import numpy as np
import torch
from torch import Tensor
from torch.nn.functional import embedding

from models.pair_tables import strongest

Array = np.ndarray[Any, Any]

PRIOR: Final = 2.0
"""Events' worth of anything else: an item that was followed once tells little."""
FLOOR: Final = 1e-4
MANY: Final = 256
FEW: Final = 64
MANY_ITEMS: Final = 16_384
"""Followers that an item keeps: many in a catalogue up to this size (34 MB of a model directory), few beyond."""


@dataclass(frozen=True)
class Followers:
    """rows int32 [V + 1, K] of followers (0: none), scores float32 [V + 1, K]."""

    rows: Array
    scores: Array

    def of(self, recent: Tensor) -> Tensor:
        """float32 [U, V + 1] for recent item rows [U, A]: what followed the newest known one."""
        last = recent.gather(1, places(recent)[:, :1])[:, 0]
        found = torch.zeros(recent.shape[0], len(self.rows))
        found.scatter_(1, *self.after(last))
        found[:, 0] = 0
        return found

    def permuted(self, order: Array) -> Followers:
        """Each item with the followers of another: order int64 [V + 1], 0 first."""
        return Followers(self.rows[order], self.scores[order])

    def after(self, rows: Tensor) -> tuple[Tensor, Tensor]:
        """Rows int64 and scores float32 [.., K] of what follows item rows [..]."""
        return embedding(rows, torch.from_numpy(self.rows)).long(), embedding(rows, torch.from_numpy(self.scores))


def places(recent: Tensor) -> Tensor:
    """int64 [U, 2]: where in rows [U, A] the newest known item stands, and the one before it; else a place that holds none."""
    known = (recent > 0).int()
    order = torch.argsort(known, dim=1, descending=True, stable=True)
    return order[:, :2]


def learn(rows: Array, user_start: Array, items: int) -> Followers:
    """Count what followed directly, searches and unknown items left out: item rows int [N], user u's at user_start[u]:user_start[u + 1]."""
    owner = np.repeat(np.arange(len(user_start) - 1), np.diff(user_start))[rows > 0]
    rows = rows[rows > 0].astype(np.int64)
    together = owner[1:] == owner[:-1]
    first, second = rows[:-1][together], rows[1:][together]
    pairs, counts = np.unique(first * (items + 1) + second, return_counts=True)
    first, second = pairs // (items + 1), pairs % (items + 1)
    total = np.bincount(first, counts, minlength=items + 1)
    scores = np.log1p(counts / (total[first] + PRIOR) / FLOOR)
    return Followers(*strongest(first, second, scores, items, MANY if items <= MANY_ITEMS else FEW))

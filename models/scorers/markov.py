"""Scores items by which ones directly came after the newest one: a first-order Markov chain.

It stands next to decayed co-occurrence and needs no training. Where people go along links (pages,
playlists, series) the item before says more than all others. Of an item after which another came n
times, m of them j, the score of j is log(1 + m / (n + PRIOR) / FLOOR): the logarithm of its share,
0 where it is as good as none.

Glossary: U users, N events, V items (row 0: unknown), K successors an item, R recent events, newest
first.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Final, Self

import numpy as np
import torch
from torch import Tensor
from torch.nn.functional import embedding

from models.scorers.pair_table import strongest, users_near
from models.scorers.scorer import (
    Family,
    Histories,
    Named,
    Pull,
    RecentItems,
    Scored,
    Scorer,
    ScorerInput,
    Tensors,
)

Array = np.ndarray[Any, Any]

PRIOR: Final = 2.0
"""Events' worth of anything else: what came after an item once says little."""
FLOOR: Final = 1e-4
"""Share that is as good as none."""
MANY: Final = 256
FEW: Final = 64
NAMED: Final = 64
"""Successors that are candidates, at most."""
MANY_ITEMS: Final = 16_384
"""Successors that an item keeps: MANY in a catalogue up to this size, FEW beyond.

MANY are 34 MB of a model directory.
"""


@dataclass(frozen=True)
class Successors:
    """Holds for each item those that directly came after it, and what they score."""

    rows: Array  # int32 [V + 1, K], 0: none
    values: Array  # float32 [V + 1, K]

    def after(self, rows: Tensor) -> tuple[Tensor, Tensor]:
        """Returns what comes after item rows [..]: rows int32 and scores float32 [.., K]."""
        return embedding(rows, torch.from_numpy(self.rows)), embedding(
            rows, torch.from_numpy(self.values)
        )


class Markov(Scorer):
    """Scores items by how often they directly came after the newest known item."""

    name = "following"
    label = "what followed the last item"
    family = Family.SUCCESSION
    tensors_prefix = "followers."
    explained = 3

    def __init__(self, successors: Successors) -> None:
        self.successors = successors

    @classmethod
    def learn(cls, histories: Histories) -> Self:
        """Returns the scorer as counted in histories."""
        return cls(learn(*histories.met))

    @classmethod
    def load(cls, tensors: Tensors) -> Self | None:
        """Returns the scorer as a model stored it; None: the model has no such table."""
        rows, values = (f"{cls.tensors_prefix}{name}" for name in ("rows", "scores"))
        if rows not in tensors:
            return None
        return cls(Successors(tensors[rows].numpy(), tensors[values].numpy()))

    def tensors(self) -> dict[str, Tensor]:
        """Returns the table as tensors."""
        return {
            f"{self.tensors_prefix}rows": torch.from_numpy(self.successors.rows),
            f"{self.tensors_prefix}scores": torch.from_numpy(self.successors.values),
        }

    def scores(self, given: ScorerInput) -> Scored:
        """Returns the log shares [U, K] after the newest known item; 0: as good as none."""
        rows, values = given.looked_up or self.successors.after(_newest(given.recent.rows))
        found = torch.zeros(*given.language_model.shape)
        found.scatter_(1, given.pool.places(rows), values)
        found[:, 0] = 0
        return Scored(found)

    def candidates(self, recent: RecentItems) -> Named:
        """Returns those that came most often after the newest known item, NAMED at most."""
        rows, values = self.successors.after(_newest(recent.rows))
        return Named(rows[:, :NAMED].long(), (rows, values))

    def lost(self, recent: RecentItems, kept: tuple[Tensor, ...], pull: Pull) -> Tensor:
        """Returns what the log-odds lose without each event, [U, R].

        All of it is lost at the newest known item: without it, the one before is the newest.
        """
        newest = newest_two(recent.rows)
        after, scores = self.successors.after(recent.rows.gather(1, newest))  # [U, 2, K]
        places = pull.pool.places(after.flatten(1))
        given = (pull.items.gather(1, places).view_as(scores) * scores).sum(2)
        lost = torch.zeros_like(recent.rows, dtype=given.dtype)
        lost.scatter_(1, newest[:, :1], given[:, :1] - given[:, 1:])
        return pull.weight * lost

    def permuted(self, order: Array) -> Self:
        """Returns the scorer with what comes after each item that of another."""
        successors = self.successors
        return type(self)(Successors(successors.rows[order], successors.values[order]))


def _newest(recent: Tensor) -> Tensor:
    """Returns the row of the newest known item, int64 [U] of rows [U, R]."""
    return recent.gather(1, newest_two(recent)[:, :1])[:, 0]


def newest_two(recent: Tensor) -> Tensor:
    """Returns where the newest known item stands, and the one before it, int64 [U, 2].

    recent: rows [U, R], newest first. Where there is no such item, it is a place that holds none.
    """
    known = (recent > 0).int()
    order = torch.argsort(known, dim=1, descending=True, stable=True)
    return order[:, :2]


def learn(rows: Array, user_start: Array, items: int, least_users: int = 1) -> Successors:
    """Returns what directly came after each item, searches and unknown items left out.

    A pair of items is left out unless `least_users` users met both of them near each other, in
    any order; what counts are then all who met one directly after the other.

    rows: int [N] item rows, the events of user u at user_start[u] : user_start[u + 1].
    """
    # pairs of neighbouring known items of one user
    owner = np.repeat(np.arange(len(user_start) - 1), np.diff(user_start))[rows > 0]
    rows = rows[rows > 0].astype(np.int64)
    together = owner[1:] == owner[:-1]
    first, second = rows[:-1][together], rows[1:][together]
    # each pair counted, and turned into the logarithm of its share
    pairs, counts = np.unique(first * (items + 1) + second, return_counts=True)
    first, second = pairs // (items + 1), pairs % (items + 1)
    total = np.bincount(first, counts, minlength=items + 1)
    scores = np.log1p(counts / (total[first] + PRIOR) / FLOOR)
    if least_users > 1:
        kept = users_near(rows, owner, first, second) >= least_users
        first, second, scores = first[kept], second[kept], scores[kept]
    return Successors(
        *strongest(first, second, scores, items, MANY if items <= MANY_ITEMS else FEW)
    )

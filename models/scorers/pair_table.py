"""Scores items by a table of pairs: each item has a row of others with weights.

The weights are summed over a user's recent events. Subclasses of PairScorer learn such tables, each
in its own way; their score is the logarithm of an item's share in that sum.

Glossary: P pairs of items, U users, V items (row 0: unknown), K others an item or places of a pool,
R recent events, newest first, A <= R of them that are looked back at.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from functools import cached_property
from typing import Any, ClassVar, Final, Self

import numpy as np
import torch
from torch import Tensor
from torch.nn.functional import embedding, embedding_bag

from models.scorers.scorer import (
    Family,
    Named,
    Pull,
    RecentItems,
    Scored,
    Scorer,
    ScorerInput,
    Tensors,
)

Array = np.ndarray[Any, Any]

DENSE_ITEMS: Final = 4_096
"""Up to here all pairs are held as a matrix, 32 MB at most."""
MANY: Final = 512
FEW: Final = 64
"""Others that an item keeps.

MANY where they cost a matrix's row all the same (16 MB of a model directory), FEW beyond.
"""
WINDOW: Final = 10
"""Events from one item to another that is near, at most."""
PART: Final = 500_000
"""Events whose pairs are counted at once: 10 million pairs, some 500 MB while they are sorted."""
EPSILON: Final = 1e-6
FLOOR: Final = 1e-4
"""Share of a user's sum over a table of pairs that is as good as none."""


@dataclass(frozen=True)
class PairTable:
    """Holds for each item other items with weights, and how events count in a sum over them."""

    neighbours: Array  # int32 [V + 1, K] item rows, 0: none
    weights: Array  # float32 [V + 1, K], 0 where there is none
    decay: float  # what an event counts for, of the one after it
    look_back: int  # A
    place: Array | None = None
    """Which row of the table an item has, int32 [V + 1]; 0: an empty one. None: its own."""

    @property
    def rows(self) -> int:
        """Returns how many rows a catalogue has (V + 1)."""
        return len(self.neighbours if self.place is None else self.place)

    def packed(self) -> PairTable:
        """Returns the same table without the rows of items that have no neighbours.

        Of a large catalogue that are nearly all, where a scorer learns from the most met items.
        """
        if self.place is not None or self.rows <= DENSE_ITEMS:
            return self
        has = np.asarray(self.weights.any(1))
        if has[0] or 2 * has.sum() > len(has):  # row 0 is what all others without one get
            return self
        kept = np.concatenate(([0], np.flatnonzero(has)))
        place = np.zeros(len(has), np.int32)
        place[kept] = np.arange(len(kept))
        return replace(
            self, neighbours=self.neighbours[kept], weights=self.weights[kept], place=place
        )

    def whole(self) -> PairTable:
        """Returns the same table with a row for every item."""
        if self.place is None:
            return self
        return replace(
            self,
            neighbours=self.neighbours[self.place],
            weights=self.weights[self.place],
            place=None,
        )

    @cached_property
    def _looked_up(self) -> tuple[Tensor, Tensor]:
        """Returns the neighbours and weights as tensors.

        Rows are int64, as places of a tensor have to be, where they take no room that counts.
        """
        neighbours, weights = torch.from_numpy(self.neighbours), torch.from_numpy(self.weights)
        if self.rows > DENSE_ITEMS:
            return neighbours, weights
        return neighbours.long().contiguous(), weights.contiguous()

    @cached_property
    def _dense(self) -> Tensor | None:
        """Returns all weights as float16 [V + 1, V + 1]; None where that would be large.

        It is half the memory to read and as good for a logarithm.
        """
        items = self.rows
        if items > DENSE_ITEMS:
            return None
        dense = np.zeros((items, items), np.float32)
        np.add.at(dense, (np.arange(items)[:, None], self.neighbours), self.weights)
        dense[:, 0] = 0
        return torch.from_numpy(dense).half()

    def permuted(self, order: Array) -> PairTable:
        """Returns each item with the neighbours of another: order int64 [V + 1], 0 first."""
        if self.place is not None:
            return replace(self, place=self.place[order])
        return replace(self, neighbours=self.neighbours[order], weights=self.weights[order])

    def strongest(self, most: int) -> PairTable:
        """Returns the table with no more than that many neighbours an item."""
        return replace(self, neighbours=self.neighbours[:, :most], weights=self.weights[:, :most])

    def sums(self, rows: Tensor) -> Tensor:
        """Returns the weights of every item summed over the last events, float32 [U, V + 1].

        rows: int64 [U, R] item rows, newest first, 0: none.
        """
        rows = rows[:, : self.look_back]
        # one product with the matrix of all pairs, where there is one
        if self._dense is not None:
            shares = self.shares(rows).half().expand(rows.shape[0], -1).contiguous()
            return embedding_bag(
                rows.contiguous(), self._dense, mode="sum", per_sample_weights=shares
            ).float()
        # else only the neighbours that there are
        neighbours, given = self.given(rows)
        sums = torch.zeros(rows.shape[0], self.rows)
        sums.scatter_add_(1, neighbours.flatten(1).long(), given.flatten(1))
        sums[:, 0] = 0
        return sums

    def given(self, rows: Tensor) -> tuple[Tensor, Tensor]:
        """Returns what each event gives: item rows and weights, [U, A, K] each.

        rows: [U, A].
        """
        shares = self.shares(rows)[:, None]
        if self.place is not None:
            place = torch.from_numpy(self.place)
            rows = place.index_select(0, rows.flatten()).view_as(rows)
        neighbours, weights = self._looked_up
        return embedding(rows, neighbours), embedding(rows, weights) * shares

    def shares(self, rows: Tensor) -> Tensor:
        """Returns what the events of rows [U, A] count for, [A]."""
        return self.decay ** torch.arange(rows.shape[1], dtype=torch.float32)


class TableScorer(Scorer):
    """Keeps a table of pairs and sums over it; a subclass says what a sum is worth."""

    decay: ClassVar[float]
    """What an event counts for, of the one after it."""
    look_back: ClassVar[int]
    """How many recent events are looked at."""
    named: ClassVar[int]
    """Others that are candidates, at most: those that an event gives most to."""

    def __init__(self, table: PairTable) -> None:
        self.table = table

    @classmethod
    def of(cls, neighbours: Array, weights: Array) -> Self:
        """Returns the scorer of neighbours int32 and their weights float32, [V + 1, K] each."""
        return cls(PairTable(neighbours, weights, cls.decay, cls.look_back))

    @classmethod
    def load(cls, tensors: Tensors) -> Self | None:
        """Returns the scorer as a model stored it; None: the model has no such table."""
        neighbours, weights = (f"{cls.tensors_prefix}{name}" for name in ("neighbours", "weights"))
        if weights not in tensors:
            return None
        whole = cls.of(tensors[neighbours].numpy(), tensors[weights].numpy())
        return cls(whole.table.packed())

    def tensors(self) -> dict[str, Tensor]:
        """Returns the table as tensors."""
        table = self.table.whole()
        return {
            f"{self.tensors_prefix}neighbours": torch.from_numpy(table.neighbours),
            f"{self.tensors_prefix}weights": torch.from_numpy(table.weights),
        }

    def candidates(self, recent: RecentItems) -> Named:
        """Returns the others that the last events give most to.

        What two events give to one item counts apart, so it may come twice.
        """
        neighbours, given = self.table.given(recent.rows[:, : self.table.look_back])
        most = min(self.named, given[0].numel())
        strongest = given.flatten(1).topk(most, dim=1, sorted=False).indices
        return Named(neighbours.flatten(1).gather(1, strongest).long(), (neighbours, given))

    def summed(self, given: ScorerInput) -> Scored:
        """Returns the sums over the table [U, K]; of a pool it keeps to which places what is given.

        What falls on no item of a pool stays at place 0.
        """
        if given.pool.rows is None:
            return Scored(self.table.sums(given.recent.rows))
        neighbours, each = given.looked_up or self.table.given(
            given.recent.rows[:, : self.table.look_back]
        )
        places = given.pool.places(neighbours.flatten(1))
        sums = torch.zeros(*given.language_model.shape)
        sums.scatter_add_(1, places, each.flatten(1))
        return Scored(sums, (places, each))

    def given(self, recent: RecentItems, kept: tuple[Tensor, ...]) -> tuple[Tensor, Tensor]:
        """Returns places [U, A K] and what each event gives to them, [U, A, K].

        kept: what `summed` kept of the same users; nothing where all items are scored.
        """
        if kept:
            places, each = kept
            return places, each
        neighbours, each = self.table.given(recent.rows[:, : self.look_back])
        return neighbours.flatten(1).long(), each

    def pruned(self, most: int) -> Self:
        """Returns the scorer with no more than `most` neighbours an item."""
        return type(self)(self.table.strongest(most))

    def permuted(self, order: Array) -> Self:
        """Returns the scorer with each item's neighbours those of another."""
        return type(self)(self.table.permuted(order))


class PairScorer(TableScorer):
    """Scores an item by the logarithm of its share in the sum over a table of pairs."""

    family = Family.PAIRS

    def scores(self, given: ScorerInput) -> Scored:
        """Returns log shares [U, K]; it keeps the sums that they are shares of.

        Shares are of all that is given, that of no item of a pool too.
        """
        sums, kept = self.summed(given)
        return Scored(log_share(sums), (sums, *kept))

    def lost(self, recent: RecentItems, kept: tuple[Tensor, ...], pull: Pull) -> Tensor | None:
        """Returns what the log-odds lose without each event, [U, A], the logarithm taken as linear.

        An event's neighbours lose what it gives; all others gain as shares.
        """
        sums = kept[0]
        places, given = self.given(recent, kept[1:])
        total = sums.sum(1, keepdim=True) + EPSILON
        slope = pull.items / (sums + FLOOR * total)
        lost = (slope.gather(1, places).view_as(given) * given).sum(2)
        gained = (slope * sums).sum(1, keepdim=True) / total * given.sum(2)
        return pull.weight * (lost - gained)


def distinct_users(pairs: Array, owners: Array, count: int) -> Array:
    """Returns how many different users each of `count` pairs occurs with, int64 [count].

    pairs: the number of a pair, int [N], 0..count - 1; owners: its user.
    """
    users = int(owners.max(initial=0)) + 1
    return np.bincount(np.unique(pairs.astype(np.int64) * users + owners) // users, minlength=count)


def users_near(rows: Array, owner: Array, first: Array, second: Array) -> Array:
    """Returns how many different users met both items of each pair near each other, int64 [P].

    Near is with at most WINDOW - 1 events between, in any order; of an item with itself: who met it
    again. rows, owner: int [N], the items that were met and by whom, user after user; first,
    second: int [P] item rows.
    """
    # a pair and its reverse are one
    items = int(max(rows.max(initial=0), first.max(initial=0), second.max(initial=0)))
    wanted, place = np.unique(_either_way(first, second, items), return_inverse=True)
    count, users = np.zeros(len(wanted), np.int64), int(owner.max(initial=-1)) + 1
    if not len(wanted):
        return count
    # PART events at a time, of whole users, so that nobody counts twice
    start = 0
    while start < len(rows):
        end = int(np.searchsorted(owner, owner[min(start + PART, len(rows)) - 1], side="right"))
        mine, by = rows[start:end], owner[start:end]
        found = []
        for distance in range(1, min(WINDOW, len(mine) - 1) + 1):
            same = by[:-distance] == by[distance:]
            keys = _either_way(mine[:-distance][same], mine[distance:][same], items)
            at = np.minimum(np.searchsorted(wanted, keys), len(wanted) - 1)
            hit = wanted[at] == keys
            found.append(at[hit] * users + by[:-distance][same][hit])
        if found:
            count += np.bincount(np.unique(np.concatenate(found)) // users, minlength=len(wanted))
        start = end
    return count[place]


def _either_way(first: Array, second: Array, items: int) -> Array:
    """Returns the numbers of pairs of items, the same for a pair and its reverse, int64."""
    low, high = np.minimum(first, second), np.maximum(first, second)
    return low.astype(np.int64) * (items + 1) + high


def log_share(sums: Tensor) -> Tensor:
    """Returns the log share of each item in sums over a table of pairs, both [U, K]."""
    return (sums / (sums.sum(1, keepdim=True) + EPSILON)).add_(FLOOR).log_()


def most_kept(items: int) -> int:
    """Returns how many others an item keeps (K) in a catalogue of that many items."""
    return MANY if items < DENSE_ITEMS else FEW


def strongest(
    first: Array, second: Array, strength: Array, items: int, most: int
) -> tuple[Array, Array]:
    """Returns the `most` strongest `second` of each `first`, best first, and their strengths.

    first, second, strength: [P], a pair once. The result is int32 and float32 [V + 1, K], 0 where
    there is none. Among equals the lower row comes first.
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

"""Finds the items of a large catalogue that are worth a score: the candidates of each user.

Networks and popularity multiply every item of the catalogue with something; all other scorers say
the same of nearly all items, and more of a few that they name. So an item can be among the first of
the blend only if a scorer names it, or if it is among the best of the products alone. The products
are added up by the user's weights before the search, so there is one search, whatever the scorers,
and it gives their part of the blend as well.

Glossary: U users, V items (row 0: unknown), K places of a pool, D width, F scorers, N items found.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Final, NamedTuple, Protocol

import torch
from torch import Tensor
from torch.nn.functional import pad

from models.compact import RECENT
from models.scorers.registry import SCORERS, ScorerSet
from models.scorers.scorer import Pool, Product, RecentItems
from models.serving.reading import Rest

POPULAR: Final = 512
DRAWN: Final = 512
"""Items that stand for the rest of the catalogue: the most popular ones, and some drawn by chance.

Of a popular one there is one; each that is drawn stands for as many others.
"""
SPARE: Final = 22
"""Items that the search finds beyond those asked for and those that the user has met.

Scorers with a weight below 0 push some of the found ones down.
"""


def looked_for(most: int) -> int:
    """Returns how many items are searched for users who are told `most`."""
    return most + RECENT + SPARE


@dataclass(frozen=True)
class Asked:
    """Holds what is known of U users when their candidates are looked for."""

    recent: RecentItems
    answer: Tensor  # [U, D] of the language model
    feature: Tensor  # [U, D] of the LSTM
    attended: Tensor  # [U, D] of the attention; [U, 0] without one
    weights: Tensor  # [U, F] of the scorers
    biases: Tensor  # [1, V + 1] of the networks; or of each user, [U, V + 1]
    log_recent: Tensor  # the same of recent popularity


class Query(NamedTuple):
    """Holds what the vector of an item, and its priors, are multiplied with."""

    vector: Tensor  # [U, D], or as many times D as there are different vectors of an item
    priors: Tensor  # [U, 3] the weights of the networks' bias, of popularity, of that lately

    @classmethod
    def of(cls, asked: Asked, *, shared: bool) -> Query:
        """Returns the query of users.

        shared: whether the language model and the LSTM have the same vectors.
        """
        of = {
            product: asked.weights[
                :, [at for at, each in enumerate(SCORERS) if each.product is product]
            ]
            for product in Product
        }
        by_model, by_lstm, by_attention, popular, lately = (
            each.sum(1, keepdim=True) for each in of.values()
        )
        answer, feature = by_model * asked.answer, by_lstm * asked.feature
        vectors = [answer + feature] if shared else [answer, feature]
        biased = by_model + by_lstm
        if asked.attended.shape[1]:
            vectors.append(by_attention * asked.attended)
            biased = biased + by_attention
        vector = torch.cat(vectors, 1) if len(vectors) > 1 else vectors[0]
        return cls(vector, torch.cat((biased, popular, lately), 1))


PRIORS: Final = 3
"""Numbers of an item beside its vector: the networks' bias, its popularity, and that lately."""
PRIOR_SCALE: Final = 0.3
"""What a number beside the vector counts for, in which cell an item lies (item_index).

With 1 cells part by popularity alone, with 0.15 hardly: 0.989 and 0.993 found of the first ten of
100,000 items in 32 of 512 cells, 1.000 with 0.3.
"""
ALIGNED: Final = 8
"""Numbers that a processor multiplies at once; a width that is no multiple takes far longer."""
GROUP: Final = 16
"""Items of which only the best is looked at first, where the best of all are wanted.

The N best are in the N groups with the best ones; these are looked for in the same way, which takes
a tenth of looking through 100,000 items.
"""


@dataclass(frozen=True)
class ItemVectors:
    """Holds what the items of a model are multiplied by: once, for every search and for causes."""

    block: Tensor
    """A row an item: its vector, PRIORS numbers beside it times PRIOR_SCALE, zeros, [M, W].

    Rows beyond those of the V items are zeros too, so that they can be parted in groups.
    """
    log_popularity: Tensor  # [V + 1] the log share of each item
    width: int  # of a vector: D, or as many times D as there are different ones of an item
    shared: bool  # whether the language model and the LSTM have the same vectors
    attends: bool  # whether the attention's vectors are among them, the last ones

    @classmethod
    def of(
        cls,
        vectors: Tensor,
        log_popularity: Tensor,
        *,
        shared: bool,
        most: int,
        attends: bool = False,
    ) -> ItemVectors:
        """Returns the items of vectors [V + 1, W], of which about `most` are looked for."""
        rows, width = vectors.shape
        step = 1
        while rows // (step * GROUP) >= 2 * most:
            step *= GROUP
        columns = width + PRIORS
        block = torch.zeros(-(-rows // step) * step, columns + -columns % ALIGNED)
        block[:rows, :width] = vectors
        return cls(block, log_popularity, width, shared, attends)

    @property
    def count(self) -> int:
        """Returns how many items there are (V)."""
        return len(self.log_popularity) - 1

    @property
    def vectors(self) -> Tensor:
        """Returns the vectors alone, [V + 1, width], a part of the block."""
        return self.block[: self.count + 1, : self.width]

    def put_beside(self, priors: tuple[Tensor, ...]) -> None:
        """Writes the numbers beside the vectors, [1, V + 1] each; what was there is of no use."""
        columns = slice(self.width, self.width + PRIORS)
        # the block was made in this mode by a predictor, and a training asks one outside of it
        with torch.inference_mode():
            self.block[: self.count + 1, columns] = torch.cat(priors).t() * PRIOR_SCALE

    def whole(self, query: Query) -> Tensor:
        """Returns what rows of the block are multiplied with, [U, W]."""
        both = torch.cat((query.vector, query.priors / PRIOR_SCALE), 1)
        return pad(both, (0, self.block.shape[1] - both.shape[1]))

    def priors(self, asked: Asked) -> tuple[Tensor, ...]:
        """Returns the PRIORS numbers of each item, [1 or U, V + 1] each, as `Query.priors` goes."""
        return asked.biases, self.log_popularity[None], asked.log_recent


class Found(NamedTuple):
    """Holds what a search found."""

    rows: Tensor  # int64 [U, N] of the items with the largest products
    products: Callable[[Tensor], Tensor]
    """Returns the products of rows, float32 [U, K] of int64 [U, K]; of row 0 minus infinity."""


class ItemSearch(Protocol):
    """Finds the items with the largest products."""

    def __call__(self, query: Query, asked: Asked, most: int) -> Found:
        """Returns the `most` best items of each user."""
        ...


class Candidates(NamedTuple):
    """Holds the items of each user that are scored, and what the products say of them."""

    pool: Pool
    products: Tensor  # [U, K] the products' part of the blend
    rest: Rest  # the same of what stands for all other items
    looked_up: dict[str, tuple[Tensor, ...]]  # what scorers read in their tables, by their names


class Retrieval:
    """Names the candidates of each user: those that the search finds, and those of each scorer."""

    def __init__(self, scorers: ScorerSet, search: ItemSearch, items: ItemVectors) -> None:
        self._scorers, self._search, self._items = scorers, search, items
        rows, self._many = sample_of(items.log_popularity)
        self._rest = rows
        self._of_rest = items.vectors[rows].t().contiguous()
        # where an item stands in the rest; behind its end: in no place of it
        self._place_in_rest = torch.full((items.count + 1,), len(rows), dtype=torch.int32)
        self._place_in_rest[rows] = torch.arange(len(rows), dtype=torch.int32)

    def __call__(self, asked: Asked, most: int, search: ItemSearch | None = None) -> Candidates:
        """Returns the candidates of each user.

        most: how many items will be asked for; search: another one, which knows the answer already.
        """
        query = Query.of(asked, shared=self._items.shared)
        found = (search or self._search)(query, asked, min(self._items.count, looked_for(most)))
        named = self._scorers.candidates(asked.recent)
        lists = [found.rows, *(each.rows for each in named.values())]
        pool = Pool.of(torch.cat(lists[::-1], 1), self._items.count)
        assert pool.rows is not None
        return Candidates(
            pool,
            found.products(pool.rows),
            Rest(self._rest, self._scores_of_rest(query, asked, pool.rows)),
            {name: each.looked_up for name, each in named.items()},
        )

    def _scores_of_rest(self, query: Query, asked: Asked, picked: Tensor) -> Tensor:
        """Returns the products of the rest, [U, S]; of what is picked already minus infinity.

        picked: int64 [U, K] rows of the pool.
        """
        scores = query.vector @ self._of_rest + self._many
        for weight, prior in zip(query.priors.t(), self._items.priors(asked), strict=True):
            scores += weight[:, None] * prior[:, self._rest]
        place = self._place_in_rest.index_select(0, picked.flatten()).view_as(picked).long()
        return pad(scores, (0, 1)).scatter_(1, place, float("-inf"))[:, :-1]


def sample_of(log_popularity: Tensor) -> tuple[Tensor, Tensor]:
    """Returns rows that stand for all items, int64 [S], and the logarithm of how many each does."""
    by_share = 1 + torch.argsort(log_popularity[1:], descending=True, stable=True)
    popular, others = by_share[:POPULAR], by_share[POPULAR:]
    places = torch.randperm(len(others), generator=torch.Generator().manual_seed(0))[:DRAWN]
    many = torch.zeros(len(popular) + len(places))
    many[len(popular) :] = math.log(max(len(others), 1) / max(len(places), 1))
    return torch.cat((popular, others[places])), many

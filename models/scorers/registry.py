"""Names all scorers of the blend, in the order in which their weights are stored.

A new scorer is a file beside this one and a line at the end of SCORERS. Everything else loops over
them: training, the model directory, the scoring pass, causes, ablation and reports.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Final

import numpy as np
import torch
from torch import Tensor

from models.scorers.cooccurrence import Cooccurrence
from models.scorers.ease import Ease
from models.scorers.markov import Markov
from models.scorers.networks import Attention, LanguageModel, Lstm
from models.scorers.popularity import Popularity
from models.scorers.recent_popularity import RecentPopularity
from models.scorers.scorer import (
    Array,
    Histories,
    Named,
    Needs,
    RecentItems,
    Scored,
    Scorer,
    ScorerInput,
    Tensors,
)
from models.scorers.seen import Seen
from models.scorers.seen_lately import SeenLately
from models.scorers.seen_this_session import SeenThisSession
from models.scorers.titles import Titles

SCORERS: Final[tuple[type[Scorer], ...]] = (
    LanguageModel,
    Lstm,
    Cooccurrence,
    Popularity,
    RecentPopularity,
    Seen,
    SeenLately,
    Markov,
    Ease,
    SeenThisSession,
    Titles,
    Attention,
)
"""Append only: models store weights by place. One that goes leaves `removed("its name")` there."""

NAMES: Final = tuple(scorer.name for scorer in SCORERS)
EXPLAINED: Final = tuple(sorted(range(len(SCORERS)), key=lambda each: SCORERS[each].explained))
"""Places of the scorers in the order in which causes are summed."""
PRIORS: Final = tuple(each.name for each in SCORERS if each.needs is Needs.NOTHING)
"""All that says something of a user without events: a network has nothing to read."""
READERS: Final = tuple(each.name for each in SCORERS if each.needs is not Needs.ITEMS)
"""All that says something of a user whose events are about no known item: networks read texts."""


@dataclass(frozen=True)
class ScorerSet:
    """Holds the scorers of one model, in the order of SCORERS.

    None: a model that was trained before there was such a scorer, or for which it was not worth its
    cost.
    """

    each: tuple[Scorer | None, ...]

    @classmethod
    def learn(cls, histories: Histories, like: ScorerSet | None = None) -> ScorerSet:
        """Returns all scorers as learned from histories.

        like: a scorer that these lack is not learned; some take half a minute of a large
        catalogue.
        """
        wanted = [True] * len(SCORERS) if like is None else [one is not None for one in like.each]
        return cls(
            tuple(
                kind.learn(histories) if want else None
                for kind, want in zip(SCORERS, wanted, strict=True)
            )
        )

    @classmethod
    def load(cls, tensors: Tensors) -> ScorerSet:
        """Returns the scorers as a model stored them."""
        return cls(tuple(kind.load(tensors) for kind in SCORERS))

    def __getitem__(self, name: str) -> Scorer | None:
        """Returns the scorer of a name."""
        return self.each[NAMES.index(name)]

    def __iter__(self) -> Iterator[Scorer]:
        """Returns the scorers that the model has."""
        return (one for one in self.each if one is not None)

    def tensors(self) -> dict[str, Tensor]:
        """Returns what a model directory stores of all of them."""
        return {key: tensor for one in self for key, tensor in one.tensors().items()}

    def without(self, name: str) -> ScorerSet:
        """Returns the set without one scorer."""
        return self.replaced(name, None)

    def replaced(self, name: str, scorer: Scorer | None) -> ScorerSet:
        """Returns the set with another scorer of a name."""
        place = NAMES.index(name)
        return ScorerSet((*self.each[:place], scorer, *self.each[place + 1 :]))

    def pruned(self, most: int) -> ScorerSet:
        """Returns the set with no more than `most` neighbours an item."""
        return ScorerSet(tuple(one and one.pruned(most) for one in self.each))

    def permuted(self, order: Array) -> ScorerSet:
        """Returns the set with each item's knowledge of another: order int64 [V + 1], 0 first."""
        return ScorerSet(tuple(one and one.permuted(order) for one in self.each))

    def candidates(self, recent: RecentItems) -> dict[str, Named]:
        """Returns the items that each scorer would have scored, by its name."""
        named = {one.name: one.candidates(recent) for one in self}
        return {name: each for name, each in named.items() if each is not None}

    def scores(
        self, given: ScorerInput, looked_up: Mapping[str, tuple[Tensor, ...]] | None = None
    ) -> list[Scored]:
        """Returns the scores of each scorer in the order of SCORERS; zeros where there is none.

        Of a pool, what is a product is known already, and is none of these. looked_up: what
        scorers read when they named candidates, by their names.
        """
        users, items = given.language_model.shape
        nothing = Scored(torch.zeros(1, 1).expand(users, items))
        known, before = given.pool.rows is not None, looked_up or {}
        return [
            nothing
            if one is None or (known and one.product)
            else one.scores(given._replace(looked_up=before.get(one.name, ())))
            for one in self.each
        ]

    @property
    def beside_products(self) -> list[int]:
        """Returns the places of the scorers that are no products."""
        return [at for at, one in enumerate(self.each) if one is not None and not one.product]


def before_last(histories: Histories) -> Histories:
    """Returns the histories without each user's last event.

    That is what a validation on that event may know.
    """
    rows, user_start = histories.rows, histories.user_start
    keep = np.ones(len(rows), bool)
    keep[user_start[1:] - 1] = False
    return histories._replace(rows=rows[keep], user_start=user_start - np.arange(len(user_start)))

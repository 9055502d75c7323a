"""All that is known of pairs of items without training a network: three tables, learned from the same histories.

Glossary: N events, V items (row 0: unknown).
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np

from models import cooccurrence, ease, followers
from models.followers import Followers
from models.pair_tables import PairTable

Array = np.ndarray[Any, Any]


@dataclass(frozen=True)
class Pairs:
    """None: a model that was trained before there was such a table, or for which it was not worth its cost."""

    cooccurrence: PairTable
    ease: PairTable | None
    followers: Followers | None

    def permuted(self, order: Array) -> Pairs:
        """Each item with the neighbours and followers of another: order int64 [V + 1], 0 first."""
        return Pairs(
            self.cooccurrence.permuted(order),
            None if self.ease is None else self.ease.permuted(order),
            None if self.followers is None else self.followers.permuted(order),
        )

    def strongest(self, most: int) -> Pairs:
        """The same with no more than that many neighbours an item."""
        ease = None if self.ease is None else self.ease.strongest(most)
        return Pairs(self.cooccurrence.strongest(most), ease, self.followers)


def learn(rows: Array, user_start: Array, items: int, like: Pairs | None = None) -> Pairs:
    """From sequences: item rows int [N] (0: unknown), the events of user u at user_start[u]:user_start[u + 1].

    like: a table that these lack is not made (EASE takes half a minute of a large catalogue).
    """
    events = (rows, user_start, items)
    return Pairs(
        cooccurrence.learn(*events),
        ease.learn(*events) if like is None or like.ease is not None else None,
        followers.learn(*events) if like is None or like.followers is not None else None,
    )


def learn_before_last(rows: Array, user_start: Array, items: int, like: Pairs | None = None) -> Pairs:
    """The same without each user's last event: what a validation on that event may know."""
    keep = np.ones(len(rows), bool)
    keep[user_start[1:] - 1] = False
    return learn(rows[keep], user_start - np.arange(len(user_start)), items, like)

"""Holds what a scoring pass knows of some users, and what it has made of that.

Glossary: U users, D width, S floats of state, V items (row 0: unknown), n recent events read,
k soft tokens, T items that the attention reads, K places of a pool, S items of its rest, H heads,
R = 32 recent events, newest first.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import NamedTuple

import torch
from torch import Tensor

from models.current_interest import Followed
from models.scorers.scorer import EVERYTHING, Pool, RecentItems, Scored
from models.serving.membership import Membership


class Known(NamedTuple):
    """Holds what a pass knows of U users; all of it are tensors, so that a pass can be traced."""

    x: Tensor  # [U, n, D] vectors of the recent events, oldest first
    there: Tensor  # bool [U, n], which of them exist
    memory: Tensor  # [U, S]
    rows: Tensor  # int64 [U, R] item rows, newest first
    held: Tensor  # bool [U, R], which of them exist
    session: Tensor  # bool [U, R], which of them are of the newest one's session
    titles: Tensor  # what a hosted language model reads of the n events; of no size without one
    log_recent: Tensor  # [1, V + 1] log share of each item lately; or of each moment, [U, V + 1]

    @property
    def recent(self) -> RecentItems:
        """Returns the recent events as the scorers see them."""
        return RecentItems(self.rows, self.held, self.session)


class Networks(NamedTuple):
    """Holds what the networks made of U users."""

    answer: Tensor  # [U, D] of the language model
    tokens: Tensor  # [U, n + k, D] input of its last block
    bias: Tensor  # [U, H, n + k, n + k]
    feature: Tensor  # [U, D] of the LSTM
    attended: Tensor  # [U, D] of the attention; [U, 0] without one, as all that follows
    windows: Tensor  # int64 [U, T] the items that it read
    slots: Tensor  # int64 [U, T] where they stand among the recent events
    read: Tensor  # [U, T, D] input of its last block


class Rest(NamedTuple):
    """Holds some items that stand for all that no user's pool has."""

    rows: Tensor  # int64 [S]
    scores: Tensor  # [U, S] their blended scores, and the logarithm of how many each stands for


@dataclass(slots=True)
class Reading:
    """Holds what the models made of some users: values that scores and explanations share."""

    answer: Tensor  # [U, D] of the language model
    tokens: Tensor  # [U, n + k, D] input of its last block
    bias: Tensor  # [U, H, n + k, n + k]
    windows: Tensor  # int64 [U, T] the items that the attention read; [U, 0] without one
    slots: Tensor  # int64 [U, T] where they stand among the recent events
    read: Tensor  # [U, T, D] input of its last block
    there: Tensor  # bool [U, n], oldest first
    recent: RecentItems
    scored: list[Scored]  # by each scorer, in the order of registry.SCORERS
    items: Tensor  # [U, K] the blend of their scores
    pool: Pool = EVERYTHING  # which items that are
    rest: Rest | None = None  # what the other items have, if those are not all
    by_items: Tensor | None = None  # [U, C] the chances of the interests, once they were asked for
    current: Followed | None = None  # likewise, what is believed of the current interest

    def chances(self, membership: Membership) -> Tensor:
        """Returns how likely the next item is one of each group, [U, C]."""
        if self.rest is None:
            return membership.summed(self.pool, torch.softmax(self.items, 1))
        picked, rest = self.shares()
        return membership.summed(self.pool, picked) + rest @ membership.of(self.rest.rows)

    def shares(self) -> tuple[Tensor, Tensor]:
        """Returns how likely the next item is each of the pool [U, K], and of its rest [U, S]."""
        assert self.rest is not None
        both = torch.softmax(torch.cat((self.items, self.rest.scores), 1), 1)
        return both[:, : self.items.shape[1]], both[:, self.items.shape[1] :]

    @property
    def scores(self) -> list[Tensor]:
        """Returns the item scores of each scorer, [U, K] each, in the order of SCORERS."""
        return [each.scores for each in self.scored]

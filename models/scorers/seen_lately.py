"""Scores the items of a user's recent events, newer ones more than older ones."""

from __future__ import annotations

from typing import Final

import torch
from torch import Tensor

from models.scorers.scorer import Family, Pull, RecentItems, Scored, Scorer, ScorerInput

LATELY: Final = 0.8
"""What an item seen one event earlier counts for, of one seen now."""


class SeenLately(Scorer):
    """Scores an item by the sum of LATELY ** age over the recent events about it."""

    name = "seen_lately"
    family = Family.SEEN
    explained = 2

    def scores(self, given: ScorerInput) -> Scored:
        """Returns the sums [U, K]."""
        places = given.places
        users, items = given.language_model.shape
        shares = _shares(places).expand(users, -1)
        return Scored(torch.zeros(users, items).scatter_add_(1, places, shares))

    def lost(self, recent: RecentItems, kept: tuple[Tensor, ...], pull: Pull) -> Tensor:
        """Returns the pull of each event's item [U, R], by how much the event counts."""
        return pull.weight * pull.of_events * _shares(recent.rows)


def _shares(rows: Tensor) -> Tensor:
    """Returns what the events of rows [U, R] count for, [R]."""
    return LATELY ** torch.arange(rows.shape[1], dtype=torch.float32)

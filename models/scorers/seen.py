"""Scores the items of a user's recent events: some are met again, others are bought only once."""

from __future__ import annotations

from torch import Tensor

from models.scorers.own_items import marked, only_one_of_its_item
from models.scorers.scorer import Family, Named, Pull, RecentItems, Scored, Scorer, ScorerInput


class Seen(Scorer):
    """Scores 1 for an item of the recent events, 0 for all others."""

    name = "seen"
    family = Family.SEEN
    explained = 0

    def candidates(self, recent: RecentItems) -> Named:
        """Returns the items of the recent events, for all scorers of this family."""
        return Named(recent.rows)

    def scores(self, given: ScorerInput) -> Scored:
        """Returns 0 and 1 [U, K]."""
        return Scored(marked(given, given.places))

    def lost(self, recent: RecentItems, kept: tuple[Tensor, ...], pull: Pull) -> Tensor:
        """Returns the pull of each event's item [U, R], if no other event is about it."""
        return pull.weight * pull.of_events * only_one_of_its_item(recent.rows, recent.rows > 0)

"""Scores the items of this session: what was bought in it is not bought twice.

What was bought before it often is, which is why `seen` alone does not do.
"""

from __future__ import annotations

from torch import Tensor

from models.scorers.own_items import marked, only_one_of_its_item
from models.scorers.scorer import Family, Pull, RecentItems, Scored, Scorer, ScorerInput


class SeenThisSession(Scorer):
    """Scores 1 for an item of the session of the newest event, 0 for all others."""

    name = "seen_this_session"
    label = "what was seen in this session"
    family = Family.SEEN
    explained = 1

    def scores(self, given: ScorerInput) -> Scored:
        """Returns 0 and 1 [U, K]."""
        return Scored(marked(given, given.places * given.recent.session))

    def lost(self, recent: RecentItems, kept: tuple[Tensor, ...], pull: Pull) -> Tensor:
        """Returns the pull of each item [U, R], if no other event of the session is about it."""
        return pull.weight * pull.of_events * only_one_of_its_item(recent.rows, recent.session)

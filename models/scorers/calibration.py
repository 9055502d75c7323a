"""Corrects the log-odds of each user's first interests, so that what they say happens as often.

The weights of the blend are fitted to last events, and a worker meets others: fewer beginnings of a
visit, and all of them later than the training (docs/measured/logs/calibration.md). So the first
PLACES interests of a user are moved once more, by weights that are fitted to events after
everything that a rehearsal of the training had learned (models/calibration):

    slope of the place * log-odds + shift of the place + of the history + of the session

With one place and no lengths this is Platt's scaling [1]. The order of one user's interests never
changes: where shifts would put one past another, the lower one is held just below the upper one.
Interests overlap, so the probabilities of a user sum to how many interests the next event is
expected to touch, as before.

[1] Platt: Probabilistic Outputs for Support Vector Machines, 1999.

Glossary: U users, C interests, K <= PLACES of them that are corrected, the most probable first,
R = 32 recent events.
"""

from __future__ import annotations

from typing import Final, NamedTuple

import torch
from torch import Tensor

from models.scorers.blend import SESSION_LENGTHS, session_lengths
from models.scorers.scorer import RecentItems

PLACES: Final = 5
"""Interests of a user that are corrected: as many as an update has unless it is set."""
HISTORIES: Final = (0, 3, 10, 31)
"""Recent events up to which a history belongs to a group of its own; the last group is full."""
LEAST_SLOPE: Final = 0.05
"""What is left at least of the distance between two log-odds: their order stays."""
SIZES: Final = (2, PLACES, 1 + len(HISTORIES), 1 + len(SESSION_LENGTHS))
"""Weights by what they are of: slopes of the first place and of the others; shifts of the places,
of the histories, of the sessions. A model directory stores them in this order."""
SIZE: Final = sum(SIZES)


class Lengths(NamedTuple):
    """Holds how much there was to read of U users, as groups."""

    history: Tensor  # int64 [U], a place among HISTORIES
    session: Tensor  # int64 [U], see models.scorers.blend.session_lengths

    @classmethod
    def of(cls, recent: RecentItems) -> Lengths:
        """Returns the groups of users by their recent events."""
        history = torch.bucketize(recent.held.sum(1), torch.tensor(HISTORIES))
        return cls(history, session_lengths(recent.session))


def identity() -> Tensor:
    """Returns the weights [SIZE] that correct nothing: slopes of 1, shifts of 0."""
    return torch.cat((torch.ones(SIZES[0]), torch.zeros(SIZE - SIZES[0])))


def moved(first: Tensor, lengths: Lengths, weights: Tensor) -> Tensor:
    """Returns the first log-odds [U, K] of users corrected by weights [SIZE], whatever the order.

    first: [U, K], the highest first.
    """
    slope, place, history, session = torch.split(weights, list(SIZES))
    places = first.shape[1]
    slopes = torch.cat((slope[:1], slope[1:].expand(PLACES - 1)))[:places]
    of_user = history[lengths.history] + session[lengths.session]
    return slopes * first + place[:places] + of_user[:, None]


def corrected(log_odds: Tensor, recent: RecentItems, weights: Tensor) -> Tensor:
    """Returns the log-odds [U, C], of which the first PLACES of each user are corrected.

    log_odds: [U, C]; weights: [SIZE]. Those after PLACES stay as they are, unless they would pass
    one that is corrected.
    """
    first, which = log_odds.topk(min(PLACES, log_odds.shape[1]), dim=1)
    # what is left beside the least slope may not rise from one place to the next
    beside = (moved(first, Lengths.of(recent), weights) - LEAST_SLOPE * first).cummin(1).values
    others = torch.minimum((1 - LEAST_SLOPE) * log_odds, beside[:, -1:])
    found = others + LEAST_SLOPE * log_odds
    return found.scatter(1, which, beside + LEAST_SLOPE * first)

"""Scores interests in words that no training has seen.

A phrase is matched to items by its text: an item belongs to it when its text is far more like the
phrase than the catalogue's usual item. With that, a phrase has everything that a trained interest
has: items, a base rate, the user's own counters, a text for the language model. The weights that
turn these into a probability were fitted on the trained interests, so for a phrase the result is an
estimate that nothing calibrated.

Glossary: U users, V items (row 0: unknown), P phrases, E width of an encoding, D width of the
network.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Final

import numpy as np
import torch
from torch import Tensor

from models.current_interest import Followed
from models.scorers import blend as blending
from models.scorers.blend import Blend
from models.scorers.scorer import RecentItems
from models.serving.membership import Membership

Array = np.ndarray[Any, Any]

UNUSUAL: Final = 2.5
"""Standard deviations above the catalogue's mean likeness to the phrase: 0.6 % of a bell curve."""

MOST_SHARE: Final = 0.05
"""Of the catalogue, at most, for one phrase."""

LEAST_NONE: Final = 0.05
"""Of events about no phrase, at least, however much the phrases overlap."""


@dataclass(frozen=True)
class Phrases:
    """Holds P interests in words, ready to be scored."""

    names: tuple[str, ...]
    membership: Membership
    candidates: Tensor  # float32 [P, D]
    base: Tensor  # float32 [P] share of events that touch it


@torch.no_grad()
def match(items: Tensor, phrases: Tensor) -> Array:
    """Returns which items belong to each phrase, bool [V, P].

    items and phrases: encodings [V, E] and [P, E] of one encoder.
    """
    middle = items.mean(0)
    items, phrases = (
        torch.nn.functional.normalize(each - middle, dim=1) for each in (items, phrases)
    )
    likeness = items @ phrases.T
    level = (likeness - likeness.mean(0)) / likeness.std(0).clamp(min=1e-6)
    most = max(1, int(MOST_SHARE * len(items)))
    floor = level.topk(min(most, len(items)), dim=0).values[-1]
    belongs: Array = ((level >= UNUSUAL) & (level >= floor)).numpy()
    return belongs


def probabilities(
    phrases: Phrases,
    by_items: Tensor,
    answer: Tensor,
    recent: RecentItems,
    blend: Blend,
) -> Tensor:
    """Returns the probability that the next event touches each phrase, [U, P].

    by_items: the same by the item scores alone; answer: of the language model [U, D]; blend: its
    weights are those of the trained interests.
    """
    touched = phrases.membership.of(recent.rows)
    own = blending.own_shares(touched, recent.held.float(), phrases.base)
    direct = torch.nn.functional.linear(answer, phrases.candidates, torch.logit(phrases.base))
    current = _current(touched, recent.rows > 0, phrases.base, blend.rates)
    features = blending.interest_features(by_items, direct, own, phrases.base, current)
    found: Tensor = torch.sigmoid(features @ blend.interest)
    return found


def _current(touched: Tensor, known: Tensor, base: Tensor, rates: Tensor | None) -> Followed:
    """Returns what is believed of each phrase, where the current interest may be none of them.

    touched: 0/1 [U, R, P]; known: bool [U, R], events about an item of the catalogue. Those that
    touch no phrase are about something else.
    """
    of_none = (known.unsqueeze(2) * (1 - touched)).amin(2, keepdim=True)
    left = (1 - base.sum()).clamp(min=LEAST_NONE).unsqueeze(0)
    found = blending.follow(torch.cat((touched, of_none), 2), torch.cat((base, left)), rates)
    return found._replace(belief=found.belief[:, :-1], first=found.first[:, :-1])


def base_rates(membership: Tensor, log_popularity: Tensor) -> Tensor:
    """Returns the share of events that touch items of each phrase, [P].

    membership: [V + 1, P]; log_popularity: log share of each item [V + 1].
    """
    share: Tensor = (log_popularity[1:].exp() @ membership[1:]).clamp(1e-5, 1 - 1e-5)
    return share

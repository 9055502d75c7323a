"""Blends the scorers into one answer: weighted item scores, and interest probabilities.

Items: softmax of a weighted sum of the scores of each scorer; the weights depend on how much of a
history there is, since a network needs more of it than co-occurrence does, and on how much of this
session, since who has just come begins with what was met before. Interests: one logistic function
of features, fitted to whether the next event touched the interest; interests overlap, so they need
not sum to one. The items have less of a say where an interest is believed to be the current one,
and more where it is not. `fit_weights` finds the weights, and `calibration` corrects the first
interests.

Glossary: U users, V items (row 0: unknown), C interests, F scorers or features, L lengths of
history, S of a session, R = 32 recent events, newest first.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any, Final, NamedTuple

import numpy as np
import torch
from torch import Tensor

from models import current_interest
from models.current_interest import Followed
from models.scorers.registry import NAMES
from models.scorers.scorer import RecentItems

Array = np.ndarray[Any, Any]

LENGTHS: Final = (5, 20)
"""Recent events that a history may have to get the first weights, and the second ones.

Longer ones get the last. Picked as the half-life of recent popularity was.
"""
SESSION_LENGTHS: Final = (2, 10)
"""The same, of the recent events of this session.

Picked on validation (docs/measured/logs/sessions.md).
"""
INTEREST_FEATURES: Final = (
    "items",
    "language_model",
    "own_4",
    "own_16",
    "base",
    "one",
    "own_16_sure",
    "current",
    "current_items",
    "current_first",
)
"""The last three are of `models.current_interest`: how sure it is, that times what the items say,
and 1 at the interest of which it is surest."""


class Counter(NamedTuple):
    """Describes a user's own share of events that touch an interest, older ones counting less."""

    name: str  # of its feature
    half_life: float  # events
    prior: float  # events' worth of the base rate in it


COUNTERS: Final = (
    Counter("own_4", 4.0, 2.0),
    Counter("own_16", 16.0, 2.0),
    Counter("own_16_sure", 16.0, 0.1),
)
"""The last believes a single event.

Where users keep to what they once did (editors of one language), two events' worth of what others
do is too much, and no weight can take it back for short and long histories at once.
"""


class ItemWeights(NamedTuple):
    """Holds the weights of the item scorers, by how much there is to read."""

    length: Tensor  # [L, F] by the length of the history
    session: Tensor  # [S, F] what they differ by with that of the session

    def of(self, length: Tensor, session: Tensor) -> Tensor:
        """Returns the weights [U, F] of users by both lengths, int64 [U]."""
        return self.length[length] + self.session[session]


@dataclass(frozen=True)
class Blend:
    """Holds the fitted weights of a model, and what is known before a user is.

    Names of fields are keys of weights.safetensors. F of the item weights is the number of SCORERS.
    """

    item: Tensor  # [L, F]
    interest: Tensor  # [len(INTEREST_FEATURES)]
    base: Tensor  # [C] share of events that touch each interest
    log_popularity: Tensor  # [V + 1] of all training events
    log_recent: Tensor  # [V + 1] of the last days of training (recent_popularity)
    # weights for a log_recent that is live; None: the data had no times
    live_item: Tensor | None = None
    live_interest: Tensor | None = None
    # [2, F] for users without events, and without known items; None: as for others
    strangers: Tensor | None = None
    live_strangers: Tensor | None = None
    # [S, F] what the weights differ by with the length of the session; None: not at all
    session: Tensor | None = None
    live_session: Tensor | None = None
    # [2] how often the current interest changes, and how many events are about it; None: not known
    rates: Tensor | None = None
    # what corrects the log-odds of the first interests (calibration); None: nothing does
    calibration: Tensor | None = None
    live_calibration: Tensor | None = None

    @classmethod
    def start(cls, base: Tensor, log_popularity: Tensor, rates: Tensor | None = None) -> Blend:
        """Returns a blend before anything is fitted: the first scorer and feature alone."""
        item = torch.zeros(1 + len(LENGTHS), len(NAMES))
        interest = torch.zeros(len(INTEREST_FEATURES))
        item[:, 0], interest[0] = 1, 1
        # a copy: data without times keeps it, and a model file holds no two tensors of one memory
        return cls(item, interest, base, log_popularity, log_popularity.clone(), rates=rates)

    def live(self) -> Blend | None:
        """Returns the blend for a recent popularity that comes in live; None: not fitted to one."""
        if self.live_item is None or self.live_interest is None:
            return None
        return replace(
            self,
            item=self.live_item,
            session=self.live_session,
            interest=self.live_interest,
            strangers=self.live_strangers,
            calibration=self.live_calibration,
        )

    def item_weights(self, recent: RecentItems) -> Tensor:
        """Returns the weights of the scorers for each user [U, F], by the state alone."""
        length = lengths(recent.held)
        if self.session is None:
            weights = self.item[length]
        else:
            in_session = session_lengths(recent.session)
            weights = ItemWeights(self.item, self.session).of(length, in_session)
        if self.strangers is None:
            return weights
        of_strangers = self.strangers[recent.held.any(1).long()]
        return torch.where((recent.rows > 0).any(1, keepdim=True), weights, of_strangers)

    def padded(self) -> Blend:
        """Returns the blend with 0 for what the model was trained without, which is always last."""
        sizes = {name: len(NAMES) for name in ("item", "session", "strangers")}
        sizes |= {"interest": len(INTEREST_FEATURES)}
        sizes |= {f"live_{name}": size for name, size in sizes.items()}
        weights = {name: each for name in sizes if (each := getattr(self, name)) is not None}
        return replace(
            self,
            **{
                name: torch.nn.functional.pad(each, (0, sizes[name] - each.shape[-1]))
                for name, each in weights.items()
            },
        )


def lengths(held: Tensor) -> Tensor:
    """Returns which length each history has, int64 [U] in 0..L - 1, of held bool [U, R]."""
    return torch.bucketize(held.sum(1), torch.tensor(LENGTHS))


def session_lengths(session: Tensor) -> Tensor:
    """Returns which length each session has, int64 [U] in 0..S - 1, of session bool [U, R]."""
    return torch.bucketize(session.sum(1), torch.tensor(SESSION_LENGTHS))


def weighted(scores: list[Tensor], weights: Tensor) -> Tensor:
    """Returns the blended item scores [U, K] by weights [U, F]; row 0 is made impossible.

    scores: of each scorer [U, K], in the order of SCORERS.
    """
    total = torch.zeros_like(scores[0])
    for each, weight in zip(scores, weights.t(), strict=True):
        total.addcmul_(each, weight.unsqueeze(1))
    total[:, 0] = float("-inf")
    return total


def own_shares(touched: Tensor, there: Tensor, base: Tensor) -> dict[str, Tensor]:
    """Returns each of COUNTERS by name, [U, C]: a user's own share of events, and the base rate.

    The share is of the recent events that touch an interest, older ones decayed; it is mixed with
    the base rate of the interest. touched: 0/1 [U, R, C], there: 0/1 [U, R], newest first.
    """
    ages = torch.arange(there.shape[1], dtype=torch.float32)
    decays = {counter.half_life: 0.5 ** (ages / counter.half_life) * there for counter in COUNTERS}
    counted = {
        half_life: torch.einsum("un,unc->uc", decay, touched) for half_life, decay in decays.items()
    }
    return {
        name: (counted[half_life] + prior * base) / (decays[half_life].sum(1, keepdim=True) + prior)
        for name, half_life, prior in COUNTERS
    }


def follow(touched: Tensor, base: Tensor, rates: Tensor | None) -> Followed:
    """Returns what events [U, R, C] say of the current interest; without rates nothing at all."""
    if rates is not None:
        return current_interest.followed(touched, base, rates)
    nothing = torch.zeros(1, 1).expand(touched.shape[0], touched.shape[2])
    return Followed(nothing, nothing, (), ())


def interest_features(
    items: Tensor, language_model: Tensor, own: dict[str, Tensor], base: Tensor, current: Followed
) -> Tensor:
    """Returns the features of each interest, [U, C, F] in the order of INTEREST_FEATURES.

    items: probability [U, C] from the item scores; language_model: logits [U, C] of its answer.
    """
    features = {name: logit(each) for name, each in {"items": items, **own}.items()}
    features |= {
        "language_model": language_model,
        "base": logit(base).expand_as(items),
        "one": torch.ones_like(items),
        "current": current.belief,
        "current_items": current.belief * features["items"],
        "current_first": current.first,
    }
    return torch.stack([features[name] for name in INTEREST_FEATURES], dim=2)


def logit(probability: Tensor) -> Tensor:
    """Returns the log-odds, of certainty a large number that is finite."""
    bounded = probability.clamp(1e-5, 1 - 1e-5)
    return torch.log(bounded) - torch.log1p(-bounded)

"""Many scorers, one answer: weights of the item scores and of the interest features, both fitted on validation users.

Items: softmax of a weighted sum of what each scorer says. Interests: one logistic function of features, so that the result is a
calibrated probability that the next event touches the interest; interests overlap, so they need not sum to one.

Glossary: U users, V items (row 0: unknown), C interests, F features.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Final

import numpy as np
import torch
from torch import Tensor

Array = np.ndarray[Any, Any]

ITEM_SCORERS: Final = ("language_model", "lstm", "cooccurrence", "popularity", "seen", "seen_lately")
INTEREST_FEATURES: Final = ("items", "language_model", "own_4", "own_16", "base", "one")
HALF_LIVES: Final = (4.0, 16.0)
"""Of the user's own counters, in events."""
PRIOR: Final = 2.0
"""Events' worth of the base rate in those counters."""
LATELY: Final = 0.8
"""What an item seen one event earlier counts for, of one seen now."""
EPSILON: Final = 1e-6
FLOOR: Final = 1e-4
"""Share of a user's co-occurrence that is as good as none."""


@dataclass(frozen=True)
class Blend:
    """item float32 [len(ITEM_SCORERS)], interest float32 [len(INTEREST_FEATURES)], base float32 [C], log_popularity [V + 1]."""

    item: Tensor
    interest: Tensor
    base: Tensor
    log_popularity: Tensor


def item_features(
    language_model: Tensor, lstm: Tensor, cooccurrence: Tensor, log_popularity: Tensor, recent: Tensor
) -> list[Tensor]:
    """F tensors [U, V + 1] in the order of ITEM_SCORERS; recent: item rows [U, 32] newest first, 0 none."""
    together = torch.log(cooccurrence / (cooccurrence.sum(1, keepdim=True) + EPSILON) + FLOOR)
    users, items = language_model.shape
    seen = torch.zeros(users, items).scatter_(1, recent, 1.0)
    age = LATELY ** torch.arange(recent.shape[1], dtype=torch.float32)
    lately = torch.zeros(users, items).scatter_add_(1, recent, age.expand(users, -1))
    return [
        torch.log_softmax(language_model, 1),
        torch.log_softmax(lstm, 1),
        together,
        log_popularity.expand(users, -1),
        seen,
        lately,
    ]


def weighted(features: list[Tensor], weights: Tensor) -> Tensor:
    """[U, V + 1], row 0 impossible."""
    total = torch.zeros_like(features[0])
    for feature, weight in zip(features, weights, strict=True):
        total += weight * feature
    total[:, 0] = float("-inf")
    return total


def fit_item_weights(features: list[Tensor], targets: Tensor) -> Tensor:
    """Weights that minimise cross-entropy of targets [U] (rows), from equal weights of the neural scorers."""
    stacked = torch.stack([feature[:, 1:] for feature in features], dim=2)  # [U, V, F]

    def loss(weights: Tensor) -> Tensor:
        entropy = torch.nn.functional.cross_entropy(stacked @ weights, targets - 1)
        return entropy + 1e-3 * weights.square().sum()

    return _minimised(loss, torch.tensor([0.5, 0.5, 0.3, 0.0, 0.0, 0.0]))


def own_shares(touched: Tensor, there: Tensor, base: Tensor, half_life: float) -> Tensor:
    """[U, C] decayed share of the user's recent events that touch each interest, with PRIOR events of the base rate.

    touched [U, 32, C] 0/1, there [U, 32], newest first.
    """
    decay = 0.5 ** (torch.arange(there.shape[1], dtype=torch.float32) / half_life) * there
    counted = torch.einsum("un,unc->uc", decay, touched)
    return (counted + PRIOR * base) / (decay.sum(1, keepdim=True) + PRIOR)


def interest_features(items: Tensor, language_model: Tensor, own: list[Tensor], base: Tensor) -> Tensor:
    """[U, C, F] in the order of INTEREST_FEATURES: logits of each opinion. items: probability [U, C] from the item scores."""
    users = len(items)
    columns = [_logit(items), language_model, *[_logit(each) for each in own], _logit(base).expand(users, -1)]
    return torch.stack([*columns, torch.ones_like(items)], dim=2)


def fit_interest_weights(features: Tensor, happened: Tensor) -> Tensor:
    """Weights [F] that minimise binary cross-entropy of what happened [U, C] (0/1)."""

    def loss(weights: Tensor) -> Tensor:
        entropy = torch.nn.functional.binary_cross_entropy_with_logits(features @ weights, happened)
        return entropy + 1e-4 * weights.square().sum()

    return _minimised(loss, torch.tensor([0.4, 0.2, 0.2, 0.2, 0.0, 0.0]))


def _minimised(loss: Callable[[Tensor], Tensor], start: Tensor, steps: int = 30) -> Tensor:
    """Weights of the least loss; both losses are convex in them, so L-BFGS is there in some twenty passes over the data."""
    weights = start.requires_grad_()
    optimiser = torch.optim.LBFGS([weights], max_iter=steps, line_search_fn="strong_wolfe", tolerance_change=1e-7)

    def closure() -> float:
        optimiser.zero_grad()
        value = loss(weights)
        value.backward()  # type: ignore[no-untyped-call]
        return value.item()

    optimiser.step(closure)  # type: ignore[no-untyped-call]
    return weights.detach()


def _logit(probability: Tensor) -> Tensor:
    bounded = probability.clamp(1e-5, 1 - 1e-5)
    return torch.log(bounded) - torch.log1p(-bounded)

"""Finds the weights of the blend: those that lose least on validation users.

Glossary: U users, V items (row 0: unknown), C interests, F scorers or features.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Final

import torch
from torch import Tensor

from models.scorers.blend import LENGTHS, SESSION_LENGTHS, ItemWeights, weighted
from models.scorers.calibration import Lengths, identity, moved
from models.scorers.registry import NAMES, SCORERS

COMMON: Final = 1e-3
OWN: Final = 3e-3
"""Ridge on the weights that all histories share, and on what a length adds to them."""
CORRECTION: Final = 5.0
"""Ridge on what a calibration changes, of all probabilities together: as a bell curve would have it
whose standard deviation is 0.3 in log-odds."""


def fit_item_weights(
    scores: list[Tensor], targets: Tensor, length: Tensor, session: Tensor
) -> ItemWeights:
    """Returns the item weights that minimise the cross-entropy of targets [U] (rows).

    scores: of each scorer [U, V + 1], in the order of SCORERS. Each length [U] of history, and of
    session [U], has what all have in common and a difference of its own; few users of a length
    leave it near the others.
    """
    stacked = torch.stack([each[:, 1:] for each in scores], dim=2)  # [U, V, F]

    # rows of what is fitted: what all have in common, then lengths of history, then of session
    def loss(rows: Tensor) -> Tensor:
        """Returns the cross-entropy with the ridge."""
        own = rows[0] + rows[1:lengths_end][length] + rows[lengths_end:][session]
        logits = torch.bmm(stacked, own.unsqueeze(2)).squeeze(2)
        entropy = torch.nn.functional.cross_entropy(logits, targets - 1)
        return entropy + COMMON * rows[0].square().sum() + OWN * rows[1:].square().sum()

    lengths_end = 2 + len(LENGTHS)
    start = torch.zeros(lengths_end + 1 + len(SESSION_LENGTHS), len(scores))
    start[0] = torch.tensor([scorer.start_weight for scorer in SCORERS])
    rows = minimised(loss, start)
    return ItemWeights(rows[:1] + rows[1:lengths_end], rows[lengths_end:])


def crossed_losses(
    scores: list[Tensor], targets: Tensor, length: Tensor, session: Tensor
) -> Tensor:
    """Returns the cross-entropy [U] of each target by weights fitted to the other users.

    Every second user is one half, and each half is scored by weights that were fitted to the other.
    """
    even = torch.arange(len(targets)) % 2 == 0
    losses = torch.zeros(len(targets))
    for half in (even, ~even):
        known = [each[~half] for each in scores]
        weights = fit_item_weights(known, targets[~half], length[~half], session[~half])
        blended = weighted([each[half] for each in scores], weights.of(length[half], session[half]))
        losses[half] = torch.nn.functional.cross_entropy(
            blended[:, 1:], targets[half] - 1, reduction="none"
        )
    return losses


def fit_weights_of(scores: dict[str, Tensor], targets: Tensor) -> Tensor:
    """Returns the weights [F] of some scorers, the others 0, fitted in the same way.

    scores: log-probabilities [U, V + 1] by the name of the scorer; targets: [U] (rows).
    """
    stacked = torch.stack([each[:, 1:] for each in scores.values()], dim=2)

    def loss(weights: Tensor) -> Tensor:
        """Returns the cross-entropy with the ridge."""
        return (
            torch.nn.functional.cross_entropy(stacked @ weights, targets - 1)
            + COMMON * weights.square().sum()
        )

    found = torch.zeros(len(NAMES))
    places = [NAMES.index(name) for name in scores]
    found[places] = minimised(loss, torch.full((len(scores),), 1 / len(scores)))
    return found


def fit_interest_weights(features: Tensor, happened: Tensor) -> Tensor:
    """Returns the weights [F] that minimise the binary cross-entropy of what happened.

    features: [U, C, F]; happened: 0/1 [U, C].
    """

    def loss(weights: Tensor) -> Tensor:
        """Returns the cross-entropy with the ridge."""
        entropy = torch.nn.functional.binary_cross_entropy_with_logits(features @ weights, happened)
        return entropy + 1e-4 * weights.square().sum()

    start = torch.zeros(features.shape[2])
    start[:4] = torch.tensor([0.4, 0.2, 0.2, 0.2])
    return minimised(loss, start)


def fit_calibration(first: Tensor, lengths: Lengths, happened: Tensor) -> Tensor:
    """Returns the weights [calibration.SIZE] that lose least on the first interests.

    first: their log-odds [U, K], the highest first; happened: 0/1 [U, K], whether the next event
    touched each. The fewer there are, the nearer the weights stay to those that correct nothing.
    """
    still = identity()

    def loss(weights: Tensor) -> Tensor:
        """Returns the cross-entropy with the ridge."""
        said = moved(first, lengths, weights)
        entropy = torch.nn.functional.binary_cross_entropy_with_logits(said, happened)
        return entropy + CORRECTION / happened.numel() * (weights - still).square().sum()

    return minimised(loss, identity())


def minimised(loss: Callable[[Tensor], Tensor], start: Tensor, steps: int = 30) -> Tensor:
    """Returns the weights of the least loss.

    All losses here are convex in the weights, so L-BFGS needs some twenty passes over the data.
    """
    weights = start.requires_grad_()
    optimiser = torch.optim.LBFGS(
        [weights], max_iter=steps, line_search_fn="strong_wolfe", tolerance_change=1e-7
    )

    def closure() -> float:
        """Computes the gradient at the present weights."""
        optimiser.zero_grad()
        value = loss(weights)
        value.backward()  # type: ignore[no-untyped-call]
        return value.item()

    optimiser.step(closure)  # type: ignore[no-untyped-call]
    return weights.detach()

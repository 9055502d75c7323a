"""Weights that are fitted help, and each length of history gets its own."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from torch import Tensor

from models.evaluation import metrics
from models.scorers.blend import weighted
from models.scorers.fit_weights import (
    crossed_losses,
    fit_interest_weights,
    fit_item_weights,
    fit_weights_of,
)
from models.scorers.registry import NAMES

USERS, ITEMS = 400, 25


@pytest.fixture
def scorers() -> tuple[list[Tensor], Tensor]:
    """Scorers of which the fourth and the second know something, and the items that came."""
    torch.manual_seed(7)
    truth = torch.randn(USERS, ITEMS + 1)
    truth[:, 0] = float("-inf")
    targets = torch.distributions.Categorical(logits=2 * truth).sample()  # type: ignore[no-untyped-call]
    known = truth.clone()
    known[:, 0] = 0
    noise = [torch.randn(USERS, ITEMS + 1) for _ in NAMES]
    noise[3] = noise[3] * 0.3 + known
    noise[1] = noise[1] + 0.5 * known
    return noise, targets


def loss_of(features: list[Tensor], weights: Tensor, targets: Tensor) -> float:
    return torch.nn.functional.cross_entropy(
        weighted(features, weights.expand(len(targets), -1)), targets
    ).item()


def test_fitted_item_weights_lower_the_loss_and_find_who_knows(
    scorers: tuple[list[Tensor], Tensor],
) -> None:
    features, targets = scorers
    length, session = torch.full((2, USERS), 1)
    weights = fit_item_weights(features, targets, length, session).of(length, session)[0]
    start = torch.zeros(len(features))
    start[:3] = torch.tensor([0.5, 0.5, 0.3])
    assert loss_of(features, weights, targets) < loss_of(features, start, targets) - 0.3
    assert weights.argmax() == 3
    others = [place for place in range(len(features)) if place not in (1, 3)]
    assert weights[others].abs().max() < weights[3] / 3


def test_each_length_of_history_or_session_gets_the_scorer_that_knows_it() -> None:
    """Only the third scorer knows short ones, only the first long ones.

    There is nobody in the middle, so its weights are between the two.
    """
    torch.manual_seed(9)
    users = 600
    truth = torch.randn(users, ITEMS + 1)
    truth[:, 0] = float("-inf")
    targets = torch.distributions.Categorical(logits=2 * truth).sample()  # type: ignore[no-untyped-call]
    truth[:, 0] = 0
    length = torch.arange(users) % 2 * 2
    features = [torch.randn(users, ITEMS + 1) for _ in NAMES]
    features[2][length == 0] = truth[length == 0]
    features[0][length == 2] = truth[length == 2]
    same = torch.zeros_like(length)
    each, first = torch.arange(3), torch.zeros(3, dtype=torch.long)
    for weights in (
        fit_item_weights(features, targets, length, same).of(each, first),
        fit_item_weights(features, targets, same, length).of(first, each),
    ):
        assert weights[0, 2] > 4 * weights[0, 0].abs()
        assert weights[2, 0] > 4 * weights[2, 2].abs()
        assert weights[0, 0] < weights[1, 0] < weights[2, 0]


def test_what_was_seen_of_the_users_themselves_does_not_count_as_a_gain() -> None:
    """A scorer that knows lowers the loss of users that it was not fitted to.

    One of chance raises it, though it lowers that of its own.
    """
    torch.manual_seed(11)
    users = 200
    truth = torch.randn(users, ITEMS + 1)
    targets = 1 + torch.distributions.Categorical(logits=2 * truth[:, 1:]).sample()  # type: ignore[no-untyped-call]
    length = torch.zeros(users, dtype=torch.long)
    features = [torch.zeros(users, ITEMS + 1) for _ in NAMES]

    def loss(place: int, scores: Tensor) -> float:
        features[place] = scores
        return crossed_losses(features, targets, length, length).mean().item()

    nothing = loss(0, features[0])
    assert nothing == pytest.approx(np.log(ITEMS), abs=1e-4)
    for place in range(len(features)):
        chance = loss(place, torch.randn(users, ITEMS + 1))
    assert chance > nothing
    assert loss(3, truth) < nothing - 0.3


def test_before_the_first_event_popularity_alone_answers_weighed_as_first_events_were() -> None:
    """First events follow what is popular now, not what was popular overall."""
    torch.manual_seed(10)
    overall, recent = (
        torch.randn(ITEMS + 1).log_softmax(0),
        torch.randn(USERS, ITEMS + 1).log_softmax(1),
    )
    drawn = torch.distributions.Categorical(logits=recent[:, 1:]).sample()  # type: ignore[no-untyped-call]
    opinions = {"popularity": overall.expand_as(recent), "recent_popularity": recent}
    fitted = fit_weights_of(opinions, 1 + drawn)
    weights = dict(zip(NAMES, fitted.tolist(), strict=True))
    assert weights.pop("recent_popularity") == pytest.approx(1, abs=0.2)
    assert weights.pop("popularity") == pytest.approx(0, abs=0.2)
    assert not any(weights.values())


def test_fitted_interest_probabilities_are_calibrated_and_between_0_and_1() -> None:
    """An opinion that is far too sure of itself: the fit must take it back."""
    torch.manual_seed(8)
    logit = torch.randn(6_000, 4)
    happened = (torch.rand(6_000, 4) < torch.sigmoid(logit)).float()
    features = torch.stack(
        (4 * logit, *(torch.randn(6_000, 4) for _ in range(4)), torch.ones(6_000, 4)), 2
    )
    train, test = slice(0, 4_000), slice(4_000, None)
    weights = fit_interest_weights(features[train], happened[train])
    said = torch.sigmoid(features[test] @ weights)
    assert said.min() >= 0
    assert said.max() <= 1
    before = torch.sigmoid(features[test, :, 0])
    touched = happened[test].numpy() > 0
    assert metrics.calibration_error(said.numpy(), touched) < 0.04
    assert metrics.calibration_error(before.numpy(), touched) > 0.12
    assert weights[0].item() == pytest.approx(0.25, abs=0.04)

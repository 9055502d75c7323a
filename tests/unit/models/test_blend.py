"""Weights that are fitted help, each length of history its own, and what comes out is a calibrated probability."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from torch import Tensor

from models import blend, metrics

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
    noise = [torch.randn(USERS, ITEMS + 1) for _ in blend.ITEM_SCORERS]
    noise[3] = noise[3] * 0.3 + known
    noise[1] = noise[1] + 0.5 * known
    return noise, targets


def loss_of(features: list[Tensor], weights: Tensor, targets: Tensor) -> float:
    return torch.nn.functional.cross_entropy(blend.weighted(features, weights.expand(len(targets), -1)), targets).item()


def test_fitted_item_weights_lower_the_loss_and_find_who_knows(scorers: tuple[list[Tensor], Tensor]) -> None:
    features, targets = scorers
    length, session = torch.full((2, USERS), 1)
    weights = blend.fit_item_weights(features, targets, length, session).of(length, session)[0]
    start = torch.zeros(len(features))
    start[:3] = torch.tensor([0.5, 0.5, 0.3])
    assert loss_of(features, weights, targets) < loss_of(features, start, targets) - 0.3
    assert weights.argmax() == 3
    others = [place for place in range(len(features)) if place not in (1, 3)]
    assert weights[others].abs().max() < weights[3] / 3


def test_what_is_not_in_the_catalogue_cannot_be_recommended(scorers: tuple[list[Tensor], Tensor]) -> None:
    weights = torch.ones(USERS, len(blend.ITEM_SCORERS))
    assert (blend.weighted(scorers[0], weights)[:, 0] == float("-inf")).all()


def test_each_length_of_history_or_session_gets_the_scorer_that_knows_it() -> None:
    """Short ones: only the third scorer knows; long ones: only the first. Nobody in the middle: between the two."""
    torch.manual_seed(9)
    users = 600
    truth = torch.randn(users, ITEMS + 1)
    truth[:, 0] = float("-inf")
    targets = torch.distributions.Categorical(logits=2 * truth).sample()  # type: ignore[no-untyped-call]
    truth[:, 0] = 0
    length = torch.arange(users) % 2 * 2
    features = [torch.randn(users, ITEMS + 1) for _ in blend.ITEM_SCORERS]
    features[2][length == 0] = truth[length == 0]
    features[0][length == 2] = truth[length == 2]
    same = torch.zeros_like(length)
    each, first = torch.arange(3), torch.zeros(3, dtype=torch.long)
    for weights in (
        blend.fit_item_weights(features, targets, length, same).of(each, first),
        blend.fit_item_weights(features, targets, same, length).of(first, each),
    ):
        assert weights[0, 2] > 4 * weights[0, 0].abs()
        assert weights[2, 0] > 4 * weights[2, 2].abs()
        assert weights[0, 0] < weights[1, 0] < weights[2, 0]


def test_what_was_seen_of_the_users_themselves_does_not_count_as_a_gain() -> None:
    """A scorer that knows lowers the loss of users that it was not fitted to; one of chance raises it, though it lowers that of its own."""
    torch.manual_seed(11)
    users = 200
    truth = torch.randn(users, ITEMS + 1)
    targets = 1 + torch.distributions.Categorical(logits=2 * truth[:, 1:]).sample()  # type: ignore[no-untyped-call]
    length = torch.zeros(users, dtype=torch.long)
    features = [torch.zeros(users, ITEMS + 1) for _ in blend.ITEM_SCORERS]

    def loss(place: int, scores: Tensor) -> float:
        features[place] = scores
        return blend.crossed_losses(features, targets, length, length).mean().item()

    nothing = loss(0, features[0])
    assert nothing == pytest.approx(np.log(ITEMS), abs=1e-4)
    for place in range(len(features)):
        chance = loss(place, torch.randn(users, ITEMS + 1))
    assert chance > nothing
    assert loss(3, truth) < nothing - 0.3


def test_before_the_first_event_popularity_alone_answers_weighed_as_first_events_were() -> None:
    """First events follow what is popular now, not what was popular overall."""
    torch.manual_seed(10)
    overall, recent = torch.randn(ITEMS + 1).log_softmax(0), torch.randn(USERS, ITEMS + 1).log_softmax(1)
    drawn = torch.distributions.Categorical(logits=recent[:, 1:]).sample()  # type: ignore[no-untyped-call]
    opinions = {"popularity": overall.expand_as(recent), "recent_popularity": recent}
    fitted = blend.fit_weights_of(opinions, 1 + drawn)
    weights = dict(zip(blend.ITEM_SCORERS, fitted.tolist(), strict=True))
    assert weights.pop("recent_popularity") == pytest.approx(1, abs=0.2)
    assert weights.pop("popularity") == pytest.approx(0, abs=0.2)
    assert not any(weights.values())


def test_users_without_events_or_without_known_items_have_weights_of_their_own() -> None:
    item, strangers = torch.ones(3, 8), torch.stack((torch.full((8,), 2.0), torch.full((8,), 3.0)))
    known = torch.zeros(ITEMS + 1)
    fitted = blend.Blend(item, torch.zeros(6), known, known, known, strangers=strangers)
    held, rows = torch.zeros(3, 32, dtype=torch.bool), torch.zeros(3, 32, dtype=torch.long)
    held[1:, :4] = True
    rows[2, 3] = 5
    assert fitted.item_weights(held, held, rows)[:, 0].tolist() == [2, 3, 1]


@pytest.mark.parametrize(("events", "length"), [(0, 0), (1, 0), (5, 0), (6, 1), (20, 1), (21, 2), (32, 2)])
def test_the_length_of_a_history_is_that_of_the_events_a_state_keeps(events: int, length: int) -> None:
    held = (torch.arange(32) < events)[None, :]
    assert blend.lengths(held).tolist() == [length]
    weights = torch.arange(21.0).view(3, 7)
    known = torch.zeros(ITEMS + 1)
    assert torch.equal(
        blend.Blend(weights, torch.zeros(6), known, known, known).item_weights(held, held, held.long()),
        weights[length : length + 1],
    )


def test_fitted_interest_probabilities_are_calibrated_and_between_0_and_1() -> None:
    """An opinion that is far too sure of itself: the fit must take it back."""
    torch.manual_seed(8)
    logit = torch.randn(6_000, 4)
    happened = (torch.rand(6_000, 4) < torch.sigmoid(logit)).float()
    features = torch.stack((4 * logit, *(torch.randn(6_000, 4) for _ in range(4)), torch.ones(6_000, 4)), 2)
    train, test = slice(0, 4_000), slice(4_000, None)
    weights = blend.fit_interest_weights(features[train], happened[train])
    said = torch.sigmoid(features[test] @ weights)
    assert said.min() >= 0
    assert said.max() <= 1
    before = torch.sigmoid(features[test, :, 0])
    touched = happened[test].numpy() > 0
    assert metrics.calibration_error(said.numpy(), touched) < 0.04
    assert metrics.calibration_error(before.numpy(), touched) > 0.12
    assert weights[0].item() == pytest.approx(0.25, abs=0.04)


@pytest.mark.parametrize("value", [0.0, 1.0])
def test_opinions_that_are_certain_stay_finite(value: float) -> None:
    items, base = torch.full((2, 3), value), torch.full((3,), value)
    features = blend.interest_features(items, torch.zeros(2, 3), {each.name: items for each in blend.COUNTERS}, base)
    assert features.shape == (2, 3, len(blend.INTEREST_FEATURES))
    assert torch.isfinite(features).all()


@pytest.mark.parametrize(("name", "half_life", "prior"), blend.COUNTERS)
def test_own_shares_by_hand(name: str, half_life: float, prior: float) -> None:
    """Three events, the newest and the oldest touch, mixed with so many events of the base rate 0.25."""
    touched = torch.zeros(1, 32, 1)
    touched[0, [0, 2]] = 1
    there = torch.zeros(1, 32)
    there[0, :3] = 1
    older, oldest = 0.5 ** (1 / half_life), 0.5 ** (2 / half_life)
    share = blend.own_shares(touched, there, torch.tensor([0.25]))[name]
    assert share.item() == pytest.approx((1 + oldest + prior * 0.25) / (1 + older + oldest + prior))
    nothing = blend.own_shares(torch.zeros(1, 32, 1), torch.zeros(1, 32), torch.tensor([0.25]))[name]
    assert nothing.item() == pytest.approx(0.25)


def test_users_who_keep_to_one_interest_are_believed_after_one_event() -> None:
    """Nobody leaves the interest that a user has; half of all have the same one, which says nothing once another was seen."""
    torch.manual_seed(12)
    users, interests = 600, 16
    base = torch.full((interests,), 0.5 / 15)
    base[0] = 0.5
    happened = torch.nn.functional.one_hot(torch.multinomial(base, users, replacement=True), interests).float()
    there = (torch.arange(32) < 1 + torch.arange(users)[:, None] % 20).float()
    own = blend.own_shares(happened[:, None] * there[..., None], there, base)
    features = blend.interest_features(base.expand(users, -1), torch.zeros(users, interests), own, base)
    said = torch.sigmoid(features @ blend.fit_interest_weights(features, happened))
    assert said[happened > 0].min() > 0.97
    assert said[happened == 0].max() < 0.03


def test_item_features_of_a_user_without_history_are_finite() -> None:
    rows = torch.zeros(2, 32, dtype=torch.long)
    zeros = torch.zeros(2, ITEMS + 1)
    popular = torch.zeros(ITEMS + 1)
    found = blend.item_features(zeros, zeros, zeros, zeros, popular, popular, rows, rows > 0, None)
    assert len(found) == len(blend.ITEM_SCORERS)
    assert all(torch.isfinite(each).all() for each in found)
    seen = dict(zip(blend.ITEM_SCORERS, found, strict=True))
    assert (seen["seen"][:, 1:] == 0).all()

"""Scores are blended by weights of each history's own, and interests become probabilities."""

from __future__ import annotations

import pytest
import torch

from models.scorers import blend
from models.scorers.fit_weights import fit_interest_weights
from models.scorers.registry import NAMES
from models.scorers.scorer import RecentItems

USERS, ITEMS = 400, 25


def test_what_is_not_in_the_catalogue_cannot_be_recommended() -> None:
    scores, weights = [torch.randn(USERS, ITEMS + 1) for _ in NAMES], torch.ones(USERS, len(NAMES))
    assert (blend.weighted(scores, weights)[:, 0] == float("-inf")).all()


def test_users_without_events_or_without_known_items_have_weights_of_their_own() -> None:
    item, strangers = torch.ones(3, 8), torch.stack((torch.full((8,), 2.0), torch.full((8,), 3.0)))
    known = torch.zeros(ITEMS + 1)
    fitted = blend.Blend(item, torch.zeros(6), known, known, known, strangers=strangers)
    held, rows = torch.zeros(3, 32, dtype=torch.bool), torch.zeros(3, 32, dtype=torch.long)
    held[1:, :4] = True
    rows[2, 3] = 5
    assert fitted.item_weights(RecentItems(rows, held, held))[:, 0].tolist() == [2, 3, 1]


@pytest.mark.parametrize(
    ("events", "length"), [(0, 0), (1, 0), (5, 0), (6, 1), (20, 1), (21, 2), (32, 2)]
)
def test_the_length_of_a_history_is_that_of_the_events_a_state_keeps(
    events: int, length: int
) -> None:
    held = (torch.arange(32) < events)[None, :]
    assert blend.lengths(held).tolist() == [length]
    weights = torch.arange(21.0).view(3, 7)
    known = torch.zeros(ITEMS + 1)
    assert torch.equal(
        blend.Blend(weights, torch.zeros(6), known, known, known).item_weights(
            RecentItems(held.long(), held, held)
        ),
        weights[length : length + 1],
    )


@pytest.mark.parametrize("value", [0.0, 1.0])
def test_opinions_that_are_certain_stay_finite(value: float) -> None:
    items, base = torch.full((2, 3), value), torch.full((3,), value)
    current = blend.follow(torch.ones(2, 32, 3), torch.full((3,), 0.3), torch.tensor([0.1, 0.9]))
    own = {each.name: items for each in blend.COUNTERS}
    features = blend.interest_features(items, torch.zeros(2, 3), own, base, current)
    assert features.shape == (2, 3, len(blend.INTEREST_FEATURES))
    assert torch.isfinite(features).all()


@pytest.mark.parametrize(("name", "half_life", "prior"), blend.COUNTERS)
def test_own_shares_by_hand(name: str, half_life: float, prior: float) -> None:
    """The newest and the oldest of three events touch, mixed with a base rate of 0.25."""
    touched = torch.zeros(1, 32, 1)
    touched[0, [0, 2]] = 1
    there = torch.zeros(1, 32)
    there[0, :3] = 1
    older, oldest = 0.5 ** (1 / half_life), 0.5 ** (2 / half_life)
    share = blend.own_shares(touched, there, torch.tensor([0.25]))[name]
    assert share.item() == pytest.approx((1 + oldest + prior * 0.25) / (1 + older + oldest + prior))
    nothing = blend.own_shares(torch.zeros(1, 32, 1), torch.zeros(1, 32), torch.tensor([0.25]))[
        name
    ]
    assert nothing.item() == pytest.approx(0.25)


def test_users_who_keep_to_one_interest_are_believed_after_one_event() -> None:
    """Nobody leaves the interest that a user has.

    Half of all have the same one, which says nothing once another was seen.
    """
    torch.manual_seed(12)
    users, interests = 600, 16
    base = torch.full((interests,), 0.5 / 15)
    base[0] = 0.5
    happened = torch.nn.functional.one_hot(
        torch.multinomial(base, users, replacement=True), interests
    ).float()
    there = (torch.arange(32) < 1 + torch.arange(users)[:, None] % 20).float()
    own = blend.own_shares(happened[:, None] * there[..., None], there, base)
    nothing = blend.follow(happened[:, None], base, None)
    features = blend.interest_features(
        base.expand(users, -1), torch.zeros(users, interests), own, base, nothing
    )
    said = torch.sigmoid(features @ fit_interest_weights(features, happened))
    assert said[happened > 0].min() > 0.97
    assert said[happened == 0].max() < 0.03

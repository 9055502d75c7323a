"""What corrects first interests keeps their order, leaves the others, and begins with nothing."""

from __future__ import annotations

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from models.scorers import calibration
from models.scorers.calibration import PLACES, SIZE, SIZES, Lengths, corrected, identity
from models.scorers.scorer import RecentItems

USERS = 40


def recent(events: list[int], session: int = 1) -> RecentItems:
    """Users with so many recent events, of which so many are of this session."""
    held = torch.arange(32) < torch.tensor(events)[:, None]
    newest = held & (torch.arange(32) < session)
    return RecentItems(held.long(), held, newest)


@given(st.integers(0, 2**31), st.integers(1, 12))
@settings(max_examples=40)
def test_the_order_of_one_users_interests_stays_whatever_the_weights(
    seed: int, interests: int
) -> None:
    generator = torch.Generator().manual_seed(seed)
    log_odds = 3 * torch.randn(USERS, interests, generator=generator)
    weights = identity() + torch.randn(SIZE, generator=generator)
    lengths = torch.randint(0, 33, (USERS,), generator=generator).tolist()
    found = corrected(log_odds, recent(lengths, session=3), weights)
    assert found.shape == log_odds.shape
    assert torch.equal(found.argsort(1, descending=True), log_odds.argsort(1, descending=True))


def test_weights_that_correct_nothing_leave_everything() -> None:
    torch.manual_seed(3)
    log_odds = 3 * torch.randn(USERS, 9)
    torch.testing.assert_close(
        corrected(log_odds, recent([7] * USERS), identity()), log_odds, rtol=0, atol=1e-5
    )


@pytest.mark.parametrize(
    ("events", "group"), [(0, 0), (1, 1), (3, 1), (4, 2), (10, 2), (11, 3), (31, 3), (32, 4)]
)
def test_a_history_has_the_shift_of_its_length(events: int, group: int) -> None:
    slopes, places, _, sessions = torch.split(identity(), list(SIZES))
    shifted = torch.cat((slopes, places, torch.arange(5.0), sessions))
    assert Lengths.of(recent([events])).history.tolist() == [group]
    log_odds = torch.tensor([[-1.0, -2.0]])
    found = corrected(log_odds, recent([events]), shifted)[0].tolist()
    assert found == pytest.approx([group - 1, group - 2], abs=1e-6)


def test_by_hand() -> None:
    """The first is halved and raised by one, the second has the other slope; the rest stays.

    Session of 3 events: the second group, lowered by 0.5; the sixth is no place of PLACES.
    """
    weights = identity()
    weights[0], weights[1] = 0.5, 2.0
    weights[2] = 1.0  # the shift of the first place
    weights[-2] = -0.5  # of sessions of 3 to 10 events
    log_odds = torch.tensor([[-9.0, 2.0, -0.5, -1.0, -1.5, -2.0]])
    found = corrected(log_odds, recent([9], session=3), weights)
    assert found[0].tolist() == pytest.approx([-9.0, 1.5, -1.5, -2.5, -3.5, -4.5])
    assert PLACES == 5


def test_an_interest_that_would_pass_another_is_held_just_below_it() -> None:
    weights = identity()
    weights[2] = -2.0  # the first place says two less
    found = corrected(torch.tensor([[1.0, 0.5, -3.0]]), recent([9]), weights)
    assert found[0, 0].item() == pytest.approx(-1.0)
    assert found[0, 1].item() == pytest.approx(-1.0 - 0.5 * calibration.LEAST_SLOPE)
    assert found[0, 2].item() == pytest.approx(-3.0)


def test_an_interest_behind_those_that_are_corrected_does_not_pass_them() -> None:
    weights = identity()
    weights[2 : 2 + PLACES] = -3.0
    log_odds = torch.tensor([[3.0, 2.5, 2.0, 1.5, 1.0, 0.5, -9.0]])
    found = corrected(log_odds, recent([9]), weights)[0]
    assert found[4].item() == pytest.approx(-2.0)
    assert found[5].item() == pytest.approx(-2.0 - 0.5 * calibration.LEAST_SLOPE)
    assert found[6].item() == pytest.approx(-9.0)

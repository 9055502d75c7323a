"""What is believed of the current interest, against all ways in which it may have gone."""

from __future__ import annotations

from itertools import pairwise, product

import numpy as np
import pytest
import torch
from torch import Tensor

from models import current_interest
from models.current_interest import WINDOW, fit_rates, followed, without_each

INTERESTS = 3
BASE = torch.tensor([0.5, 0.2, 0.1])
RATES = torch.tensor([0.1, 0.6])


def by_all_paths(events: Tensor) -> Tensor:
    """Returns the belief after events [T, C], oldest first, by the chance of each way there.

    Before the first event the interest may have changed, too, which changes no chance.
    """
    prior, (switch, focus) = BASE / BASE.sum(), RATES.tolist()
    total = torch.zeros(INTERESTS)
    for path in product(range(INTERESTS), repeat=len(events)):
        chance = prior[path[0]].item()
        for before, now in pairwise(path):
            chance *= switch * prior[now].item() + (1 - switch) * (before == now)
        for event, interest in zip(events, path, strict=True):
            if event.any():
                at_large = (event @ prior).item()
                chance *= (1 - focus) * at_large + focus * event[interest].item()
        total[path[-1]] += chance
    return total / total.sum()


def newest_first(events: Tensor) -> Tensor:
    """Returns events [U, T, C], oldest first, as the recent events of users, [U, 32, C]."""
    found = torch.zeros(events.shape[0], 32, INTERESTS)
    found[:, : events.shape[1]] = events.flip(1)
    return found


def test_it_is_the_sum_over_all_ways() -> None:
    torch.manual_seed(1)
    events = (torch.rand(20, 5, INTERESTS) < 0.4).float()
    found = followed(newest_first(events), BASE, RATES).belief
    wanted = torch.stack([by_all_paths(each) for each in events])
    torch.testing.assert_close(found, wanted)


def test_without_events_it_is_how_often_interests_are_met() -> None:
    nothing = torch.zeros(2, 32, INTERESTS)
    found = followed(nothing, BASE, RATES)
    torch.testing.assert_close(found.belief, (BASE / BASE.sum()).expand(2, -1))
    assert not found.first.any()


def test_a_stray_event_is_not_followed_and_a_second_one_is() -> None:
    of = torch.eye(INTERESTS)
    rates = torch.tensor([0.04, 0.7])
    stray = newest_first(torch.stack([of[1]] * 6 + [of[2]])[None])
    settled = newest_first(torch.stack([of[1]] * 6 + [of[2]] * 2)[None])
    for events, first in ((stray, 1), (settled, 2)):
        found = followed(events, BASE, rates)
        assert found.first[0].tolist() == [float(each == first) for each in range(3)]


@pytest.mark.parametrize("interest", range(INTERESTS))
def test_without_an_event_is_as_if_it_had_touched_nothing(interest: int) -> None:
    torch.manual_seed(2)
    events = newest_first((torch.rand(10, 14, INTERESTS) < 0.3).float())
    events[0, 1:] = 0  # a user of one event
    which = torch.full((10,), interest)
    belief = without_each(followed(events, BASE, RATES), BASE, RATES, which)
    for place in range(WINDOW):
        left = events.clone()
        left[:, place] = 0
        torch.testing.assert_close(
            belief[:, place], followed(left, BASE, RATES).belief[:, interest]
        )


def test_interests_that_are_hardly_ever_met_leave_finite_numbers() -> None:
    base = torch.tensor([1e-5, 1e-5, 0.9])
    rates = torch.tensor([0.01, 0.9])
    events = newest_first(torch.eye(INTERESTS)[[0, 1] * 16][None])
    found = followed(events, base, rates)
    left = without_each(found, base, rates, torch.tensor([0]))
    assert torch.isfinite(found.belief).all()
    assert torch.isfinite(left).all()


@pytest.mark.parametrize(("switch", "focus"), [(0.04, 0.7), (0.3, 0.9), (0.01, 0.4)])
def test_the_rates_are_found_by_which_events_were_made(switch: float, focus: float) -> None:
    random = np.random.default_rng(4)
    share = np.array([0.4, 0.3, 0.2, 0.1])
    rows = []
    for _ in range(300):
        interest = random.choice(4, p=share)
        for _ in range(60):
            if random.random() < switch:
                interest = random.choice(4, p=share)
            about = interest if random.random() < focus else random.choice(4, p=share)
            rows.append(1 + about)
    belongs = np.concatenate((np.zeros((1, 4), bool), np.eye(4, dtype=bool)))
    base = torch.from_numpy(share.astype(np.float32))
    found = fit_rates(np.array(rows), np.arange(0, 18_001, 60), belongs, base)
    assert found.tolist() == pytest.approx([switch, focus])


def test_users_of_one_event_are_enough_to_begin_with() -> None:
    """There is nothing to learn then, and it is no error."""
    belongs = np.array([[False, False], [True, False], [False, True]])
    found = fit_rates(np.array([1, 2]), np.array([0, 1, 2]), belongs, torch.tensor([0.5, 0.5]))
    assert found.shape == (2,)
    assert current_interest.SWITCHES[0] <= found[0] <= current_interest.SWITCHES[-1]

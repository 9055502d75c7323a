"""Popularity at the end of a training: newer events count more, and nothing of later counts."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from models.popularity import (
    DAY_MS,
    HALF_LIFE_DAYS,
    OVERALL,
    WEEK_MS,
    log_recent_shares,
    log_shares,
    popularity_by_week,
)

ITEMS = 4
ROWS = np.array([1, 1, 1, 2, 0, 3])
TIMES = np.array([0, 1, 2, 20, 20, 21]) * DAY_MS


def test_shares_are_counts_and_half_an_event_of_each() -> None:
    shares = log_shares(ROWS, ITEMS).exp()
    assert shares[1:].tolist() == pytest.approx([3.5 / 7.5, 1.5 / 7.5, 1.5 / 7.5, 0.5 / 7.5])
    assert shares[0] == 1  # a row that is never recommended


def test_what_was_met_lately_comes_first_and_the_rest_keeps_something() -> None:
    recent = log_recent_shares(ROWS, TIMES, 21 * DAY_MS, ITEMS).exp()
    assert recent[2] > 0.8  # item 3 comes later
    assert recent[1] > recent[4] > 0
    counted = 0.5 ** (np.array([21, 20, 19, 1]) / HALF_LIFE_DAYS)
    among = log_shares(ROWS[:4], ITEMS).exp()[1]
    assert recent[1].item() == pytest.approx((1 - OVERALL) * counted[:3].sum() / counted.sum() + OVERALL * among.item())


def test_before_any_event_all_items_are_alike() -> None:
    shares = log_recent_shares(ROWS, TIMES, 0, ITEMS)[1:]
    assert torch.isfinite(shares).all()
    assert len(set(shares.tolist())) == 1


def test_a_moment_knows_nothing_of_its_own_week() -> None:
    """Weeks are counted back from the end: day 20 and 21 lie in the last one, day 2 in the third last."""
    found = popularity_by_week(ROWS, TIMES, np.array([21, 20, 2]) * DAY_MS, ITEMS)
    end = int(TIMES.max()) + 1
    assert torch.equal(found[0], found[1])
    torch.testing.assert_close(found[0], log_recent_shares(ROWS, TIMES, end - WEEK_MS, ITEMS))
    torch.testing.assert_close(found[2], log_recent_shares(ROWS, TIMES, end - 3 * WEEK_MS, ITEMS))
    assert found[0, 1] > found[0, 2]

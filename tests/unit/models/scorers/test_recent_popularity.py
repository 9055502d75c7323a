"""Popularity at the end of a training: newer events count more, and nothing of later counts."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from models.contract import POPULARITY_HALF_LIFE_DAYS
from models.scorers.popularity import log_shares
from models.scorers.recent_popularity import (
    DAY_MS,
    HALF_LIFE_DAYS,
    HOUR_MS,
    OVERALL,
    WEEK_MS,
    LivePopularity,
    log_live_shares,
    log_recent_shares,
    popularity_by_week,
)

ITEMS = 4
ROWS = np.array([1, 1, 1, 2, 0, 3])
TIMES = np.array([0, 1, 2, 20, 20, 21]) * DAY_MS


def test_what_was_met_lately_comes_first_and_the_rest_keeps_something() -> None:
    recent = log_recent_shares(ROWS, TIMES, 21 * DAY_MS, ITEMS).exp()
    assert recent[2] > 0.8  # item 3 comes later
    assert recent[1] > recent[4] > 0
    counted = 0.5 ** (np.array([21, 20, 19, 1]) / HALF_LIFE_DAYS)
    among = log_shares(ROWS[:4], ITEMS).exp()[1]
    assert recent[1].item() == pytest.approx(
        (1 - OVERALL) * counted[:3].sum() / counted.sum() + OVERALL * among.item()
    )


def test_before_any_event_all_items_are_alike() -> None:
    shares = log_recent_shares(ROWS, TIMES, 0, ITEMS)[1:]
    assert torch.isfinite(shares).all()
    assert len(set(shares.tolist())) == 1


def test_a_moment_knows_nothing_of_its_own_week() -> None:
    """Weeks count back from the end: days 20 and 21 are in the last, day 2 in the third last."""
    found = popularity_by_week(ROWS, TIMES, np.array([21, 20, 2]) * DAY_MS, ITEMS)
    end = int(TIMES.max()) + 1
    assert torch.equal(found[0], found[1])
    torch.testing.assert_close(found[0], log_recent_shares(ROWS, TIMES, end - WEEK_MS, ITEMS))
    torch.testing.assert_close(found[2], log_recent_shares(ROWS, TIMES, end - 3 * WEEK_MS, ITEMS))
    assert found[0, 1] > found[0, 2]


def test_a_live_snapshot_counts_what_came_before_the_hour_of_the_question() -> None:
    hour = 20 * 24
    times = np.array([hour - 24 * POPULARITY_HALF_LIFE_DAYS, hour - 1, hour, hour + 0.5]) * HOUR_MS
    live = LivePopularity(np.array([1, 2, 3, 4]), times.astype(np.int64), log_shares(ROWS, ITEMS))
    asked = (np.array([hour + 0.9, hour, hour - 0.1]) * HOUR_MS).astype(np.int64)
    first, same, before = live.at(asked).exp()
    assert torch.equal(first, same)
    decayed = 0.5 ** (1 / 24 / POPULARITY_HALF_LIFE_DAYS)
    of_training = log_shares(ROWS, ITEMS).exp()
    wanted = [0.5 / (0.5 + decayed), decayed / (0.5 + decayed), 0, 0]
    np.testing.assert_allclose(
        first[1:], (1 - OVERALL) * np.array(wanted) + OVERALL * of_training[1:].numpy(), rtol=1e-5
    )
    assert (
        before[2] == OVERALL * of_training[2]
    )  # the event of an hour ago is of the hour that is asked in
    assert first[0] == 1


def test_where_nothing_was_counted_the_training_speaks() -> None:
    of_training = log_shares(ROWS, ITEMS)
    assert torch.equal(log_live_shares(np.zeros(ITEMS + 1), of_training), of_training)
    long_ago = LivePopularity(np.array([1]), np.array([0]), of_training)
    assert torch.equal(long_ago.at(np.array([400 * DAY_MS]))[0], of_training)


def test_an_item_of_the_snapshot_that_no_training_met_comes_first() -> None:
    counts = np.array([0.0, 1, 0, 0, 9])
    shares = log_live_shares(counts, log_shares(ROWS, ITEMS))
    assert shares[1:].argmax() == 3
    torch.testing.assert_close(shares, log_live_shares(counts / 10, log_shares(ROWS, ITEMS)))

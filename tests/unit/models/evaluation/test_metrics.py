"""Compares measures with values worked out by hand."""

from __future__ import annotations

from math import log, log2

import numpy as np
import pytest

from models.errors import ModelDataError
from models.evaluation import metrics


def test_ranks_count_ties_against_the_model() -> None:
    scores = np.array(
        [
            [3.0, 2.0, 2.0, 1.0],
            [1.0, 1.0, 1.0, 1.0],
            [4.0, 5.0, 6.0, 7.0],
            [0.0, -np.inf, -1.0, -np.inf],
        ]
    )
    assert metrics.ranks(scores, np.array([1, 0, 3, 1])).tolist() == [2, 3, 0, 3]


def test_a_score_that_is_no_number_is_refused() -> None:
    with pytest.raises(ModelDataError, match="not a number"):
        metrics.ranks(np.array([[1.0, np.nan]]), np.array([0]))


def test_ranking_measures() -> None:
    found = metrics.ranking(np.array([0, 2, 9, 10]))
    assert (found["HR@1"], found["HR@5"], found["HR@10"], found["HR@20"]) == (0.25, 0.5, 0.75, 1.0)
    assert found["NDCG@10"] == pytest.approx((1 + 1 / log2(4) + 1 / log2(11)) / 4)
    assert found["MRR"] == pytest.approx((1 + 1 / 3 + 1 / 10 + 1 / 11) / 4)


def test_mrr_at_20_knows_no_rank_behind_the_twentieth() -> None:
    found = metrics.ranking(np.array([0, 19, 20, 400]))
    assert found["MRR@20"] == pytest.approx((1 + 1 / 20) / 4)
    assert found["MRR"] > found["MRR@20"]


def test_by_history_length() -> None:
    found = metrics.by_history(np.array([0, 50, 0, 50, 50]), np.array([0, 2, 3, 4, 200]))
    assert [(each["history"], each["cases"], each["HR@10"]) for each in found] == [
        ("0", 1, 1.0),
        ("1-3", 2, 0.5),
        ("4-10", 1, 0.0),
        ("11+", 1, 0.0),
    ]


def test_interest_measures() -> None:
    probability = np.array([[0.9, 0.2], [0.5, 0.5]])
    touched = np.array([[True, False], [False, True]])
    assert metrics.interests(probability, touched)["NLL"] == pytest.approx(
        -(log(0.9) + log(0.8) + 2 * log(0.5)) / 4
    )


def test_top_hits_leave_out_cases_without_interest_and_count_ties_against_the_model() -> None:
    probability = np.array([[0.9, 0.5, 0.5, 0.1], [0.4, 0.3, 0.2, 0.1], [0.4, 0.3, 0.2, 0.1]])
    touched = np.array([[0, 0, 1, 0], [0, 0, 0, 0], [0, 0, 1, 1]], bool)
    assert metrics.top_hits(probability, touched, 2).tolist() == [0.0, 0.0]
    assert metrics.top_hits(probability, touched, 3).tolist() == [1.0, 1.0]


def test_calibration_error_is_the_mean_distance_weighted_by_bin() -> None:
    probability = np.array([[0.01], [0.03], [0.99], [0.99]])
    touched = np.array([[False], [True], [True], [True]])
    # bin 0: said 0.02, was 0.5, two; last bin: said 0.99, was 1, two
    assert metrics.calibration_error(probability, touched) == pytest.approx(
        (0.48 * 2 + 0.01 * 2) / 4
    )
    assert metrics.calibration_error(np.ones((1, 1)), np.ones((1, 1), bool)) == 0


def test_intervals_keep_a_users_cases_together() -> None:
    values = np.repeat([0.0, 1.0], 500)
    apart = metrics.interval(values, np.arange(1000))
    together = metrics.interval(values, np.repeat([0, 1], 500))
    assert apart[0] == pytest.approx(
        0.5 - 1.96 * 0.0158, abs=0.005
    )  # standard error of a share: sqrt(0.25 / 1000)
    assert together == (0.0, 1.0)  # two users say next to nothing


def test_samples_drawn_together_are_those_drawn_one_after_the_other() -> None:
    random = np.random.default_rng(4)
    values, user = random.normal(size=900), random.integers(400, size=900)
    _, place = np.unique(user, return_inverse=True)
    count, total = np.bincount(place), np.bincount(place, values)
    drawing, means = np.random.default_rng(7), []
    for _ in range(metrics.RESAMPLES):
        drawn = drawing.integers(len(count), size=len(count))
        means.append(total[drawn].sum() / count[drawn].sum())
    assert metrics.interval(values, user, seed=7) == pytest.approx(
        np.quantile(means, (0.025, 0.975))
    )

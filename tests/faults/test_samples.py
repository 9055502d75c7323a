"""Checks what the soak reports about growth.

Slopes have intervals that hold the truth, and nothing of what came before the warm-up counts.
"""

from __future__ import annotations

import os
import random
from typing import Any

import pytest

from tests.faults.campaign.samples import line, slopes, usage


def samples(per_hour: float, noise: float, start_mb: float = 400.0) -> list[dict[str, Any]]:
    chance = random.Random(3)
    return [
        {
            "at_s": 10.0 * each,
            "worker": "w",
            "rss_mb": start_mb + per_hour * each / 360 + chance.gauss(0, noise),
            "threads": 5,
        }
        for each in range(720)
    ]


def test_growth_is_told_from_noise() -> None:
    growing, steady = (slopes(samples(rate, 2.0), warm_up_s=600)["rss_mb"] for rate in (30.0, 0.0))
    assert abs(growing["per_hour"] - 30) <= 2 * growing["half_width"] < 3
    assert abs(steady["per_hour"]) <= 2 * steady["half_width"]


def test_a_constant_has_no_slope_and_what_was_not_sampled_none_at_all() -> None:
    found = slopes(samples(0.0, 1.0), warm_up_s=600)
    assert (found["threads"]["per_hour"], found["threads"]["half_width"]) == (0, 0)
    assert "descriptors" not in found


def test_the_warm_up_does_not_count() -> None:
    early = [{"at_s": float(each), "worker": "w", "rss_mb": 100.0 * each} for each in range(590)]
    assert slopes([*early, *samples(0.0, 0.0)[60:]], warm_up_s=600)["rss_mb"]["per_hour"] == 0


def test_a_line_through_points_on_it() -> None:
    slope, half = line([(0, 1), (1, 3), (2, 5)])
    assert (slope, half) == (2, 0)


def test_usage_of_a_process() -> None:
    own = usage(os.getpid())
    assert own["rss_mb"] > 10
    assert own["descriptors"] >= 3
    assert own["threads"] >= 1
    with pytest.raises(FileNotFoundError):
        usage(2**22 + 1)

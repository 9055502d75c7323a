"""Checks that sums over users stay within their norms, and that the noise is what was asked."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from models.training.private.account import Release
from models.training.private.noise import Noise, clipped

ADDED = st.lists(
    st.tuples(st.integers(0, 4), st.integers(0, 9), st.floats(0, 50)), min_size=1, max_size=60
)


@given(ADDED, st.floats(0.5, 10))
def test_no_user_moves_a_sum_by_more_than_the_norm(
    added: list[tuple[int, int, float]], norm: float
) -> None:
    def sums(without: int | None) -> np.ndarray:
        left = [each for each in added if each[0] != without]
        found = np.zeros(10)
        if left:
            owners, cells, values = (np.array(column) for column in zip(*left, strict=True))
            places, totals = clipped(owners, cells, values, norm)
            assert len(set(places.tolist())) == len(places)
            found[places] = totals
        return found

    for user in range(5):
        assert np.linalg.norm(sums(None) - sums(user)) <= norm * (1 + 1e-9)


def test_a_user_within_the_norm_counts_fully() -> None:
    owners, cells = np.array([0, 0, 1, 1]), np.array([3, 3, 3, 5])
    places, totals = clipped(owners, cells, np.ones(4), norm=2)
    assert (places.tolist(), totals.tolist()) == ([3, 5], [3, 1])
    _, scaled = clipped(owners, cells, np.ones(4), norm=1)
    assert scaled.tolist() == pytest.approx([1 + 0.5**0.5, 0.5**0.5])


def test_noise_has_the_deviation_that_was_asked_and_is_never_the_same() -> None:
    noise = Noise()
    first, deviation = noise.dense("x", np.zeros(40_000), norm=3, noise=2)
    again, _ = noise.dense("x", np.zeros(40_000), norm=3, noise=0.5)
    assert deviation == 6
    assert first.std() == pytest.approx(6, rel=0.03)
    assert abs(first.mean()) < 0.15
    assert not np.array_equal(first[:5] / 6, again[:5] / 1.5)
    assert not np.array_equal(first, Noise().dense("x", np.zeros(40_000), 3, 2)[0])


def test_releases_are_remembered_and_those_of_a_kind_counted() -> None:
    noise, nothing = Noise(), np.zeros(3)
    for _ in range(3):
        noise.dense("steps", nothing, norm=1, noise=2, rate=0.1)
    noise.dense("steps", nothing, norm=1, noise=2)
    noise.pairs("table", (np.zeros(0, np.int64), np.zeros(0)), items=5, norm=1, noise=4)
    assert noise.releases == [
        Release("steps", 2, 0.1, times=3),
        Release("steps", 2),
        Release("table", 4),
    ]


def test_users_are_drawn_each_on_its_own() -> None:
    noise = Noise()
    drawn = np.array([noise.drawn(1_000, 0.1) for _ in range(400)])
    assert drawn.mean() == pytest.approx(0.1, abs=0.005)
    assert drawn.sum(1).std() == pytest.approx(math.sqrt(1_000 * 0.1 * 0.9), rel=0.2)
    assert np.abs(drawn.mean(0) - 0.1).max() < 0.1  # nobody is drawn always, or never


def test_cells_where_nothing_happened_are_lifted_as_if_all_had_noise() -> None:
    """Checks number, place and size of what noise alone lifts, and that large sums stay."""
    items, norm, noise = 400, 2.0, 2.0
    cells = np.arange(1, 11) * (items + 1) + np.arange(11, 21)
    sums = np.where(np.arange(10) < 5, 1_000.0, 0.0)
    counts, smallest = [], math.inf
    for _ in range(200):
        found, values = Noise().pairs("x", (cells, sums), items, norm, noise)
        first, second = found // (items + 1), found % (items + 1)
        assert len(set(found.tolist())) == len(found)
        assert ((first > 0) & (second > 0) & (first != second)).all()
        assert set(cells[:5]) <= set(found)
        lifted = ~np.isin(found, cells)
        counts.append(int(lifted.sum()))
        smallest = min([smallest, *values[lifted].tolist()])
    # 4 a table are expected, by a threshold of some 4 deviations of 4
    assert np.mean(counts) == pytest.approx(items / 100, rel=0.2)
    assert smallest == pytest.approx(16.2, abs=0.2)

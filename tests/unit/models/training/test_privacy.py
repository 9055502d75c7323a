"""Checks the account by integration, and that sums over users stay within their norms."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from models.errors import ModelDataError
from models.training.privacy import Budget, Noise, clipped, delta_of


def integrated(mu: float, epsilon: float) -> float:
    """The hockey-stick divergence of N(mu, 1) from N(0, 1), by adding up thin slices."""
    x = np.linspace(-40, 40 + mu, 2_000_001)
    density = np.exp(-((x - mu) ** 2) / 2) - math.exp(epsilon) * np.exp(-(x**2) / 2)
    return float(np.maximum(density, 0).sum() * (x[1] - x[0]) / math.sqrt(2 * math.pi))


@pytest.mark.parametrize("mu", [0.2, 1.0, 3.0])
@pytest.mark.parametrize("epsilon", [0.1, 1.0, 8.0])
def test_the_account_is_the_divergence_of_two_normal_distributions(
    mu: float, epsilon: float
) -> None:
    assert delta_of(mu, epsilon) == pytest.approx(integrated(mu, epsilon), rel=1e-4, abs=1e-12)


@pytest.mark.parametrize("epsilon", [0.1, 1.0, 3.0, 8.0, 20.0, 100.0])
def test_a_budget_is_spent_to_the_last_and_not_beyond(epsilon: float) -> None:
    budget = Budget(epsilon, 1e-6)
    assert delta_of(budget.mu, epsilon) <= 1e-6
    assert delta_of(budget.mu * 1.001, epsilon) > 1e-6


@pytest.mark.parametrize(("epsilon", "delta"), [(0, 1e-6), (-1, 1e-6), (101, 1e-6), (3, 0), (3, 1)])
def test_what_is_no_budget_is_refused(epsilon: float, delta: float) -> None:
    with pytest.raises(ModelDataError, match=r"(epsilon|delta) is"):
        Budget(epsilon, delta)


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
    first, deviation = noise.dense("x", np.zeros(40_000), norm=3, mu=0.5)
    again, _ = noise.dense("x", np.zeros(40_000), norm=3, mu=1.2)
    assert deviation == 6
    assert first.std() == pytest.approx(6, rel=0.03)
    assert abs(first.mean()) < 0.15
    assert not np.array_equal(first[:5] / 6, again[:5] / 2.5)
    assert not np.array_equal(first, Noise().dense("x", np.zeros(40_000), 3, 0.5)[0])
    assert noise.total() == pytest.approx(1.3)


def test_cells_where_nothing_happened_are_lifted_as_if_all_had_noise() -> None:
    """Checks number, place and size of what noise alone lifts, and that large sums stay."""
    items, norm, mu = 400, 2.0, 0.5
    cells = np.arange(1, 11) * (items + 1) + np.arange(11, 21)
    sums = np.where(np.arange(10) < 5, 1_000.0, 0.0)
    counts, smallest = [], math.inf
    for _ in range(200):
        found, values = Noise().pairs("x", (cells, sums), items, norm, mu)
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

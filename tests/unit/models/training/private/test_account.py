"""Checks the account by integration, by sums that others published, and by its own exact form."""

from __future__ import annotations

import math

import numpy as np
import pytest

from models.errors import ModelDataError
from models.training.private import account
from models.training.private.account import Budget, Release, delta_of, epsilon_of, noise_for, renyi

X = np.linspace(-40, 80, 400_001)


def excess(one: np.ndarray, other: np.ndarray, epsilon: float) -> float:
    """The hockey-stick divergence of two densities, by adding up thin slices."""
    return float(np.maximum(one - math.exp(epsilon) * other, 0).sum() * (X[1] - X[0]))


def normal(mean: float, deviation: float = 1.0) -> np.ndarray:
    """The density of a normal distribution at X."""
    density: np.ndarray = np.exp(-(((X - mean) / deviation) ** 2) / 2)
    return density / (deviation * math.sqrt(2 * math.pi))


@pytest.mark.parametrize("mu", [0.2, 1.0, 3.0])
@pytest.mark.parametrize("epsilon", [0.1, 1.0, 8.0])
def test_the_account_is_the_divergence_of_two_normal_distributions(
    mu: float, epsilon: float
) -> None:
    expected = excess(normal(mu), normal(0), epsilon)
    assert delta_of(mu, epsilon) == pytest.approx(expected, rel=1e-4, abs=1e-12)


@pytest.mark.parametrize("epsilon", [0.1, 1.0, 3.0, 8.0, 20.0, 100.0])
def test_a_budget_is_spent_to_the_last_and_not_beyond(epsilon: float) -> None:
    budget = Budget(epsilon, 1e-6)
    assert delta_of(budget.mu, epsilon) <= 1e-6
    assert delta_of(budget.mu * 1.001, epsilon) > 1e-6
    # the same by the account of releases: four of a quarter of the squared mu each
    releases = [Release("x", 2 / budget.mu, times=3), Release("y", 2 / budget.mu)]
    assert epsilon_of(releases, 1e-6) == pytest.approx(epsilon, rel=1e-6)


@pytest.mark.parametrize(("epsilon", "delta"), [(0, 1e-6), (-1, 1e-6), (101, 1e-6), (3, 0), (3, 1)])
def test_what_is_no_budget_is_refused(epsilon: float, delta: float) -> None:
    with pytest.raises(ModelDataError, match=r"(epsilon|delta) is"):
        Budget(epsilon, delta)


@pytest.mark.parametrize("rate", [0.01, 0.1, 0.5])
@pytest.mark.parametrize("noise", [0.5, 1.0, 4.0])
def test_divergences_of_drawn_users_are_the_published_sums(
    rate: float, noise: float, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Checks whole orders, which have a finite sum (Mironov, Talwar, Zhang 2019, section 3.3)."""
    orders = np.array([2.0, 3.0, 5.0, 20.0])
    monkeypatch.setattr(account, "ORDERS", orders)
    for order, found in zip(
        orders.astype(int).tolist(), renyi(Release("", noise, rate)).tolist(), strict=True
    ):
        terms = [
            math.log(math.comb(order, k))
            + (order - k) * math.log1p(-rate)
            + k * math.log(rate)
            + (k * k - k) / (2 * noise**2)
            for k in range(order + 1)
        ]
        assert found == pytest.approx(np.logaddexp.reduce(terms) / (order - 1), rel=1e-9, abs=1e-13)


@pytest.mark.parametrize("noise", [0.6, 1.0, 3.0])
@pytest.mark.parametrize("rate", [0.1, 0.6])
def test_no_release_of_drawn_users_tells_more_than_the_account_says(
    noise: float, rate: float
) -> None:
    """Checks one release, of one user more and of one less, where the truth can be integrated."""
    for delta in (1e-3, 1e-6):
        epsilon = epsilon_of([Release("", noise, rate)], delta)
        without = normal(0, noise)
        drawn = (1 - rate) * without + rate * normal(1, noise)
        assert excess(drawn, without, epsilon) <= delta
        assert excess(without, drawn, epsilon) <= delta
        # and it is no wild overestimate: at half the epsilon more leaks
        assert excess(drawn, without, epsilon / 2) > delta


def test_the_bound_of_all_together_lies_above_the_exact_account() -> None:
    """Checks releases that are hardly drawn, of which both accounts can be made."""
    exact = epsilon_of([Release("", 2.0, times=6)], 1e-6)
    bound = epsilon_of([Release("", 2.0, times=5), Release("", 2.0, 1 - 1e-9)], 1e-6)
    assert exact < bound < 1.15 * exact


@pytest.mark.parametrize("epsilon", [0.5, 3.0, 20.0])
def test_the_least_noise_spends_what_others_left(epsilon: float) -> None:
    budget = Budget(epsilon, 1e-6)
    others = [Release("tables", math.sqrt(2) / budget.mu)]
    noise = noise_for(budget, others, rate=0.1, times=50)

    def spent(factor: float) -> float:
        return epsilon_of([*others, Release("", noise * factor, 0.1, 50)], 1e-6)

    assert spent(1) <= epsilon < spent(0.99)
    assert epsilon_of([Release("", noise, 0.1, 50)], 1e-6) < epsilon


def test_releases_that_leave_nothing_are_refused() -> None:
    budget = Budget(3, 1e-6)
    with pytest.raises(ModelDataError, match="leaves nothing for the LSTM"):
        noise_for(budget, [Release("tables", 1 / budget.mu)], rate=0.1, times=50)


def test_a_share_that_leaves_the_tables_nothing_is_refused() -> None:
    with pytest.raises(ModelDataError, match="the LSTM's share is 1"):
        Budget(3, 1e-6, lstm_share=1)

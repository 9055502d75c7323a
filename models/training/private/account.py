"""Accounts for privacy: which epsilon some releases of noisy sums have together.

Two data sets are neighbours if one has all events of one more user. A release is (epsilon, delta)
differentially private if no event of its outcome is more than e^epsilon times as probable, plus
delta, under one neighbour as under the other [1]. A release here is a sum over users, each of whom
moves it by a bounded L2 norm, with normal noise of `noise` times that norm on every cell. It may be
of users who were drawn for it, each with the chance `rate` on its own.

Releases without drawing, of the same users and each seeing what the others gave, are mu-GDP with
mu^2 = 1/noise_1^2 + 1/noise_2^2 + ... [2], and mu-GDP is the same as (epsilon, delta) for all pairs
with equation 6 of [3]: that account is exact. With drawn users the Renyi divergences of all
releases are added up, order after order [4, 5], and turned into epsilon by [6]: that one is a
bound. Releases of groups that share no user count once: the largest epsilon of them.

[1] Dwork, Roth: The Algorithmic Foundations of Differential Privacy (2014), definition 2.4.
[2] Dong, Roth, Su: Gaussian Differential Privacy (2022), theorem 2.7, corollary 3.3.
[3] Balle, Wang: Improving the Gaussian Mechanism for Differential Privacy (2018), theorem 8.
[4] Mironov: Renyi Differential Privacy (2017), propositions 1 and 7.
[5] Mironov, Talwar, Zhang: Renyi Differential Privacy of the Sampled Gaussian Mechanism (2019),
    theorems 4 and 5.
[6] Canonne, Kamath, Steinke: The Discrete Gaussian for Differential Privacy (2020), proposition 12.

Glossary: A orders, Z places of an integral.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Any, Final, NamedTuple

import numpy as np

from models.errors import ModelDataError

Array = np.ndarray[Any, Any]

MOST_EPSILON: Final = 100.0
"""A larger one promises nothing."""
MOST_LSTM_SHARE: Final = 0.9
"""Of a larger one the tables get next to nothing, and biases of items are all noise."""
ORDERS: Final = 1 + np.geomspace(0.05, 255, 40)
"""Orders of the divergences; the best of them counts."""
PLACES: Final = 2_001
"""Places of an integral, which reaches over some deviations, at high orders over hundreds."""
LEAST_NOISE: Final = 0.3
"""Of a release of drawn users: the integrals are exact from here on."""
MOST_NOISE: Final = 1e5


class Release(NamedTuple):
    """Holds what an account has to know of noisy sums that were made alike."""

    what: str
    noise: float
    """Standard deviation of the noise over the most by which a user moves the sum."""
    rate: float = 1.0
    """Chance of each user to be drawn for it."""
    times: int = 1


@dataclass(frozen=True)
class Budget:
    """Holds how much a model may tell of any one user."""

    epsilon: float
    delta: float
    lstm_share: float = 0.0
    """What the LSTM gets of the squared mu of the tables and it; 0: it stays untrained.

    A number that is chosen by looking at the users' events is not covered by the budget."""

    def __post_init__(self) -> None:
        if not 0 < self.epsilon <= MOST_EPSILON:
            raise ModelDataError(f"epsilon is {self.epsilon}; give a number up to {MOST_EPSILON:g}")
        if not 0 < self.delta < 1e-3:
            raise ModelDataError(
                f"delta is {self.delta}; give less than one in the number of users, as 1e-6"
            )
        if not 0 <= self.lstm_share <= MOST_LSTM_SHARE:
            raise ModelDataError(
                f"the LSTM's share is {self.lstm_share}; give a number from 0 to {MOST_LSTM_SHARE}"
            )

    @property
    def mu(self) -> float:
        """Returns the largest mu whose mechanisms keep to this budget."""
        return _last(lambda mu: delta_of(mu, self.epsilon) <= self.delta, 0.0, 100.0)


def delta_of(mu: float, epsilon: float) -> float:
    """Returns the least delta of a mu-GDP mechanism at an epsilon [3]."""
    if mu <= 0:
        return 0.0
    return _below(-epsilon / mu + mu / 2) - math.exp(epsilon) * _below(-epsilon / mu - mu / 2)


def epsilon_of(releases: Iterable[Release], delta: float) -> float:
    """Returns the epsilon at a delta of releases about the same users, together."""
    releases = list(releases)
    if all(each.rate == 1 for each in releases):
        mu = math.sqrt(sum(each.times / each.noise**2 for each in releases))
        return _last(lambda epsilon: delta_of(mu, epsilon) > delta, 0.0, 700.0)
    divergence = sum(renyi(each) for each in releases)
    found = divergence + np.log1p(-1 / ORDERS) - (math.log(delta) + np.log(ORDERS)) / (ORDERS - 1)
    return max(0.0, float(found.min()))


def noise_for(budget: Budget, others: Iterable[Release], rate: float, times: int) -> float:
    """Returns the least noise of some releases of drawn users that keeps to a budget.

    others: releases about the same users beside them. Raises ModelDataError if these leave nothing.
    """
    others = list(others)

    def over(noise: float) -> bool:
        """Returns whether so much noise is too little."""
        return epsilon_of([*others, Release("", noise, rate, times)], budget.delta) > budget.epsilon

    if over(MOST_NOISE):
        raise ModelDataError(
            f"epsilon {budget.epsilon:g} leaves nothing for the LSTM beside the tables; give a "
            "larger one, or the LSTM no share (--dp-lstm-share 0)"
        )
    low, high = math.log(LEAST_NOISE), math.log(MOST_NOISE)
    # the end of the last interval that is not over
    return math.exp(_last(lambda exponent: over(math.exp(exponent)), low, high, steps=25, end=1))


def renyi(release: Release) -> Array:
    """Returns the Renyi divergences of releases together, at each of ORDERS [A].

    Of one more user drawn with the chance q, by noise s, the order a has
    log E[(1 - q + q exp((2 x - 1) / (2 s^2)))^a] / (a - 1) with x normal of deviation s. The
    integral is a sum over places: the integrand is smooth and vanishes at both ends, so that sum is
    exact but for rounding.
    """
    noise, rate = release.noise, release.rate
    if rate == 1:
        whole: Array = release.times * ORDERS / (2 * noise**2)
        return whole
    order = ORDERS[:, None]
    ends = order / noise + 12
    places = np.linspace(0, 1, PLACES) * (ends + 12) - 12  # in deviations, [A, Z]
    apart = (ends + 12)[:, 0] / (PLACES - 1)
    ratio = np.logaddexp(math.log1p(-rate), math.log(rate) + places / noise - 0.5 / noise**2)
    exponents = order * ratio - places**2 / 2
    most = exponents.max(1)
    sums = np.exp(exponents - most[:, None]).sum(1) * apart / math.sqrt(2 * math.pi)
    drawn: Array = release.times * (most + np.log(sums)) / (ORDERS - 1)
    return drawn


def _below(z: float) -> float:
    """Returns the standard normal distribution function, exact far out too."""
    return math.erfc(-z / math.sqrt(2)) / 2


def _last(
    holds: Callable[[float], bool], low: float, high: float, *, steps: int = 100, end: int = 0
) -> float:
    """Returns the last place between low and high where something holds, which ends once.

    end: 0 for the place before the end, 1 for the one behind it.
    """
    for _ in range(steps):
        middle = (low + high) / 2
        if holds(middle):
            low = middle
        else:
            high = middle
    return (low, high)[end]

"""Checks what gives way when the model is slower than the events, and in which order.

Nothing grows meanwhile.
"""

from __future__ import annotations

import numpy as np
import pytest

from stream.errors import SettingsError
from stream.policies.score_budget import LEVELS, PROBE, Budget, BudgetPolicy

COST_S = 0.1  # a user; so fifty fit into the five seconds of a batch


def users(count: int, first: int = 0) -> list[bytes]:
    return [f"u{number}".encode() for number in range(first, first + count)]


def batch(budget: Budget, names: list[bytes], now_ms: int, cost_s: float = COST_S) -> int:
    """Returns how many users of one batch a model of that cost scored."""
    chosen = budget.select(names, now_ms)
    mine = [name for name, mask in zip(names, chosen, strict=True) if mask]
    budget.spent(mine, cost_s * len(mine), now_ms)
    return len(mine)


@pytest.fixture
def budget() -> Budget:
    """Returns a budget that knows the cost already."""
    made = Budget(BudgetPolicy(batch_s=5, spacing_s=30))
    batch(made, users(1, first=10_000), 0)
    return made


def test_it_degrades_in_the_declared_order_and_recovers(budget: Budget) -> None:
    seen = []
    for now_s, count in ((100, 20), (101, 40), (102, 60), (103, 120), (140, 10)):
        batch(budget, users(count), now_s * 1000)
        seen.append(LEVELS[budget.level])
    assert seen == ["full", "larger_batches", "spaced", "lstm", "full"]


def test_a_spaced_user_is_scored_again_when_its_time_has_come(budget: Budget) -> None:
    assert batch(budget, users(50), 100_000) == 50
    assert batch(budget, users(60), 101_000) == 10  # the ten new ones
    assert batch(budget, users(60), 130_000) == 50  # the fifty of the first batch
    assert batch(budget, users(60), 131_000) == 10


def test_those_who_waited_longest_come_first(budget: Budget) -> None:
    batch(budget, users(50), 100_000)
    batch(budget, users(50, first=50), 140_000)
    chosen = budget.select(users(150), 180_000)
    assert budget.level == 3
    assert chosen[100:].all()  # never scored
    assert chosen.sum() == 50


def test_time_and_memory_stay_bounded_whatever_comes(
    budget: Budget, monkeypatch: pytest.MonkeyPatch
) -> None:
    random = np.random.default_rng(0)
    monkeypatch.setattr("stream.policies.score_budget.REMEMBERED", 1_000)
    for number in range(200):
        names = users(int(random.integers(1, 3_000)), first=int(random.integers(0, 50_000)))
        assert batch(budget, names, 200_000 + number * 1_000) * COST_S <= 5 + COST_S
    assert budget.remembered == 1_000


def test_an_unknown_cost_is_found_with_a_few_users() -> None:
    budget = Budget(BudgetPolicy())
    assert batch(budget, users(5_000), 0) == PROBE
    assert batch(budget, users(5_000), 40_000, cost_s=0.001) == 50


def test_a_model_that_becomes_slower_or_faster_is_followed(budget: Budget) -> None:
    for number in range(20):
        batch(budget, users(1_000, first=number * 1_000), 100_000 * number, cost_s=1.0)
    assert batch(budget, users(1_000, first=90_000), 9_000_000, cost_s=0.01) <= 6
    for number in range(20):
        batch(
            budget, users(1_000, first=number * 1_000), 10_000_000 + 100_000 * number, cost_s=0.01
        )
    assert batch(budget, users(1_000, first=95_000), 20_000_000, cost_s=0.01) > 400


def test_a_policy_that_cannot_be_is_refused() -> None:
    with pytest.raises(SettingsError, match="score_budget_s"):
        BudgetPolicy(batch_s=0)


def test_nothing_is_remembered_of_users_who_are_forgotten() -> None:
    budget = Budget(BudgetPolicy())
    names = users(PROBE)
    batch(budget, names, 0)
    budget.forget(names[:5])
    budget.select([], 1)
    assert budget.remembered == PROBE - 5

"""The table against the closed form written plainly, in float64."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from models.compact import RECENT
from models.scorers import ease
from models.scorers.ease import DECAY, RIDGE
from models.scorers.pair_table import PairTable

USERS, ITEMS = 60, 12


def drawn(seed: int) -> tuple[np.ndarray, np.ndarray]:
    """Rows and where each user's begin, row 0 (unknown) and repeated items among them.

    The last item is never met.
    """
    random = np.random.default_rng(seed)
    sequences = [random.integers(0, ITEMS, random.integers(0, 20)) for _ in range(USERS)]
    return np.concatenate(sequences), np.concatenate(
        ([0], np.cumsum([len(each) for each in sequences]))
    )


def learn(rows: np.ndarray, starts: np.ndarray, items: int) -> PairTable:
    """What EASE learns, as a table."""
    return PairTable(*ease.learn(rows, starts, items), DECAY, RECENT)


def by_definition(rows: np.ndarray, starts: np.ndarray) -> np.ndarray:
    """[V + 1, V + 1] of equations 7 and 8, what is not above 0 left out."""
    met = np.zeros((USERS, ITEMS + 1))
    for user in range(USERS):
        met[user, rows[starts[user] : starts[user + 1]]] = 1
    met[:, 0] = 0
    inverse = np.linalg.inv(met.T @ met + RIDGE * np.eye(ITEMS + 1))
    weights = -inverse / np.diag(inverse)[None, :]
    np.fill_diagonal(weights, 0)
    return np.maximum(weights, 0)


def dense(found: PairTable) -> np.ndarray:
    weights = np.zeros((ITEMS + 1, ITEMS + 1))
    np.add.at(weights, (np.arange(ITEMS + 1)[:, None], found.neighbours), found.weights)
    return weights


def test_the_table_is_the_closed_form() -> None:
    rows, starts = drawn(0)
    np.testing.assert_allclose(
        dense(learn(rows, starts, ITEMS)), by_definition(rows, starts), rtol=1e-4, atol=1e-7
    )


def test_sums_decay_slowly_over_all_recent_events() -> None:
    rows, starts = drawn(1)
    weights = by_definition(rows, starts)
    recent = np.random.default_rng(2).integers(0, ITEMS + 1, (5, 32))
    expected = sum(DECAY**age * weights[recent[:, age]] for age in range(32))
    sums = learn(rows, starts, ITEMS).sums(torch.from_numpy(recent))
    np.testing.assert_allclose(sums, expected, rtol=2e-3, atol=1e-6)  # held in float16


def test_of_a_large_catalogue_the_most_met_items_take_part(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(ease, "MOST_ITEMS", 4)
    rows, starts = drawn(3)
    rows = np.where(
        np.isin(rows, (2, 3, 5, 11)), rows, np.where(np.arange(len(rows)) % 9, 0, rows)
    )  # others met less
    found = dense(learn(rows, starts, ITEMS))
    few = np.where(np.isin(rows, (2, 3, 5, 11)), rows, 0)
    np.testing.assert_allclose(found, by_definition(few, starts), rtol=1e-4, atol=1e-7)


def test_an_item_that_another_explains_gives_little() -> None:
    """1 and 2 are always met together, and 3 with both of them.

    Each explains half of what co-occurrence would give twice.
    """
    apart, together = np.tile([4, 5], 2_000), np.tile([1, 2, 3], 2_000)
    starts = np.concatenate((np.arange(0, 4_000, 2), np.arange(4_000, 10_001, 3)))
    weights = dense(learn(np.concatenate((apart, together)), starts, ITEMS))
    assert weights[1, 3] == pytest.approx(weights[2, 3], rel=1e-3)
    assert 0.4 < weights[1, 3] < 0.55
    assert weights[4, 5] > 0.8
    assert weights[1, 4] == weights[4, 1] == 0


@pytest.mark.parametrize(
    "rows", [np.zeros(4, np.int64), np.zeros(0, np.int64)], ids=["unknown items", "no events"]
)
def test_nothing_to_learn_from_is_no_failure(rows: np.ndarray) -> None:
    found = learn(rows, np.array([0, len(rows)]), ITEMS)
    assert (found.sums(torch.full((2, 32), 3)) == 0).all()

"""The vectorised counts against slow loops over what models/scorers/cooccurrence.py defines."""

from __future__ import annotations

from collections import defaultdict

import numpy as np
import pytest
import torch

from models.scorers import cooccurrence
from models.scorers.cooccurrence import DECAY, LOOK_BACK
from models.scorers.pair_table import DENSE_ITEMS, FEW, PairTable

ITEMS = 15


def learn(rows: np.ndarray, starts: np.ndarray, items: int, most: int = 0) -> PairTable:
    """What co-occurrence learns, as a table."""
    return PairTable(*cooccurrence.learn(rows, starts, items, most=most), DECAY, LOOK_BACK)


def slow(sequences: list[list[int]]) -> dict[tuple[int, int], float]:
    """Strength of every ordered pair."""
    together: dict[tuple[int, int], float] = defaultdict(float)
    count = [0] * (ITEMS + 1)
    for rows in sequences:
        for place, row in enumerate(rows):
            count[row] += 1
            for distance in range(1, 11):
                if place + distance < len(rows):
                    after = rows[place + distance]
                    if row and after and row != after:
                        together[row, after] += 1 / distance
                        together[after, row] += 0.5 / distance
    return {pair: value / (count[pair[1]] + 1) ** 0.5 for pair, value in together.items()}


def drawn(seed: int) -> tuple[list[list[int]], np.ndarray, np.ndarray]:
    random = np.random.default_rng(seed)
    sequences = [random.integers(0, ITEMS + 1, random.integers(1, 30)).tolist() for _ in range(12)]
    return (
        sequences,
        np.concatenate(sequences),
        np.concatenate(([0], np.cumsum([len(each) for each in sequences]))),
    )


@pytest.mark.parametrize("part", [1, 7, 10_000])
def test_the_table_is_the_definition_in_parts_of_any_size(
    monkeypatch: pytest.MonkeyPatch, part: int
) -> None:
    monkeypatch.setattr(cooccurrence, "PART", part)
    sequences, rows, starts = drawn(0)
    found, expected = learn(rows, starts, ITEMS), slow(sequences)
    stored = {
        (item, near): weight
        for item in range(ITEMS + 1)
        for near, weight in zip(
            found.neighbours[item].tolist(), found.weights[item].tolist(), strict=True
        )
        if near
    }
    assert stored.keys() == expected.keys()
    assert all(abs(stored[pair] - expected[pair]) < 1e-5 for pair in expected)
    assert (found.weights[found.neighbours == 0] == 0).all()


def test_only_the_strongest_neighbours_are_kept() -> None:
    sequences, rows, starts = drawn(1)
    found, expected = learn(rows, starts, ITEMS, most=3), slow(sequences)
    for item in range(1, ITEMS + 1):
        strengths = sorted(
            (value for (first, _), value in expected.items() if first == item), reverse=True
        )
        np.testing.assert_allclose(found.weights[item], (strengths + [0.0] * 3)[:3], atol=1e-5)


def test_sums_decay_with_age_and_end_after_fifteen_events() -> None:
    _, rows, starts = drawn(2)
    found = learn(rows, starts, ITEMS)
    random = np.random.default_rng(3)
    recent = random.integers(0, ITEMS + 1, (4, 32))
    sums = found.sums(torch.from_numpy(recent))
    expected = np.zeros((4, ITEMS + 1))
    for user in range(4):
        for age in range(15):
            row = recent[user, age]
            np.add.at(expected[user], found.neighbours[row], 0.7**age * found.weights[row])
    expected[:, 0] = 0
    np.testing.assert_allclose(sums, expected, rtol=2e-3)  # held in float16
    changed = recent.copy()
    changed[:, 15:] = 1
    assert (found.sums(torch.from_numpy(changed)) == sums).all()


def test_users_do_not_touch_each_other() -> None:
    rows, starts = np.array([1, 2, 3, 4]), np.array([0, 2, 4])
    found = learn(rows, starts, ITEMS)
    assert found.neighbours[2].tolist() == [1]
    assert found.neighbours[3].tolist() == [4]


def test_what_came_after_counts_twice_what_came_before() -> None:
    """One user: 1, 2. Forwards 1 / distance = 1, backwards half.

    Each is divided by the root of count + 1 = 2.
    """
    found = learn(np.array([1, 2]), np.array([0, 2]), ITEMS)
    assert abs(found.weights[1, 0] - 1 / 2**0.5) < 1e-6
    assert abs(found.weights[2, 0] - 0.5 / 2**0.5) < 1e-6


def test_nothing_to_learn_from_is_no_failure() -> None:
    found = learn(np.array([3, 0, 3]), np.array([0, 2, 3]), ITEMS)
    assert (found.sums(torch.full((2, 32), 3)) == 0).all()


@pytest.mark.parametrize(("items", "kept"), [(100, 99), (DENSE_ITEMS, FEW)])
def test_small_catalogues_keep_more_neighbours(items: int, kept: int) -> None:
    """The first item was met with each of 99 others.

    A dense table costs no more for knowing all of them.
    """
    rows = np.array([[1, other] for other in range(2, 101)]).ravel()
    found = learn(rows, np.arange(0, len(rows) + 1, 2), items)
    assert (found.neighbours[1] > 0).sum() == kept

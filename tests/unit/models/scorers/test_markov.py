"""The vectorised counts against a slow loop over the definition in models/scorers/markov.py."""

from __future__ import annotations

import math
from collections import Counter
from itertools import pairwise

import numpy as np
import pytest
import torch

from models.scorers import markov
from models.scorers.markov import FLOOR, PRIOR, Markov, learn, newest_two
from tests.support.scorer_inputs import input_of

ITEMS = 9


def test_the_table_is_the_definition() -> None:
    random = np.random.default_rng(0)
    sequences = [random.integers(0, ITEMS + 1, random.integers(1, 20)).tolist() for _ in range(15)]
    starts = np.concatenate(([0], np.cumsum([len(each) for each in sequences])))
    found = learn(np.concatenate(sequences), starts, ITEMS)
    counted = Counter[tuple[int, int]]()
    for rows in sequences:
        known = [row for row in rows if row]  # a search in between hides nothing
        counted.update(pairwise(known))
    total = Counter[int]()
    for (first, _), count in counted.items():
        total[first] += count
    stored = {
        (item, int(row)): float(score)
        for item in range(ITEMS + 1)
        for row, score in zip(found.rows[item], found.values[item], strict=True)
        if row
    }
    assert stored.keys() == counted.keys()
    for (first, second), count in counted.items():
        assert stored[first, second] == pytest.approx(
            math.log(1 + count / (total[first] + PRIOR) / FLOOR), rel=1e-5
        )


def test_what_came_after_most_often_is_kept(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(markov, "MANY", 1)
    found = learn(np.array([1, 2, 1, 3, 1, 3]), np.array([0, 6]), 3)
    assert found.rows.tolist() == [[0], [3], [1], [1]]


def test_the_newest_known_item_counts_and_nobody_without_one_gets_a_score() -> None:
    found = learn(np.array([1, 2, 3, 1, 2]), np.array([0, 5]), 3)
    recent = torch.tensor([[0, 1, 3, 0], [0, 0, 0, 0]])
    assert newest_two(recent).tolist()[0] == [1, 2]
    scores = Markov(found).scores(input_of(recent, items=3)).scores
    assert scores[0].nonzero()[:, 0].tolist() == [2]  # after 1 came 2 only
    assert (scores[1] == 0).all()

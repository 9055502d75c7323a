"""The tables of pairs that a model is made of."""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from models.pairs import learn, learn_before_last

ITEMS = 8


def test_before_last_knows_nothing_of_the_last_events() -> None:
    rows, starts = np.array([1, 2, 3, 4, 5, 6]), np.array([0, 3, 6])
    without = learn(np.array([1, 2, 4, 5]), np.array([0, 2, 4]), ITEMS)
    found = learn_before_last(rows, starts, ITEMS)
    assert found.ease is not None
    assert without.ease is not None
    assert found.followers is not None
    assert without.followers is not None
    for ours, expected in ((found.cooccurrence, without.cooccurrence), (found.ease, without.ease)):
        assert (ours.neighbours == expected.neighbours).all()
        assert (ours.weights == expected.weights).all()
    assert (found.followers.rows == without.followers.rows).all()


def test_a_table_that_another_model_lacks_is_left_out() -> None:
    found = learn(np.array([1, 2, 3, 1, 2, 3]), np.array([0, 3, 6]), ITEMS)
    assert found.as_in(replace(found, ease=None)).ease is None
    assert found.as_in(replace(found, followers=None)).followers is None
    assert found.as_in(found) == found

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
    events = np.array([1, 2, 3, 1, 2, 3]), np.array([0, 3, 6]), ITEMS
    found = learn(*events)
    assert learn(*events, replace(found, ease=None)).ease is None
    assert learn(*events, replace(found, followers=None)).followers is None
    again = learn(*events, found)
    assert found.ease is not None
    assert again.ease is not None
    assert found.followers is not None
    assert again.followers is not None
    assert (again.ease.weights == found.ease.weights).all()
    assert (again.followers.scores == found.followers.scores).all()
    assert (again.cooccurrence.weights == found.cooccurrence.weights).all()

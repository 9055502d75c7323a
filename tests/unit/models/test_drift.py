"""Reactions and false switches on sequences that can be counted by eye."""

from __future__ import annotations

import numpy as np
import pytest

from models.drift import NEVER, best_counter, counters, drift, last_seen


def letters(text: str) -> np.ndarray:
    return np.array([ord(letter) for letter in text])


def test_reactions_and_false_switches() -> None:
    true = letters("aaabbbbcc" + "aabb")
    named = letters("aaaaabbbb" + "cabb")
    user = np.array([0] * 9 + [1] * 4)
    found = drift(named, true, user)
    assert found.reactions.tolist() == [3.0, NEVER, 1.0]  # b third, c never, the other user's b at once
    assert found.right == pytest.approx(8 / 13)
    assert found.false_per_100 == 0  # it changed to b while b was true, and to a and b likewise
    flighty = drift(letters("abaca"), letters("aaaaa"), np.zeros(5))
    assert flighty.false_per_100 == 100 * 2 / 5
    assert len(flighty.reactions) == 0


def test_a_reaction_is_not_taken_from_the_next_user() -> None:
    assert drift(letters("aab"), letters("abb"), np.array([0, 0, 1])).reactions.tolist() == [NEVER]


def test_counters_decay_and_start_anew_with_each_user() -> None:
    touched = np.array([[1, 0], [0, 1], [0, 1], [1, 0]], bool)
    found = counters(touched, np.array([0, 0, 0, 1]), 1)
    assert found.tolist() == [[1, 0], [0.5, 1], [0.25, 1.5], [1, 0]]
    assert last_seen(np.array([[1.0, 1.0]]), np.array([[False, True]])).tolist() == [1]


def test_the_best_counter_is_the_fastest_that_is_wrong_no_more_often() -> None:
    model = drift(letters("aaabbb"), letters("aabbbb"), np.zeros(6))
    fast = drift(letters("abcbbb"), letters("aabbbb"), np.zeros(6))  # at once, but names what is not there
    slow = drift(letters("aaaabb"), letters("aabbbb"), np.zeros(6))
    slower = drift(letters("aaaaab"), letters("aabbbb"), np.zeros(6))
    assert best_counter({1: fast, 2: slow, 4: slower}, model) == 2
    assert best_counter({1: fast}, model) is None
    assert model.summary()["median"] == 2.0

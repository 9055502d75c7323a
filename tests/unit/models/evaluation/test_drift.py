"""Checks reactions and false switches on sequences that can be counted by eye."""

from __future__ import annotations

import numpy as np
import pytest

from models.evaluation.drift import (
    NEVER,
    SimulationRates,
    best_tracker,
    decayed_counters,
    filtered_beliefs,
    measure_tracker,
    most_probable,
    window_counts,
)


def letters(text: str) -> np.ndarray:
    return np.array([ord(letter) for letter in text])


def test_reactions_and_false_switches() -> None:
    true = letters("aaabbbbcc" + "aabb")
    named = letters("aaaaabbbb" + "cabb")
    user = np.array([0] * 9 + [1] * 4)
    found = measure_tracker(named, true, user)
    assert found.reactions.tolist() == [
        3.0,
        NEVER,
        1.0,
    ]  # b third, c never, the other user's b at once
    assert found.right == pytest.approx(8 / 13)
    assert found.false_per_100 == 0  # it changed to b while b was true, and to a and b likewise
    flighty = measure_tracker(letters("abaca"), letters("aaaaa"), np.zeros(5))
    assert flighty.false_per_100 == 100 * 2 / 5
    assert len(flighty.reactions) == 0


def test_a_reaction_is_not_taken_from_the_next_user() -> None:
    assert measure_tracker(
        letters("aab"), letters("abb"), np.array([0, 0, 1])
    ).reactions.tolist() == [NEVER]


def test_counters_decay_and_start_anew_with_each_user() -> None:
    touched = np.array([[1, 0], [0, 1], [0, 1], [1, 0]], bool)
    found = decayed_counters(touched, np.array([0, 0, 0, 1]), 1)
    assert found.tolist() == [[1, 0], [0.5, 1], [0.25, 1.5], [1, 0]]
    assert most_probable(np.array([[1.0, 1.0]]), np.array([[False, True]])).tolist() == [1]


def test_the_last_events_of_a_user_are_counted_and_no_others() -> None:
    touched = np.array([[1, 0], [0, 1], [0, 1], [1, 0]], bool)
    found = window_counts(touched, np.array([0, 0, 0, 1]), 2)
    assert found.tolist() == [[1, 0], [1, 1], [0, 2], [1, 0]]


def test_the_filter_follows_rabiners_forward_pass() -> None:
    """Checks two interests by hand: half and half, times the likelihood, and a switch between."""
    found = filtered_beliefs(
        np.array([[1, 0], [0, 1]], bool), np.zeros(2), SimulationRates(switch=0.1, true=0.6)
    )
    first = np.array([0.8, 0.2])
    after = np.array([0.9 * 0.8 + 0.1 * 0.2, 0.9 * 0.2 + 0.1 * 0.8]) * [0.2, 0.8]
    assert found == pytest.approx(np.array([first, after / after.sum()]))


def test_the_filter_learns_nothing_from_an_event_that_touches_nothing() -> None:
    found = filtered_beliefs(
        np.zeros((1, 4), bool), np.zeros(1), SimulationRates(switch=0.1, true=0.6)
    )
    assert found == pytest.approx(np.full((1, 4), 0.25))


def test_an_interest_returns_if_it_was_true_before() -> None:
    true = letters("aabbaa")
    found = measure_tracker(true, true, np.zeros(6))
    assert (found.reactions.tolist(), found.returning.tolist()) == ([1.0, 1.0], [False, True])
    assert (
        measure_tracker(letters("aab"), letters("aab"), np.zeros(3)).summary()["returning median"]
        is None
    )


def test_the_best_tracker_is_the_fastest_that_is_wrong_no_more_often() -> None:
    model = measure_tracker(letters("aaabbb"), letters("aabbbb"), np.zeros(6))
    fast = measure_tracker(
        letters("abcbbb"), letters("aabbbb"), np.zeros(6)
    )  # at once, but names what is not there
    slow = measure_tracker(letters("aaaabb"), letters("aabbbb"), np.zeros(6))
    slower = measure_tracker(letters("aaaaab"), letters("aabbbb"), np.zeros(6))
    assert best_tracker({"fast": fast, "slow": slow, "slower": slower}, model) == "slow"
    assert best_tracker({"fast": fast}, model) is None
    assert model.summary()["median"] == 2.0


def test_noticed_within_so_many_events_rises_to_what_is_noticed_at_all() -> None:
    named, true = (
        letters("aaabbbccac"),
        letters("abbbbbccca"),
    )  # b after three events, c at once, a never: the next user comes
    found = measure_tracker(named, true, np.zeros(10)).summary()
    assert found["noticed within"][:4] == [1 / 3, 1 / 3, 2 / 3, 2 / 3]
    assert found["noticed within"][-1] == found["noticed"]

"""Checks the measure of reliability: on drawn outcomes, and on values worked out by hand."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays

from models.contract import TRENDS, InterestScores
from models.data.interests import InterestConfig, find_interests
from models.data.prepare import Dataset
from models.data.splits import Split, split
from models.evaluation import reliability as measure
from models.evaluation.interest_baselines import touched_rows
from models.evaluation.reliability import Shown

Array = np.ndarray[Any, Any]
HOUR = 3_600_000

probabilities = st.integers(1, 60).flatmap(
    lambda size: arrays.arrays(
        np.float64, size, elements=st.sampled_from([place / 8 for place in range(9)])
    )
)


@given(probabilities, st.integers(0, 2**32 - 1))
@settings(max_examples=60)
def test_bins_hold_everything_once_and_no_order_matters(said: Array, seed: int) -> None:
    random = np.random.default_rng(seed)
    was = random.random(len(said)) < 0.5
    bins = measure.equal_mass_bins(said, was)
    assert sum(each["count"] for each in bins) == len(said)
    assert [each["probability"] for each in bins] == sorted(each["probability"] for each in bins)
    assert sum(each["happened"] * each["count"] for each in bins) == pytest.approx(was.sum())
    order = random.permutation(len(said))
    for one, other in zip(measure.equal_mass_bins(said[order], was[order]), bins, strict=True):
        assert one == pytest.approx(other)
    # the error is that of the bins, and the gap of means never exceeds it
    error = measure.equal_mass_error(said, was)
    by_bins = sum(abs(each["probability"] - each["happened"]) * each["count"] for each in bins)
    assert error == pytest.approx(by_bins / len(said))
    assert abs(said.mean() - was.mean()) <= error + 1e-12 <= 1 + 1e-12


@given(probabilities)
@settings(max_examples=30)
def test_what_is_certain_and_happens_has_no_error(said: Array) -> None:
    sure = np.round(said)
    assert measure.equal_mass_error(sure, sure > 0) == 0
    assert measure.error_by_chance(sure) == (0.0, 0.0)
    assert measure.equal_mass_error(sure, sure == 0) == 1


def test_bins_have_equally_many_where_all_differ() -> None:
    said = np.linspace(0.01, 0.99, 150)
    bins = measure.equal_mass_bins(said, said > 0.5)
    assert [each["count"] for each in bins] == [10] * 15


@pytest.mark.parametrize("seed", range(3))
def test_right_probabilities_stay_within_chance_and_wrong_ones_do_not(seed: int) -> None:
    random = np.random.default_rng(seed)
    said = random.beta(2, 3, 4_000)
    mean, most = measure.error_by_chance(said, seed)
    right = random.random(4_000) < said
    assert 0.4 * mean < measure.equal_mass_error(said, right) < 1.2 * most
    sure = said**2 / (said**2 + (1 - said) ** 2)
    assert measure.equal_mass_error(sure, right) > 2 * most
    # few cases show less: chance says how much less
    assert measure.error_by_chance(said[:100], seed)[0] > 3 * mean


def test_the_most_probable_are_shown_of_equal_ones_the_first() -> None:
    said = np.array([[0.2, 0.7, 0.2, 0.9], [0.5, 0.5, 0.5, 0.1]], np.float32)
    trend = np.arange(8, dtype=np.uint8).reshape(2, 4)
    shown = Shown.of(InterestScores(said, said - 0.1, trend), 2)
    assert shown.which.tolist() == [[3, 1], [0, 1]]
    assert shown.trend.tolist() == [[3, 1], [4, 5]]
    assert shown.change == pytest.approx(shown.probability - 0.1)
    halves = [Shown.of(InterestScores(said[[row]], said[[row]], trend[[row]])) for row in (1, 0)]
    joined = Shown.joined(halves, [np.array([1]), np.array([0])])
    assert joined.which[:, :2].tolist() == shown.which.tolist()
    assert joined.uncorrected is None
    parts = [
        Shown.of(InterestScores(said[[row]], said[[row]], trend[[row]], said[[row]] / 2))
        for row in (1, 0)
    ]
    joined = Shown.joined(parts, [np.array([1]), np.array([0])])
    assert joined.uncorrected == pytest.approx(joined.probability / 2)


@pytest.fixture
def walks(prepared: Callable[..., Dataset]) -> Split:
    """Returns 40 users who take A twice, then B eight times, an hour apart; asked from the cut."""
    events = [
        (f"u{user}", "a" if place < 2 else "b", place * HOUR + user)
        for user in range(40)
        for place in range(10)
    ]
    items = {"a": ("A",), "b": ("B",)}
    dataset = find_interests(
        prepared(events, items), InterestConfig(least_items=1, largest_share=1)
    )
    return split(dataset, "time-split", cut_ms=4 * HOUR)


def said_of(cut: Split) -> Shown:
    """Returns the same at each case: A has 0.1, B has 0.9; the slower average is a half."""
    chance = [{"A": 0.1, "B": 0.9}[name] for name in cut.whole.interests]
    said = np.tile(np.array(chance, np.float32), (len(cut.cases), 1))
    trend = np.where(said > 0.5, TRENDS.index("rising"), TRENDS.index("fading")).astype(np.uint8)
    return Shown.of(InterestScores(said, said - 0.5, trend))


def test_what_is_said_and_what_happens(walks: Split) -> None:
    touched = touched_rows(walks.whole)
    found = measure.reliability(said_of(walks), touched, walks.cases, walks.whole)
    first = found["first"]
    assert (first["cases"], first["happened"]) == (240, 1.0)
    assert first["gap"] == pytest.approx(-0.1)
    assert first["ECE"] == pytest.approx(0.1)
    assert found["first_five"]["ECE"] == pytest.approx(0.1)  # A is said to be 0.1, and never comes
    assert [(each["history"], each["cases"]) for each in found["by_history"]] == [("4-10", 240)]
    assert [(each["age"], each["cases"]) for each in found["by_age"]] == [("up to an hour", 240)]
    assert [each["verdict"] for each in found["targets"]] == ["missed"] * 3


def test_what_was_said_before_calibration_stands_beside_it(walks: Split) -> None:
    shown = said_of(walks)
    before = replace(shown, uncorrected=shown.probability / 2)
    touched = touched_rows(walks.whole)
    found = measure.reliability(before, touched, walks.cases, walks.whole)
    assert found["uncorrected"]["first"]["said"] == pytest.approx(0.45)
    assert found["uncorrected"]["first"]["gap"] == pytest.approx(-0.55)
    assert found["uncorrected"]["first_five"]["cases"] == found["first_five"]["cases"]
    assert found["first"]["gap"] == pytest.approx(-0.1)
    assert "uncorrected" not in measure.reliability(shown, touched, walks.cases, walks.whole)


def test_trends_are_held_against_the_next_events(walks: Split) -> None:
    touched = touched_rows(walks.whole)
    found = measure.reliability(said_of(walks), touched, walks.cases, walks.whole)
    rows = {each["trend"]: each for each in found["trends"]}
    assert rows["rising"]["said"] == pytest.approx(0.4)
    assert rows["rising"]["happened"] == pytest.approx(0.5)
    assert rows["fading"]["happened"] == pytest.approx(-0.5)
    # the last 4 of 6 cases of a user have less than 5 events from the case on
    assert rows["rising"]["followed"] == 80
    assert (rows["rising"]["above"], rows["fading"]["above"]) == (1.0, 0.0)


def test_events_without_times_have_no_age(walks: Split) -> None:
    assert measure.age_ms(walks.whole, walks.cases).tolist() == [HOUR] * 240
    walks.whole.report["events_without_time"] = 3
    found = measure.reliability(said_of(walks), touched_rows(walks.whole), walks.cases, walks.whole)
    assert found["by_age"] == []


def test_few_cases_cannot_tell() -> None:
    """A gap or an error that chance explains is neither met nor missed."""
    first = {"gap": 0.05, "gap interval": (-0.01, 0.11), "ECE": 0.1, "ECE by chance": (0.07, 0.12)}
    every = {"ECE": 0.01, "ECE by chance": (0.002, 0.005)}
    verdicts = [each["verdict"] for each in measure.judged(first, every)]
    assert verdicts == ["cannot be told", "cannot be told", "met"]

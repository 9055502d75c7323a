"""Compares two models on one set of cases.

The better one has to differ, a model from itself must not; of other catalogues they are compared on
what they share.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import pytest

from models.compact import hash64
from models.contract import InterestScores
from models.data.interests import InterestConfig, find_interests
from models.data.prepare import Dataset
from models.data.splits import Split, split
from models.errors import ModelDataError
from models.evaluation.compare import compare_models
from models.evaluation.reports.studies import comparison_table

Array = np.ndarray[Any, Any]


@dataclass
class Info:
    name: str
    items: tuple[str, ...]
    interests: tuple[str, ...]
    version: str = "1"
    state_size: int = 1


class Walker:
    """Predicts that everybody goes `towards` letters forwards; its catalogue has any order."""

    def __init__(
        self,
        name: str,
        items: str,
        towards: int,
        interests: tuple[str, ...] = ("Consonants", "Vowels"),
    ) -> None:
        self.info = Info(name, tuple(items), interests)
        self._towards = towards
        self._number = {hash64(letter): place for place, letter in enumerate(LETTERS)}

    def step(self, state: Array, events: Array, sizes: Array, previous_ms: Array) -> Array:
        return state

    def score_all(self, state: Array, recent: Array) -> Array:
        scores = np.zeros((len(recent), len(self.info.items)), np.float32)
        for row, key in enumerate(recent["key"][:, 0].tolist()):
            wanted = LETTERS[(self._number[key] + self._towards) % len(LETTERS)]
            if wanted in self.info.items:
                scores[row, self.info.items.index(wanted)] = 1
        return scores

    def interest_scores(self, state: Array, recent: Array) -> InterestScores:
        half = np.full((len(recent), len(self.info.interests)), 0.5, np.float32)
        return InterestScores(half, 0 * half, np.zeros(half.shape, np.uint8))


LETTERS = "abcdefghijklmnopqrstuvwxyz"


@pytest.fixture
def circle(prepared: Callable[..., Dataset]) -> Split:
    items = {letter: ("Vowels",) if letter in "aeiou" else ("Consonants",) for letter in LETTERS}
    events = [
        (f"u{user}", LETTERS[(user + place) % 26], place)
        for user in range(40)
        for place in range(4 + user % 3)
    ]
    return split(find_interests(prepared(events, items), InterestConfig()))


def test_the_better_model_is_told_apart_whatever_the_order_of_its_catalogue(circle: Split) -> None:
    found = compare_models(Walker("bad", LETTERS, -1), Walker("good", LETTERS[::-1], 1), circle)
    measures = {row["measure"]: row for row in found["measures"]}
    assert (measures["HR@1"]["first"], measures["HR@1"]["second"]) == (0.0, 1.0)
    assert measures["HR@1"]["second minus first"] == (1.0, 1.0)
    assert measures["NLL of interests"]["second minus first"] == (0.0, 0.0)
    shown = {row[0]: row for row in comparison_table(found).rows}
    assert shown["HR@1"][4] == "differ"
    assert shown["NLL of interests"][4] == "not told apart"


def test_interests_are_left_out_where_the_models_name_others(circle: Split) -> None:
    found = compare_models(Walker("a", LETTERS, 1), Walker("b", LETTERS, 1, ("Letters",)), circle)
    assert not [row for row in found["measures"] if "interests" in row["measure"]]
    assert all(row["second minus first"] == (0.0, 0.0) for row in found["measures"])


def test_models_of_other_catalogues_are_compared_on_what_they_share(circle: Split) -> None:
    """Checks a retraining with new items and without one old one: z is no case and no candidate."""
    found = compare_models(Walker("a", LETTERS, 1), Walker("b", "!?" + LETTERS[24::-1], 1), circle)
    about_z = int((circle.cases.target == LETTERS.index("z")).sum())
    assert about_z
    assert found["cases"] == len(circle.cases) - about_z
    assert found["candidates"] == 25
    assert found["left_out"] == {"cases": about_z, "items_of_one_model": [1, 2]}
    measures = {row["measure"]: row for row in found["measures"]}
    assert (measures["HR@1"]["first"], measures["HR@1"]["second"]) == (1.0, 1.0)
    note = comparison_table(found).note
    assert f"{about_z} cases about them are left out" in note


def test_models_that_share_nothing_are_refused(circle: Split) -> None:
    with pytest.raises(ModelDataError, match="share no item"):
        compare_models(Walker("a", LETTERS, 1), Walker("b", LETTERS.upper(), 1), circle)


@pytest.mark.parametrize(("protocol", "measure"), [("sessions", "MRR@20"), ("time-split", "MRR")])
def test_reciprocal_ranks_are_cut_at_20_where_sessions_are_asked(
    circle: Split, protocol: str, measure: str
) -> None:
    walkers = Walker("a", LETTERS, 1), Walker("b", LETTERS, 1)
    found = compare_models(*walkers, replace(circle, protocol=protocol))
    assert [row["measure"] for row in found["measures"] if "MRR" in row["measure"]] == [measure]

"""Two models on one set of cases: the better one is told apart, a model from itself is not, other catalogues are refused."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
import pytest

from models.compact import hash64
from models.compare import compare
from models.errors import ModelDataError
from models.interests import InterestConfig, find_interests
from models.prepare import Dataset
from models.protocols import Split, split
from models.report import comparison_table

Array = np.ndarray[Any, Any]


@dataclass
class Info:
    name: str
    items: tuple[str, ...]
    interests: tuple[str, ...]
    version: str = "1"
    state_size: int = 1


class Walker:
    """Says that everybody takes `towards` letters forwards; its catalogue may stand in any order."""

    def __init__(
        self, name: str, items: str, towards: int, interests: tuple[str, ...] = ("Consonants", "Vowels")
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
            scores[row, self.info.items.index(wanted)] = 1
        return scores

    def interest_probabilities(self, state: Array, recent: Array) -> Array:
        return np.full((len(recent), len(self.info.interests)), 0.5, np.float32)


LETTERS = "abcdefghijklmnopqrstuvwxyz"


@pytest.fixture
def circle(prepared: Callable[..., Dataset]) -> Split:
    items = {letter: ("Vowels",) if letter in "aeiou" else ("Consonants",) for letter in LETTERS}
    events = [(f"u{user}", LETTERS[(user + place) % 26], place) for user in range(40) for place in range(4 + user % 3)]
    return split(find_interests(prepared(events, items), InterestConfig()))


def test_the_better_model_is_told_apart_whatever_the_order_of_its_catalogue(circle: Split) -> None:
    found = compare(Walker("bad", LETTERS, -1), Walker("good", LETTERS[::-1], 1), circle)
    measures = {row["measure"]: row for row in found["measures"]}
    assert (measures["HR@1"]["first"], measures["HR@1"]["second"]) == (0.0, 1.0)
    assert measures["HR@1"]["second minus first"] == (1.0, 1.0)
    assert measures["NLL of interests"]["second minus first"] == (0.0, 0.0)
    shown = {row[0]: row for row in comparison_table(found).rows}
    assert shown["HR@1"][4] == "differ"
    assert shown["NLL of interests"][4] == "not told apart"


def test_interests_are_left_out_where_the_models_name_others(circle: Split) -> None:
    found = compare(Walker("a", LETTERS, 1), Walker("b", LETTERS, 1, ("Letters",)), circle)
    assert not [row for row in found["measures"] if "interests" in row["measure"]]
    assert all(row["second minus first"] == (0.0, 0.0) for row in found["measures"])


def test_models_of_other_catalogues_are_refused(circle: Split) -> None:
    with pytest.raises(ModelDataError, match="know different items"):
        compare(Walker("a", LETTERS, 1), Walker("b", LETTERS[:25] + "?", 1), circle)

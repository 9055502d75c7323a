"""Compares interest baselines with values worked out by hand on a handful of events."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest

from models.data.interests import InterestConfig, find_interests
from models.data.prepare import Dataset
from models.data.splits import split
from models.evaluation.interest_baselines import DecayCounter, InterestPopularity, decayed_counts

Make = Callable[..., Dataset]
Letters = Callable[..., list[tuple[str, str, int]]]


def test_decayed_counts_halve_with_each_half_life(prepared: Make, histories: Letters) -> None:
    items = {"a": ("A",), "b": ("B",), "c": ("A", "B")}
    dataset = find_interests(
        prepared(histories({"u": "abcba"}), items), InterestConfig(least_items=1, largest_share=1)
    )
    cut = split(dataset)  # asked after a b c b
    counts, total = decayed_counts(dataset, cut.cases, 1)
    by_name = dict(zip(dataset.interests, counts[0].tolist(), strict=True))
    assert by_name == {"A": 1 / 2 + 1 / 8, "B": 1 + 1 / 2 + 1 / 4}
    assert total[0, 0] == 1 + 1 / 2 + 1 / 4 + 1 / 8


def test_a_counter_finds_what_popularity_cannot(prepared: Make, histories: Letters) -> None:
    loyal = {f"a{number}": "ababababab" for number in range(20)} | {
        f"c{number}": "cdcdcdcdcd" for number in range(20)
    }
    items = {"a": ("AB",), "b": ("AB",), "c": ("CD",), "d": ("CD",)}
    cut = split(find_interests(prepared(histories(loyal), items), InterestConfig(least_items=1)))
    counter = DecayCounter(cut, 8)
    assert counter.prior == 0.5  # the least popularity: these users never stray
    found = counter.probabilities(cut.cases)
    mine = np.array([cut.whole.users[user][0] == "a" for user in cut.cases.user])
    place = cut.whole.interests.index("AB")
    assert found[mine, place].min() > 0.9 > 0.1 > found[~mine, place].max()
    assert InterestPopularity(cut).probabilities(cut.cases)[0, place] == pytest.approx(0.5)

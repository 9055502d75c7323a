"""Compares baselines with values worked out by hand on a handful of events."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest

from models.data.prepare import Dataset
from models.data.splits import split
from models.evaluation.baselines import (
    WEEK_MS,
    Cooccurrence,
    Markov,
    OwnItems,
    Popularity,
    RecentPopularity,
    TextNeighbours,
    item_baselines,
)

Make = Callable[..., Dataset]
Letters = Callable[..., list[tuple[str, str, int]]]


def test_popularity_counts_training_events_only(prepared: Make, histories: Letters) -> None:
    cut = split(
        prepared(histories({"u": "aab", "v": "abb", "w": "ca"}), "abc")
    )  # last ones held out: b, b, a
    assert Popularity(cut).scores(cut.cases).tolist() == [[3.0, 1.0, 1.0]] * 3


def test_recent_popularity_sees_seven_days_and_nothing_later(prepared: Make) -> None:
    now = 10 * WEEK_MS
    events = [
        *(("old", "a", time) for time in (1, 2, 3)),
        ("old", "b", 4),
        ("live", "b", now - WEEK_MS),
        ("live", "b", now - 1),
        ("live", "c", now),
        ("later", "a", now + 1),
        ("later", "a", now + 2),
        ("later", "a", now + 3),
    ]
    cut = split(prepared(events, "abc"))
    scores = RecentPopularity(cut).scores(cut.cases)
    live = scores[cut.whole.users.index("live")]
    assert np.round(live).tolist() == [0.0, 2.0, 0.0]
    assert live[0] > live[2]  # popularity fills where the week says nothing


def test_markov_follows_the_last_item_and_fills_with_popularity(
    prepared: Make, histories: Letters
) -> None:
    cut = split(
        prepared(histories({"u": "abx", "v": "abx", "w": "acx", "p": "ab", "q": "ca"}), "abcx")
    )
    scores = Markov(cut).scores(cut.cases)
    after_a, after_c = scores[cut.whole.users.index("p")], scores[cut.whole.users.index("q")]
    assert np.floor(after_a).tolist() == [0.0, 2.0, 1.0, 0.0]
    assert after_c.argsort()[::-1].tolist() in (
        [0, 1, 2, 3],
        [0, 2, 1, 3],
    )  # nothing followed c: a 4, b 2, c 2, x 0


def test_cooccurrence_is_the_published_floor(prepared: Make, histories: Letters) -> None:
    cut = split(prepared(histories({"u": "abcx", "v": "abb"}), "abcx"))
    # training: a b c and a b, so counts a 2, b 2, c 1. From v's history a b, b the newest:
    # to a: 0.5 backwards from b, twice; to b: 1 from a, twice, times 0.7; to c: 1 from b and
    # 0.7 * 1/2 from a
    expected = [2 * 0.5 / 3**0.5, 0.7 * 2 / 3**0.5, (1 + 0.7 * 0.5) / 2**0.5, 0.0]
    scores = Cooccurrence(cut).scores(cut.cases)
    assert scores[1] == pytest.approx(expected, abs=1e-5)


def test_without_times_there_is_no_recent_popularity(prepared: Make, histories: Letters) -> None:
    cut = split(prepared(histories({"u": "abc"}), "abc"))
    assert len(item_baselines(cut)) == 6
    cut.whole.report["events_without_time"] = 3
    assert [each.name for each in item_baselines(cut)] == [
        "popularity",
        "first-order Markov",
        "co-occurrence",
        "own last items",
        "nearest titles",
    ]
    cut.whole.titles[:] = cut.whole.item_ids  # bare ids have no words to compare
    assert item_baselines(cut)[-1].name == "own last items"


def test_own_items_come_latest_first_and_then_what_is_popular(
    prepared: Make, histories: Letters
) -> None:
    cut = split(prepared(histories({"u": "abacx", "v": "ddd", "w": "ddde"}), "abcdex"))
    scores = OwnItems(cut).scores(cut.cases)[cut.whole.users.index("u")]
    assert ["abcdex"[item] for item in np.argsort(-scores, kind="stable")][:4] == list("cabd")


def test_titles_that_share_words_are_near(prepared: Make, histories: Letters) -> None:
    dataset = prepared(histories({"u": "ab", "v": "cd", "w": "ee"}), "abcdef")
    dataset.titles[:] = ["green tent", "small green tent", "desk lamp", "brass lamp", "tea", "!"]
    cut = split(dataset)
    scores = TextNeighbours(cut).scores(cut.cases)
    order = {
        user: scores[place].argsort()[::-1].tolist() for place, user in enumerate(cut.whole.users)
    }
    assert order["u"][:2] == [0, 1]  # itself, then the other tent
    assert order["v"][:2] == [2, 3]
    assert np.isfinite(scores).all()
    assert (scores[:, 5] == 0).all()  # a title without words is near nothing

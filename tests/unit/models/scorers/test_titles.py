"""The table of like titles against a slow loop over the cosine of their words."""

from __future__ import annotations

import math
from collections import Counter

import numpy as np
import pytest
import torch

from models.scorers import titles
from models.scorers.scorer import Histories, Pull
from models.scorers.titles import DECAY, EQUAL, Titles, learn, titles_that_say
from tests.support.scorer_inputs import input_of

WORDS = ("red", "blue", "mug", "plate", "of", "tin", "case")


def drawn(seed: int, count: int = 40) -> list[str]:
    """Titles of some words, of a few empty ones and of none that another has."""
    random = np.random.default_rng(seed)
    return [
        "",
        "Nothing-like-it",
        *(" ".join(random.choice(WORDS, random.integers(0, 5))) for _ in range(count - 2)),
    ]


def by_definition(said: list[str]) -> dict[tuple[int, int], float]:
    """The cosine of each pair of rows that share a word."""
    words = [set(title.split()) for title in said]
    count = Counter(word for title in words for word in title)
    rarity = {word: math.log((len(said) + 1) / many) for word, many in count.items()}
    length = [math.sqrt(sum(rarity[word] ** 2 for word in title)) for title in words]
    return {
        (a + 1, b + 1): sum(rarity[word] ** 2 for word in words[a] & words[b])
        / (length[a] * length[b])
        for a in range(len(said))
        for b in range(len(said))
        if a != b and words[a] & words[b]
    }


def stored(found: tuple[np.ndarray, np.ndarray]) -> dict[tuple[int, int], float]:
    """What a table holds, by pairs of rows."""
    rows, alike = found
    return {
        (first, int(second)): float(value)
        for first in range(len(rows))
        for second, value in zip(rows[first], alike[first], strict=True)
        if second
    }


def scorer_of(said: list[str]) -> Titles:
    """The scorer of a catalogue."""
    found = Titles.learn(nobody(said))
    assert found is not None
    return found


def nobody(said: list[str]) -> Histories:
    """A catalogue of which nobody has met anything."""
    return Histories(np.zeros(0, np.int64), np.zeros(1, np.int64), len(said), titles=said)


@pytest.mark.parametrize("part", [1, 50, 10_000])
def test_the_table_is_the_definition_in_parts_of_any_size(
    monkeypatch: pytest.MonkeyPatch, part: int
) -> None:
    monkeypatch.setattr(titles, "PART", part)
    said = drawn(0)
    found = {pair: value / EQUAL for pair, value in stored(learn(said, len(said))).items()}
    assert found == pytest.approx(by_definition(said), rel=1e-5)


def test_each_item_keeps_those_that_are_most_alike(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(titles, "FEW", 2)
    said = ["red mug", "red mug large", "blue mug", "tin"]
    rows, alike = learn(said, 4)
    assert rows[1].tolist() == [2, 3]
    assert alike[1, 0] > alike[1, 1] > 0
    assert not rows[4].any()


def test_a_word_of_too_many_titles_joins_none(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(titles, "COMMON", 2)
    rows, _ = learn(["mug red", "mug red", "mug blue"], 3)
    assert rows[:, 0].tolist() == [0, 2, 1, 0]


def test_a_title_that_is_an_id_says_nothing() -> None:
    said = titles_that_say(["Red mug", "sku 7", "Mug"], ["1", "sku 7", "3"])
    assert said == ["Red mug", "", "Mug"]


def test_older_titles_count_less_and_items_that_nobody_met_have_a_score() -> None:
    scorer = scorer_of(["red mug", "blue tin", "red mug", "tin", "blue tin"])
    recent = torch.tensor([[1, 2], [2, 1]])
    scores = scorer.scores(input_of(recent, items=5)).scores[:, 1:]
    wanted = EQUAL * torch.tensor([1.0, DECAY])
    torch.testing.assert_close(scores[:, 2], wanted, rtol=2e-3, atol=1e-3)  # held in float16
    torch.testing.assert_close(scores[:, 4], wanted.flip(0), rtol=2e-3, atol=1e-3)


def test_an_event_that_is_left_out_takes_what_its_title_gave() -> None:
    said = drawn(1)
    scorer, random = scorer_of(said), torch.Generator().manual_seed(2)
    recent = torch.randint(0, len(said) + 1, (6, 5), generator=random)
    given = input_of(recent, len(said))
    pull = Pull(torch.randn(6, len(said) + 1), torch.zeros(6, 5), torch.full((6, 1), 0.7))
    before = scorer.scores(given).scores
    lost = scorer.lost(given.recent, (), pull)
    for place in range(lost.shape[1]):
        rows = recent.clone()
        rows[:, place] = 0
        after = scorer.scores(input_of(rows, len(said))).scores
        change = (pull.weight * pull.items * (before - after))[:, 1:].sum(1)
        torch.testing.assert_close(lost[:, place], change, rtol=1e-2, atol=1e-2)


@pytest.mark.parametrize("said", [[], ["red", "blue"], ["", ""]], ids=["none", "unlike", "empty"])
def test_titles_that_share_no_word_make_no_scorer(said: list[str]) -> None:
    assert Titles.learn(nobody(said)) is None

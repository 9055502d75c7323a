"""A model and its baselines in one table: a model that knows wins, one that does not is said to lose."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
import pytest
import torch

from models.compact import hash64
from models.errors import ModelDataError
from models.evaluate import Ranker, evaluate, live_popularity, of_model
from models.interests import InterestConfig, find_interests
from models.popularity import HOUR_MS
from models.prepare import Dataset, catalogue_rows
from models.protocols import Split, split
from models.report import reasons, result_tables
from models.report_page import to_html

Array = np.ndarray[Any, Any]


@dataclass
class Info:
    state_size: int = 1


class Successor:
    """Knows that everybody goes round the alphabet, forwards or (wrongly) backwards."""

    info = Info()

    def __init__(self, dataset: Dataset, step: int) -> None:
        self.dataset, self.towards = dataset, step
        self.keys = [hash64(item) for item in dataset.item_ids]

    def step(self, state: Array, events: Array, sizes: Array, previous_ms: Array) -> Array:
        return state

    def score_all(self, state: Array, recent: Array) -> Array:
        items = len(self.dataset.item_ids)
        last = catalogue_rows(recent["key"][:, 0], self.dataset.item_ids) - 1
        scores = np.zeros((len(recent), items), np.float32)
        scores[np.arange(len(recent)), (last + self.towards) % items] = 1
        return scores

    def interest_probabilities(self, state: Array, recent: Array) -> Array:
        indptr, indices = self.dataset.membership
        said = np.full((len(recent), len(self.dataset.interests)), 0.01, np.float32)
        for row, item in enumerate(self.score_all(state, recent).argmax(1).tolist()):
            said[row, indices[indptr[item] : indptr[item + 1]]] = 0.99
        return said


@pytest.fixture
def circle(prepared: Callable[..., Dataset]) -> Split:
    """Users who walk round 26 letters, each from another start; vowels and consonants are the interests."""
    letters = "abcdefghijklmnopqrstuvwxyz"
    items = {letter: ("Vowels",) if letter in "aeiou" else ("Consonants",) for letter in letters}
    events = [(f"u{user}", letters[(user + place) % 26], place) for user in range(60) for place in range(4 + user % 3)]
    return split(find_interests(prepared(events, items), InterestConfig()))


def test_a_model_that_knows_wins_and_every_scorer_is_in_the_table(circle: Split) -> None:
    found = evaluate(Successor(circle.whole, 1), circle)
    table = {row["scorer"]: row for row in found["items"]}
    assert list(table) == ["model", "popularity", "popularity, last 7 days", "first-order Markov", "co-occurrence"]
    assert table["model"]["HR@1"] == 1.0
    assert table["first-order Markov"]["HR@10"] > table["popularity"]["HR@10"]
    assert found["verdict"][0].startswith("The model beats popularity (HR@10 difference +0.")
    interests = {row["scorer"]: row for row in found["interests"]["table"]}
    assert interests["model"]["NLL"] == pytest.approx(-np.log(0.99), rel=1e-3)
    assert interests["popularity"]["this minus model"]["NLL"][0] > 0
    assert found["spread"]["coverage@10"] > 0.9


def test_a_model_that_is_wrong_is_said_to_be_behind(circle: Split) -> None:
    found = evaluate(Successor(circle.whole, -1), circle)
    assert found["items"][0]["HR@10"] == 0.0
    assert found["verdict"][2].startswith("The model is behind first-order Markov")


def test_seen_items_can_be_removed(circle: Split) -> None:
    kept, removed = (evaluate(Successor(circle.whole, 0), circle, seen=seen) for seen in ("keep", "remove"))
    # it always names the item just seen: with that removed all scores are equal, and ties count against it
    assert kept["seen_items"] == "stay candidates"
    assert removed["seen_items"] == "are no candidates"
    assert removed["items"][0]["MRR"] != kept["items"][0]["MRR"]
    with pytest.raises(ModelDataError, match="use keep or remove"):
        evaluate(Successor(circle.whole, 0), circle, seen="maybe")


def test_progress_is_told(circle: Split) -> None:
    told: list[tuple[str, int, int]] = []
    evaluate(Successor(circle.whole, 1), circle, progress=lambda *given: told.append(given))
    assert ("evaluate", 60, 60) in told
    assert told[-1] == ("baselines", 4, 4)


def test_the_report_shows_every_scorer_and_escapes_names(circle: Split) -> None:
    found = evaluate(Successor(circle.whole, 1), circle)
    tables = result_tables(found)
    assert [len(table.rows) for table in tables[::2]] == [5, 5]
    assert tables[0].rows[0][1] == "1.0000"
    page = to_html("<b>shop</b>", {"evaluation": found, "curves": {"lstm": [{"loss": 2.0}, {"loss": 1.0}]}})
    assert "<b>shop</b>" not in page
    assert "&lt;b&gt;shop&lt;/b&gt;" in page
    assert page.count("<svg") == 2


def test_a_report_says_why_a_model_may_be_behind() -> None:
    preparation = {"events": 50, "items_with_events": 10}
    curves = {
        "text": [{"loss": 1.0}],
        "lstm": [{"ndcg@10": 0.1}, {"ndcg@10": 0.2}],
        "bridge": [{"ndcg@10": 0.2}, {"ndcg@10": 0.1}],
    }

    def verdict(*names: str) -> dict[str, Any]:
        lines = [f"The model is behind {name} (HR@10 difference -0.2 to -0.1)." for name in names]
        return {
            "preparation": preparation,
            "curves": curves,
            "evaluation": {"verdict": [*lines, "The model beats popularity (x)."]},
        }

    assert reasons(verdict()) == []
    assert reasons(verdict("popularity, last 7 days"))[0].startswith("Behind the last 7 days' popularity")
    assert reasons(verdict("first-order Markov")) == [
        "Validation still rose when lstm ended: more epochs, or --effort normal, may help.",
        "There are 5.0 events an item to learn from; so few leave little beyond what neighbours say.",
    ]


def test_prequential_shows_accuracy_over_time_with_and_without_new_events(prepared: Callable[..., Dataset]) -> None:
    letters = "abcdefgh"
    events = [(f"u{user}", letters[(user + time) % 8], 10 * time + user) for time in range(40) for user in range(8)]
    dataset = find_interests(prepared(events, {letter: (letter,) for letter in letters}), InterestConfig(least_items=1))
    cut = split(dataset, "prequential")
    found = evaluate(Successor(dataset, 1), cut)
    table = {row["scorer"]: row for row in found["items"]}
    assert table["model"]["HR@1"] == 1.0
    assert table["model, states frozen at the cut"]["HR@1"] < 0.5  # right once a user, then it has not moved on
    over = found["over_time"]["model"]
    assert len(over) == 10
    assert sum(each["cases"] for each in over) == len(cut.cases)
    assert [each["until_ms"] for each in over] == sorted(each["until_ms"] for each in over)
    assert any(table.title == "HR@10 over time" for table in result_tables(found))


class Fashionable(Successor):
    """Says what is popular now."""

    def __init__(self, dataset: Dataset) -> None:
        super().__init__(dataset, 1)
        self.log_popularity = torch.zeros(len(dataset.item_ids) + 1)
        self.log_recent = torch.zeros(0)

    def use_popularity(self, log_recent: torch.Tensor) -> None:
        self.log_recent = log_recent

    def score_all(self, state: Array, recent: Array) -> Array:
        assert len(self.log_recent) == len(recent)
        return self.log_recent[:, 1:].numpy()


def test_a_live_model_knows_the_hours_before_each_case(prepared: Callable[..., Dataset]) -> None:
    """Every tenth day all users take another item: who counts the hours before knows it, but not in its first hour."""
    events = [
        (f"u{user}", "abcdefghij"[turn], (240 * turn + hour) * HOUR_MS + user)
        for turn in range(10)
        for hour in range(2)
        for user in range(30)
    ]
    dataset = find_interests(prepared(events, "abcdefghij"), InterestConfig(least_items=1, largest_share=1))
    cut = split(dataset, "time-split")
    model, ranker = Fashionable(cut.whole), Ranker(cut, "keep")
    rank, _ = of_model(model, cut, ranker, lambda *_: None, live_popularity(model, cut))
    later = cut.cases.time_ms % (240 * HOUR_MS) >= HOUR_MS
    newest = cut.cases.time_ms >= 240 * 9 * HOUR_MS  # the cut may leave one of the turn before
    assert (later & newest).sum() == (~later & newest).sum() == 30
    assert (rank[later & newest] == 0).all()
    assert (rank[~later & newest] > 0).all()
    assert evaluate(model, cut, live=True)["popularity"].startswith("live")


def test_data_without_times_has_no_live_popularity(circle: Split) -> None:
    circle.whole.report["events_without_time"] = 3
    with pytest.raises(ModelDataError, match="live popularity needs times"):
        evaluate(Fashionable(circle.whole), circle, live=True)

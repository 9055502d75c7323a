"""Checks the table of a model and its baselines: who knows more wins, and the verdict says so."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
import pytest
import torch

from models.compact import hash64
from models.contract import InterestScores
from models.data.interests import InterestConfig, find_interests
from models.data.prepare import Dataset, catalogue_rows
from models.data.splits import Split, split
from models.errors import ModelDataError
from models.evaluation.evaluate import Ranker, evaluate_model, live_popularity, rank_cases
from models.evaluation.reports.page import to_html
from models.evaluation.reports.results import result_tables
from models.progress import ignore_progress
from models.scorers.recent_popularity import HOUR_MS

Array = np.ndarray[Any, Any]


@dataclass
class Info:
    state_size: int = 1


class Successor:
    """Predicts that everybody goes round the alphabet, forwards or (wrongly) backwards."""

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

    def interest_scores(self, state: Array, recent: Array) -> InterestScores:
        indptr, indices = self.dataset.membership
        said = np.full((len(recent), len(self.dataset.interests)), 0.01, np.float32)
        for row, item in enumerate(self.score_all(state, recent).argmax(1).tolist()):
            said[row, indices[indptr[item] : indptr[item + 1]]] = 0.99
        return InterestScores(said, said - 0.5, (said > 0.5).astype(np.uint8))


@pytest.fixture
def circle(prepared: Callable[..., Dataset]) -> Split:
    """Returns users who walk round 26 letters, each from another start.

    Vowels and consonants are the interests.
    """
    letters = "abcdefghijklmnopqrstuvwxyz"
    items = {letter: ("Vowels",) if letter in "aeiou" else ("Consonants",) for letter in letters}
    events = [
        (f"u{user}", letters[(user + place) % 26], place)
        for user in range(60)
        for place in range(4 + user % 3)
    ]
    return split(find_interests(prepared(events, items), InterestConfig()))


def test_a_model_that_knows_wins_and_every_scorer_is_in_the_table(circle: Split) -> None:
    found = evaluate_model(Successor(circle.whole, 1), circle)
    table = {row["scorer"]: row for row in found["items"]}
    assert list(table) == [
        "model",
        "popularity",
        "popularity, last 7 days",
        "first-order Markov",
        "co-occurrence",
        "own last items",
        "nearest titles",
    ]
    assert table["model"]["HR@1"] == 1.0
    assert table["first-order Markov"]["HR@10"] > table["popularity"]["HR@10"]
    assert found["verdict"][0].startswith("The model beats popularity (HR@10 difference +0.")
    interests = {row["scorer"]: row for row in found["interests"]["table"]}
    assert interests["model"]["NLL"] == pytest.approx(-np.log(0.99), rel=1e-3)
    assert interests["popularity"]["this minus model"]["NLL"][0] > 0
    assert found["spread"]["coverage@10"] > 0.9


def test_a_calibrated_model_stands_beside_what_it_said_before(circle: Split) -> None:
    class Calibrated(Successor):
        def interest_scores(self, state: Array, recent: Array) -> InterestScores:
            found = super().interest_scores(state, recent)
            return found._replace(uncorrected=found.probability / 2)

    found = evaluate_model(Calibrated(circle.whole, 1), circle)
    before = next(
        row for row in found["interests"]["table"] if row["scorer"] == "model, before calibration"
    )
    assert before["top-3"] == found["interests"]["table"][0]["top-3"]
    assert before["this minus model"]["NLL"][0] > 0
    page = to_html("report", {"evaluation": found})
    assert "Before calibration it said 0.495." in page
    (rows,) = [
        table.rows for table in result_tables(found) if table.title.startswith("What published")
    ]
    assert any(row[0] == "first, before calibration" for row in rows)
    assert not any(
        row["scorer"] == before["scorer"]
        for row in evaluate_model(Successor(circle.whole, 1), circle)["interests"]["table"]
    )


def test_a_model_that_is_wrong_is_said_to_be_behind(circle: Split) -> None:
    found = evaluate_model(Successor(circle.whole, -1), circle)
    assert found["items"][0]["HR@10"] == 0.0
    assert found["verdict"][2].startswith("The model is behind first-order Markov")


def test_seen_items_can_be_removed(circle: Split) -> None:
    kept, removed = (
        evaluate_model(Successor(circle.whole, 0), circle, seen=seen) for seen in ("keep", "remove")
    )
    # it always names the item just seen: with that removed all scores are equal, and ties count
    # against it
    assert kept["seen_items"] == "stay candidates"
    assert removed["seen_items"] == "are no candidates"
    assert removed["items"][0]["MRR"] != kept["items"][0]["MRR"]
    with pytest.raises(ModelDataError, match="use keep or remove"):
        evaluate_model(Successor(circle.whole, 0), circle, seen="maybe")


def test_progress_is_reported(circle: Split) -> None:
    reports: list[tuple[object, ...]] = []
    evaluate_model(
        Successor(circle.whole, 1), circle, progress=lambda *given: reports.append(given)
    )
    assert ("evaluate", 60, 60, {}) in reports
    assert reports[-1] == ("baselines", 6, 6, {})


def test_the_report_shows_every_scorer_and_escapes_names(circle: Split) -> None:
    found = evaluate_model(Successor(circle.whole, 1), circle)
    tables = result_tables(found)
    # next items, interests, trends: both interests are shown, one as rising, one as steady
    assert [len(table.rows) for table in tables[::2]] == [7, 5, 2]
    assert tables[0].rows[0][1] == "1.0000"
    page = to_html(
        "<b>shop</b>", {"evaluation": found, "curves": {"lstm": [{"loss": 2.0}, {"loss": 1.0}]}}
    )
    assert "<b>shop</b>" not in page
    assert "&lt;b&gt;shop&lt;/b&gt;" in page
    assert page.count("<svg") == 2
    # the picture of what published probabilities say comes before any other figure
    assert page.index("first interest") < page.index("The model beats") < page.index("Next item")


def test_prequential_shows_accuracy_over_time_with_and_without_new_events(
    prepared: Callable[..., Dataset],
) -> None:
    letters = "abcdefgh"
    events = [
        (f"u{user}", letters[(user + time) % 8], 10 * time + user)
        for time in range(40)
        for user in range(8)
    ]
    dataset = find_interests(
        prepared(events, {letter: (letter,) for letter in letters}), InterestConfig(least_items=1)
    )
    cut = split(dataset, "prequential")
    found = evaluate_model(Successor(dataset, 1), cut)
    table = {row["scorer"]: row for row in found["items"]}
    assert table["model"]["HR@1"] == 1.0
    assert (
        table["model, states frozen at the cut"]["HR@1"] < 0.5
    )  # right once a user, then it has not moved on
    over = found["over_time"]["model"]
    assert len(over) == 10
    assert sum(each["cases"] for each in over) == len(cut.cases)
    assert [each["until_ms"] for each in over] == sorted(each["until_ms"] for each in over)
    assert any(table.title == "HR@10 over time" for table in result_tables(found))


def test_sessions_are_measured_as_in_the_tables_of_the_field(
    prepared: Callable[..., Dataset],
) -> None:
    """Checks MRR@20 over 30 items: a wrong model puts the target behind the twentieth place."""
    items = [f"i{place}" for place in range(30)]
    events = [
        (f"u{user}", items[(user + sitting + place) % 30], 10_000_000 * sitting + 1_000 * place)
        for user in range(30)
        for sitting in range(10)
        for place in range(3)
    ]
    categories = {item: ("even" if place % 2 else "odd",) for place, item in enumerate(items)}
    dataset = find_interests(prepared(events, categories), InterestConfig())
    cut = split(dataset, "sessions")
    found = evaluate_model(Successor(dataset, 2), cut)
    rows = {row["scorer"]: row for row in found["items"]}
    assert rows["model"]["MRR@20"] == 0.0 < rows["model"]["MRR"]  # the target ties with 28 others
    assert rows["sequential rules"]["MRR@20"] > 0.5
    for wide in (True, False):
        assert "MRR@20" in result_tables(found, wide=wide)[0].header
        assert "MRR" not in result_tables(found, wide=wide)[0].header


class Fashionable(Successor):
    """Predicts what is popular now."""

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
    """Checks that a live count knows the newest item an hour after it came, and not before.

    Every tenth day all users take another item.
    """
    events = [
        (f"u{user}", "abcdefghij"[turn], (240 * turn + hour) * HOUR_MS + user)
        for turn in range(10)
        for hour in range(2)
        for user in range(30)
    ]
    dataset = find_interests(
        prepared(events, "abcdefghij"), InterestConfig(least_items=1, largest_share=1)
    )
    cut = split(dataset, "time-split")
    model, ranker = Fashionable(cut.whole), Ranker(cut, "keep")
    rank, _ = rank_cases(model, cut, ranker, ignore_progress, live_popularity(model, cut))
    later = cut.cases.time_ms % (240 * HOUR_MS) >= HOUR_MS
    newest = cut.cases.time_ms >= 240 * 9 * HOUR_MS  # the cut may leave one of the turn before
    assert (later & newest).sum() == (~later & newest).sum() == 30
    assert (rank[later & newest] == 0).all()
    assert (rank[~later & newest] > 0).all()
    assert evaluate_model(model, cut, live=True)["popularity"].startswith("live")


def test_data_without_times_has_no_live_popularity(circle: Split) -> None:
    circle.whole.report["events_without_time"] = 3
    with pytest.raises(ModelDataError, match="live popularity needs times"):
        evaluate_model(Fashionable(circle.whole), circle, live=True)

"""Cells are looked at only where they find enough; a served model says so, and what it says."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import pytest
import torch

from models.evaluation.synthetic_catalogue import synthetic_model, wandering_users
from models.serving import search_choice
from models.serving.item_index import LEAST_FOUND, LOOKED_AT
from models.serving.predictor import Predictor
from models.serving.search_choice import cells_of, cells_to_store
from models.serving.trained_model import TrainedModel

ITEMS, USERS = 6_000, 24
SIZE = {"interests": 5, "items": 10, "because": 3}


@pytest.fixture(scope="module")
def trained() -> TrainedModel:
    made = synthetic_model(ITEMS)
    blend = made.blend
    return replace(made, blend=replace(blend, live_item=blend.item, live_interest=blend.interest))


@pytest.fixture
def large(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(search_choice, "LEAST_ITEMS", ITEMS)


@pytest.mark.usefixtures("large")
def test_a_served_model_that_looks_at_cells_says_what_all_items_say(
    trained: TrainedModel, monkeypatch: pytest.MonkeyPatch
) -> None:
    served, exact = Predictor(trained), Predictor(trained).with_all_items()
    served.serve("float32")
    recent = wandering_users(trained, USERS)
    state = exact.rebuild(recent)
    wanted = exact.score(state, recent, **SIZE)
    for count in (1, USERS):  # the first is traced
        found = served.score(state[:count], recent[:count], **SIZE)
        same = [
            len(np.intersect1d(mine, theirs)) / 10
            for mine, theirs in zip(found.item, wanted.item[:count], strict=True)
        ]
        assert np.mean(same) >= 0.98
    whole = served.score_all(state, recent)
    np.testing.assert_array_equal(np.sort(np.argsort(-whole, axis=1)[:, :10]), np.sort(found.item))
    # a pass is two operations and a search: nothing of it runs in Python
    monkeypatch.setattr(Predictor, "read_known", None)
    again = served.score(state, recent, **SIZE)
    np.testing.assert_array_equal(again.item, found.item)
    np.testing.assert_array_equal(again.because, found.because)


@pytest.mark.usefixtures("large")
def test_live_popularity_is_searched_by_a_product(trained: TrainedModel) -> None:
    """Cells are of the popularity that the model was stored with."""
    served = Predictor(trained)
    served.serve("float32")
    served.warm_up(**SIZE)
    recent = wandering_users(trained, USERS)
    state = served.rebuild(recent)
    named = trained.info.items[17]
    served.set_popularity([named], np.ones(1), 1)
    exact = Predictor(trained)
    exact.set_popularity([named], np.ones(1), 1)
    found, wanted = (each.score(state, recent, **SIZE) for each in (served, exact))
    np.testing.assert_array_equal(found.item, wanted.item)


@pytest.mark.usefixtures("large")
def test_cells_that_find_too_little_are_not_looked_at(
    trained: TrainedModel, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked: list[int] = []

    def little(search: Any, *given: Any) -> float:
        asked.append(1)
        return LEAST_FOUND - 0.001

    monkeypatch.setattr(search_choice, "found_share", little)
    with torch.inference_mode():
        assert cells_of(Predictor(trained)) is None
    assert len(asked) == len(LOOKED_AT)


def test_a_smaller_catalogue_and_one_without_candidates_have_no_cells(
    trained: TrainedModel, monkeypatch: pytest.MonkeyPatch
) -> None:
    def none(model: TrainedModel) -> bool:
        with torch.inference_mode():
            searched = cells_of(Predictor(model))
        return searched is None and cells_to_store(Predictor(model)) is None

    assert none(trained)
    monkeypatch.setattr(search_choice, "LEAST_ITEMS", ITEMS)
    assert none(replace(trained, candidates=False))
    monkeypatch.setattr(search_choice, "faiss_or_none", lambda: None)
    assert none(trained)

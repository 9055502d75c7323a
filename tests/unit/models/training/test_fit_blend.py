"""Weights are fitted to what is served, and leave what is known of a model besides them."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import numpy as np
import pytest
import torch

from models.data.prepare import Dataset, PrepareConfig, catalogue_rows
from models.predict import load_predictor
from models.scorers.calibration import identity
from models.scorers.ease import Ease
from models.scorers.titles import EQUAL, Titles
from models.serving.predictor import Predictor
from models.serving.trained_model import TrainedModel
from models.training.fit_blend import fit_blend, gains_of_costly_scorers
from stream.offline.dataset import simulated_dataset


def test_a_blend_that_is_fitted_again_keeps_its_calibration(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """As where a language model is put into a directory: nothing is rehearsed a second time."""
    monkeypatch.setattr("models.scorers.fit_weights.minimised", lambda loss, start: start)
    model, dataset = load_predictor(), simulated_dataset(10, 4, PrepareConfig())
    dataset = replace(dataset, item_ids=list(model.info.items), titles=list(model.info.titles))
    rows = catalogue_rows(dataset.events["key"], dataset.item_ids).astype(np.int64)
    weights = identity() + 0.1
    blend = replace(model.trained.blend, calibration=weights, live_calibration=weights + 1)
    known = np.flatnonzero(rows[dataset.user_start[1:] - 1] > 0)
    corrected = Predictor(replace(model.trained, blend=blend))
    fitted, _ = fit_blend(corrected, blend, dataset, rows, known, most=5)
    assert fitted.calibration is weights
    live = fitted.live()
    assert live is not None
    assert live.calibration is blend.live_calibration


def test_interests_of_a_large_catalogue_are_fitted_to_candidates(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """They are fitted once for each popularity, to items by the weights that were just fitted."""
    model, dataset = load_predictor(), simulated_dataset(10, 4, PrepareConfig())
    dataset = replace(dataset, item_ids=list(model.info.items), titles=list(model.info.titles))
    rows = catalogue_rows(dataset.events["key"], dataset.item_ids).astype(np.int64)
    known = np.flatnonzero(rows[dataset.user_start[1:] - 1] > 0)
    served = []

    def of(self: Predictor, trained: TrainedModel) -> Predictor:
        served.append(Predictor(trained))
        return served[-1]

    monkeypatch.setattr("models.scorers.fit_weights.minimised", lambda loss, start: start)
    monkeypatch.setattr("models.training.fit_blend.MOST_WHOLE", 10)
    monkeypatch.setattr(Predictor, "of", of)
    blend, _ = fit_blend(model, model.trained.blend, dataset, rows, known, most=5)
    assert [each.trained.candidates for each in served] == [True, True]
    assert torch.equal(served[0].trained.blend.item, blend.item)
    assert blend.live_item is not None
    assert torch.equal(served[1].trained.blend.item, blend.live_item)


def test_a_scorer_earns_its_cost_by_what_it_takes_from_the_loss_of_others(
    prepared: Callable[..., Dataset],
) -> None:
    """Each user ends with the item whose title is like that of the one before."""
    trained, users = load_predictor().trained, 24
    items, random = trained.info.items, np.random.default_rng(0)
    events = [
        (f"u{user}", items[place], 1_000 * nth)
        for user in range(users)
        for a, b, c in [2 * random.choice(len(items) // 2, 3, replace=False)]
        for nth, place in enumerate((a, b, c, c + 1))
    ]
    dataset = prepared(events, dict.fromkeys(items, ()))
    partner = np.zeros((len(items) + 1, 1), np.int32)
    partner[1::2][: len(items) // 2, 0] = np.arange(2, len(items) + 1, 2)
    titles = Titles.of(partner, EQUAL * (partner > 0).astype(np.float32))
    scorers = trained.scorers.replaced("titles", titles).without("ease")
    gains = gains_of_costly_scorers(
        Predictor(replace(trained, scorers=scorers)),
        trained.blend,
        dataset,
        catalogue_rows(dataset.events["key"], dataset.item_ids).astype(np.int64),
        np.arange(users),
    )
    assert gains[Titles][0] > 0
    assert gains[Ease] == (0, 0)  # of a scorer that is not there nothing can be lost

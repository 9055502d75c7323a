"""Weights are fitted to what is served, and leave what is known of a model besides them."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch

from models.data.prepare import PrepareConfig, catalogue_rows
from models.predict import load_predictor
from models.scorers.calibration import identity
from models.serving.predictor import Predictor
from models.serving.trained_model import TrainedModel
from models.training.fit_blend import fit_blend
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

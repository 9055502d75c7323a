"""What the bridge is trained on is what a worker has: the same features after the same events, searches included."""

from __future__ import annotations

import numpy as np
import torch

from models.compact import QUERY
from models.llm.windows import read_histories
from models.predict import load_predictor
from models.prepare import Catalogue, PrepareConfig, prepare
from stream.drifting import simulate


def test_features_of_a_training_are_those_of_serving() -> None:
    model = load_predictor()
    chunk, _ = simulate(users=3, seed=5)
    catalogue = Catalogue(list(model.info.items), list(model.info.titles), [()] * len(model.info.items))
    dataset = prepare([chunk], catalogue, PrepareConfig(max_events_per_day=0))
    events, starts = dataset.events, dataset.user_start
    assert (events["kind"] == QUERY).any()
    found = read_histories(model, dataset)
    for first, end in zip(starts[:-1].tolist(), starts[1:].tolist(), strict=True):
        mine, nothing = events[first:end], np.full(1, -1, np.int64)
        state = model.step(
            np.zeros((1, model.info.state_size), np.float32), mine, np.ones(len(mine), np.int64), nothing
        )
        with torch.inference_mode():
            served = model.network.lstm.feature(found.x[end - 1][None], torch.from_numpy(state))[0]
        torch.testing.assert_close(found.features[end - 1], served, atol=1e-4, rtol=0)

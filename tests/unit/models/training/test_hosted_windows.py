"""Checks that the bridge is trained on what a worker has.

Those are the same features after the same events, searches included.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest
import torch

from models.compact import QUERY
from models.data.prepare import Catalogue, Dataset, PrepareConfig, prepare
from models.predict import load_predictor
from models.training.hosted_windows import cut_windows, read_histories, shares
from stream.offline.drift import simulate


def test_features_of_a_training_are_those_of_serving() -> None:
    model = load_predictor()
    chunk, _ = simulate(users=3, seed=5)
    catalogue = Catalogue(
        list(model.info.items), list(model.info.titles), [()] * len(model.info.items)
    )
    dataset = prepare([chunk], catalogue, PrepareConfig(max_events_per_day=0))
    events, starts = dataset.events, dataset.user_start
    assert (events["kind"] == QUERY).any()
    found = read_histories(model, dataset)
    for first, end in zip(starts[:-1].tolist(), starts[1:].tolist(), strict=True):
        mine, nothing = events[first:end], np.full(1, -1, np.int64)
        state = model.step(
            np.zeros((1, model.info.state_size), np.float32),
            mine,
            np.ones(len(mine), np.int64),
            nothing,
        )
        with torch.inference_mode():
            served = model.network.lstm.feature(found.x[end - 1][None], torch.from_numpy(state))[0]
        torch.testing.assert_close(found.features[end - 1], served, atol=1e-4, rtol=0)


def test_each_answer_counts_the_same_in_a_batch_of_short_windows_and_in_one_of_long(
    prepared: Callable[..., Dataset], histories: Callable[..., list[tuple[str, str, int]]]
) -> None:
    users = {"a": "abc", "b": "bca", "c": "cabcab", "d": "abcabc"}  # one answer, or four
    dataset = prepared(histories(users), "abc")
    rows = np.array(["?abc".index(item.decode()) for item in dataset.events["text"]])
    windows = cut_windows(dataset, rows, recent=8)
    batches = list(windows.batches(2, most=10, generator=torch.Generator().manual_seed(0)))
    found = {
        int((each.after >= 0).sum()): share
        for each, share in zip(batches, shares(batches), strict=True)
    }
    assert found == {2: pytest.approx(2 / 5), 8: pytest.approx(8 / 5)}

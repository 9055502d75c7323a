"""Checks that published causes are causes, by replays of the history without the event."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch

from models.compact import RECENT
from models.evaluation.explanations import (
    leave_one_out,
    ledger,
    measure_faithfulness,
    remembered,
    without,
)
from models.predict import load_predictor
from models.serving.predictor import Predictor
from stream.offline.explanations import simulated_histories

Array = np.ndarray[Any, Any]


@pytest.fixture(scope="module")
def demo() -> Predictor:
    return load_predictor()


@pytest.fixture(scope="module")
def histories() -> list[Array]:
    return simulated_histories(150, seed=21)


@pytest.fixture(scope="module")
def found(demo: Predictor, histories: list[Array]) -> dict[str, Any]:
    return measure_faithfulness(demo, histories)


def row(found: dict[str, Any], name: str) -> dict[str, Any]:
    return next(each for each in found["table"] if each["explanation"].startswith(name))


@pytest.mark.parametrize("events", [1, 2, 300])
def test_the_ledger_sums_to_the_cell_of_torchs_own_lstm(events: int) -> None:
    torch.manual_seed(0)
    lstm, x = torch.nn.LSTM(24, 24, batch_first=True), 3 * torch.randn(events, 24)
    with torch.no_grad():
        _, (h, c) = lstm(x[None])
        rows, output = ledger(lstm, x)
    assert rows.shape == (events, 24)
    torch.testing.assert_close(rows.sum(0), c[0, 0], atol=1e-5, rtol=0)
    torch.testing.assert_close(output * torch.tanh(rows.sum(0)), h[0, 0], atol=1e-5, rtol=0)


def test_the_ledger_sums_to_the_memory_that_serving_holds(
    demo: Predictor, histories: list[Array]
) -> None:
    width = demo.network.lstm.width
    state, _ = remembered(demo, histories[:5])
    for memory, events in zip(state, histories, strict=False):
        before = np.concatenate(([-1], events["time_ms"][:-1]))
        with torch.inference_mode():
            rows, _ = ledger(demo.network.lstm.blocks[0].lstm, demo.vectors(events, before))
        np.testing.assert_allclose(rows.sum(0).numpy(), memory[width : 2 * width], atol=1e-5)


def test_a_removed_event_leaves_the_others_in_order(histories: list[Array]) -> None:
    some = histories[0]
    assert (without(some, [0]) == some[:-1]).all()
    assert (without(some, [2, 0]) == np.concatenate((some[:-3], some[-2:-1]))).all()


def test_only_slots_with_an_event_can_be_left_out(demo: Predictor, histories: list[Array]) -> None:
    drops = leave_one_out(demo, [histories[0][:3], histories[1][:40]], np.array([0, 1]))
    assert np.isfinite(drops).sum(1).tolist() == [3, RECENT]
    assert np.isfinite(drops[0, :3]).all()


@pytest.mark.slow
def test_removing_the_event_named_first_costs_more_than_others(found: dict[str, Any]) -> None:
    published = row(found, "because, as published")
    assert published["named"] > 0.9
    assert published["minus random"][0] > 0.1
    assert published["minus random of last 8"][0] > 0.1
    assert row(found, "latest event")["published minus this"][0] > 0.05
    assert row(found, "best")["fall"] * 0.7 < published["fall"] <= row(found, "best")["fall"]
    assert found["three named"]["minus random ones"][0] > 0.3
    assert found["rank correlation with replaying"] > 0.35


@pytest.mark.slow
def test_explanations_change_when_weights_are_randomised(found: dict[str, Any]) -> None:
    assert found["rank correlation with randomised weights"] < 0.45
    assert row(found, "because, weights randomised")["published minus this"][0] > 0.1


def test_measuring_twice_says_the_same(demo: Predictor, histories: list[Array]) -> None:
    assert measure_faithfulness(demo, histories[:10]) == measure_faithfulness(demo, histories[:10])

"""Simulated users say what they want at each event, so what a model notices can be measured."""

from __future__ import annotations

import numpy as np
import pytest

from models.predict import load_predictor
from stream.errors import DataError
from stream.offline.drift import EVENTS, measure_drift, simulate

USERS = 4


def test_each_event_has_its_users_true_interest() -> None:
    chunk, truths = simulate(USERS, seed=1)
    assert len(chunk.events) == len(chunk.users) == USERS * EVENTS
    assert [len(truth) for truth in truths.values()] == [EVENTS] * USERS
    assert (np.diff(chunk.events["time_ms"]) >= 0).all()


def test_a_model_that_does_not_know_the_interests_is_refused() -> None:
    class Other:
        info = load_predictor().info.__class__("other", "1", 1, ("Opera",), ("a",), ("A",), 8)

    with pytest.raises(DataError, match="the model knows nothing of the simulated interest"):
        measure_drift(Other(), np.ones((1, 1), bool), USERS, seed=1)  # type: ignore[arg-type]  # only its names are read

"""Checks the settings that an effort starts from, and where it takes the exact softmax."""

from __future__ import annotations

import math
from collections.abc import Callable

import pytest

from models.data.prepare import Dataset
from models.errors import ModelDataError
from models.training.config import TrainConfig
from models.training.effort import EFFORTS, Times, exact_softmax, settings_for


@pytest.fixture
def data(prepared: Callable[..., Dataset]) -> Dataset:
    return prepared([("u", item, place) for place, item in enumerate("abc")])


def test_settings_depend_on_the_data(data: Dataset) -> None:
    config, reasons = settings_for("quick", data, seed=3, model="m")
    assert (config.dropout, config.negatives, config.seed) == (0.3, 0, 3)
    assert reasons[1] == "dropout 0.3"
    assert config.lstm_epochs > 20  # validation and minutes end it, seldom the number
    with pytest.raises(
        ModelDataError, match="effort 'much' is unknown; use one of quick, normal, thorough"
    ):
        settings_for("much", data, seed=0, model="m")
    assert all(
        hasattr(config, setting)
        for effort in EFFORTS.values()
        for setting, _ in effort.alternatives
    )


def test_the_exact_softmax_is_taken_where_the_budget_has_room_for_it(
    data: Dataset, monkeypatch: pytest.MonkeyPatch
) -> None:
    sampled = TrainConfig(negatives=1_024)
    assert exact_softmax(EFFORTS["normal"], data, sampled).negatives == 0
    assert exact_softmax(EFFORTS["quick"], data, sampled) == sampled
    # three events of three items are too many then
    monkeypatch.setattr("models.training.effort.EXACT_A_MINUTE", 0.1)
    assert exact_softmax(EFFORTS["normal"], data, sampled) == sampled


@pytest.fixture
def now(monkeypatch: pytest.MonkeyPatch) -> None:
    """Has 300 s of processor time gone by."""
    monkeypatch.setattr("time.process_time", lambda: 300.0)


@pytest.mark.usefixtures("now")
def test_all_of_the_rest_is_there_where_nothing_is_learned_again() -> None:
    times = Times(end=1_000, anew=0, networks=200, attention=100)
    assert times.for_attention() == times.for_more_dropout() == 700


@pytest.mark.usefixtures("now")
def test_what_was_learned_is_learned_again() -> None:
    times = Times(end=1_000, anew=1, networks=200, attention=100)
    # the attention twice, and the networks once more
    assert 2 * times.for_attention() + 200 == 700
    # other networks twice, and the attention once more
    assert 2 * times.for_more_dropout() + 100 == 700


@pytest.mark.usefixtures("now")
def test_without_an_end_nothing_ends() -> None:
    times = Times(end=math.inf, anew=1, networks=200, attention=100)
    assert times.for_attention() == times.for_more_dropout() == math.inf

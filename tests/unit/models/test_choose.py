"""Settings chosen by validation: the value that validates best is kept, trials are not repeated, the budget is kept."""

from __future__ import annotations

import itertools
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from models import choose as choosing
from models.choose import choose
from models.effort import EFFORTS, Effort, exact_softmax, settings_for
from models.errors import ModelDataError
from models.prepare import Dataset
from models.train import TrainConfig

EFFORT = Effort(
    minutes=9,
    trial_minutes=1,
    trial_epochs=9,
    trial_patience=2,
    alternatives=(("dropout", (0.1, 0.7)), ("width", (128,))),
)
LONG: list[float] = []
"""Dropouts with which a training does not end within its share."""


@pytest.fixture
def trained(monkeypatch: pytest.MonkeyPatch) -> list[TrainConfig]:
    """Trainings without a network: dropout near 0.1 is best, and width 64."""
    made: list[TrainConfig] = []

    class Training:
        def __init__(self, dataset: Dataset, out: Path, config: TrainConfig, progress: object) -> None:
            out.mkdir()
            made.append(config)
            self.deadline, self.ended_by_budget = 0.0, ["lstm"] * (config.dropout in LONG)

        def learn_memory(self) -> float:
            return 1 - abs(made[-1].dropout - 0.1) - made[-1].width / 1000

    monkeypatch.setattr(choosing, "Training", Training)
    return made


@pytest.fixture
def data(prepared: Callable[..., Dataset]) -> Dataset:
    return prepared([("u", item, place) for place, item in enumerate("abc")])


def ticking(seconds: float) -> Callable[[], float]:
    counted = itertools.count()
    return lambda: next(counted) * seconds


def test_the_best_value_of_each_setting_is_kept(trained: list[TrainConfig], data: Dataset, tmp_path: Path) -> None:
    best, trials = choose(data, tmp_path, EFFORT, TrainConfig(dropout=0.3), clock=ticking(1))
    assert (best.dropout, best.width) == (0.1, 64)
    assert (best.lstm_epochs, best.patience) == (TrainConfig().lstm_epochs, TrainConfig().patience)  # not a trial's
    assert [each.dropout for each in trained] == [0.3, 0.1, 0.7, 0.1]
    assert [(each["setting"], each["value"], each["kept"]) for each in trials[1:]] == [
        ("dropout", 0.1, True),
        ("dropout", 0.7, False),
        ("width", 128, False),
    ]


def test_an_interrupted_choice_does_not_repeat_trials(
    trained: list[TrainConfig], data: Dataset, tmp_path: Path
) -> None:
    first = choose(data, tmp_path, EFFORT, TrainConfig(), clock=ticking(1))
    count = len(trained)
    assert choose(data, tmp_path, EFFORT, TrainConfig(), clock=ticking(1)) == first
    assert len(trained) == count


def test_a_trial_that_does_not_end_within_its_share_is_named_and_not_chosen(
    trained: list[TrainConfig], data: Dataset, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sys.modules[__name__], "LONG", [0.1])
    best, trials = choose(data, tmp_path, EFFORT, TrainConfig(dropout=0.3), clock=ticking(1))
    assert best.dropout == 0.3
    assert [each["ndcg@10"] is None for each in trials] == [False, True, False, False]


def test_nothing_is_chosen_by_trials_that_are_all_too_short(
    trained: list[TrainConfig], data: Dataset, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sys.modules[__name__], "LONG", [0.3])
    best, trials = choose(data, tmp_path, EFFORT, TrainConfig(dropout=0.3), clock=ticking(1))
    assert (best, len(trials), len(trained)) == (TrainConfig(dropout=0.3), 1, 1)


def test_the_start_follows_the_data(data: Dataset) -> None:
    config, reasons = settings_for("quick", data, seed=3, model="m")
    assert (config.dropout, config.negatives, config.seed) == (0.3, 0, 3)
    assert reasons[1] == "dropout 0.3"
    with pytest.raises(ModelDataError, match="effort 'much' is unknown; use one of quick, normal, thorough"):
        settings_for("much", data, seed=0, model="m")
    assert all(hasattr(config, setting) for effort in EFFORTS.values() for setting, _ in effort.alternatives)


def test_the_exact_softmax_is_taken_where_the_budget_has_room_for_it(
    data: Dataset, monkeypatch: pytest.MonkeyPatch
) -> None:
    sampled = TrainConfig(negatives=1_024)
    assert exact_softmax(EFFORTS["normal"], data, sampled).negatives == 0
    assert exact_softmax(EFFORTS["quick"], data, sampled) == sampled
    monkeypatch.setattr("models.effort.EXACT_A_MINUTE", 0.1)  # three events of three items are too many then
    assert exact_softmax(EFFORTS["normal"], data, sampled) == sampled

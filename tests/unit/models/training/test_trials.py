"""Checks trials: the value that validates best is kept, none is repeated, the budget is kept."""

from __future__ import annotations

import itertools
import sys
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace

import pytest

from models.data.prepare import Dataset
from models.training import trials
from models.training.config import TrainConfig
from models.training.effort import Effort
from models.training.ranks import Ranks
from models.training.trials import run_trials

EFFORT = Effort(
    minutes=9,
    trial_minutes=1,
    trial_epochs=9,
    trial_patience=2,
    alternatives=(("dropout", (0.1, 0.7)), ("width", (128,))),
)
LONG: list[float] = []
"""Holds dropouts with which a training does not end within its share."""


@pytest.fixture
def trained(monkeypatch: pytest.MonkeyPatch) -> list[TrainConfig]:
    """Replaces trainings by ones without a network: dropout near 0.1 is best, and width 64."""
    made: list[TrainConfig] = []

    class Training:
        def __init__(
            self, dataset: Dataset, out: Path, config: TrainConfig, progress: object, ranks: Ranks
        ) -> None:
            out.mkdir()
            made.append(config)
            ended = ["lstm"] * (config.dropout in LONG)
            self.epochs = SimpleNamespace(deadline=0.0, ended_by_budget=ended)

        def learn_memory(self) -> float:
            return 1 - abs(made[-1].dropout - 0.1) - made[-1].width / 1000

    monkeypatch.setattr(trials, "Training", Training)
    return made


@pytest.fixture
def data(prepared: Callable[..., Dataset]) -> Dataset:
    return prepared([("u", item, place) for place, item in enumerate("abc")])


def ticking(seconds: float) -> Callable[[], float]:
    counted = itertools.count()
    return lambda: next(counted) * seconds


def test_the_best_value_of_each_setting_is_kept(
    trained: list[TrainConfig], data: Dataset, tmp_path: Path
) -> None:
    best, trials = run_trials(data, tmp_path, EFFORT, TrainConfig(dropout=0.3), clock=ticking(1))
    assert (best.dropout, best.width) == (0.1, 64)
    assert (best.lstm_epochs, best.patience) == (
        TrainConfig().lstm_epochs,
        TrainConfig().patience,
    )  # not a trial's
    assert [each.dropout for each in trained] == [0.3, 0.1, 0.7, 0.1]
    assert [(each["setting"], each["value"], each["kept"]) for each in trials[1:]] == [
        ("dropout", 0.1, True),
        ("dropout", 0.7, False),
        ("width", 128, False),
    ]


def test_an_interrupted_choice_does_not_repeat_trials(
    trained: list[TrainConfig], data: Dataset, tmp_path: Path
) -> None:
    first = run_trials(data, tmp_path, EFFORT, TrainConfig(), clock=ticking(1))
    count = len(trained)
    assert run_trials(data, tmp_path, EFFORT, TrainConfig(), clock=ticking(1)) == first
    assert len(trained) == count


def test_a_trial_that_does_not_end_within_its_share_is_named_and_not_chosen(
    trained: list[TrainConfig], data: Dataset, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sys.modules[__name__], "LONG", [0.1])
    best, trials = run_trials(data, tmp_path, EFFORT, TrainConfig(dropout=0.3), clock=ticking(1))
    assert best.dropout == 0.3
    assert [each["ndcg@10"] is None for each in trials] == [False, True, False, False]


def test_nothing_is_chosen_by_trials_that_are_all_too_short(
    trained: list[TrainConfig], data: Dataset, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sys.modules[__name__], "LONG", [0.3])
    best, trials = run_trials(data, tmp_path, EFFORT, TrainConfig(dropout=0.3), clock=ticking(1))
    assert (best, len(trials), len(trained)) == (TrainConfig(dropout=0.3), 1, 1)

"""Finds the settings of a training by trials, which are compared on validation.

One setting after the other, each value is tried until the LSTM's validation stops to rise, and the
best is kept. The LSTM alone is tried because it is the cheapest part whose validation goes up and
down with the whole model's. A trial has to come to its end: after a few epochs little dropout is
always ahead, because it learns faster, and it ends lower (docs/measured/logs/beauty.md). So each
trial has an equal share of the budget, and one that has not ended by then is not counted; if that
is the first one, nothing else is tried.

What was tried is kept after each trial, so interrupted trials go on where they stopped; with a
budget that is not met, equal seeds give equal settings.
"""

from __future__ import annotations

import json
import shutil
import time
from collections.abc import Callable
from dataclasses import asdict, replace
from hashlib import sha256
from pathlib import Path
from typing import Any

from models.data.prepare import Dataset
from models.progress import Progress, ignore_progress
from models.training.checkpoints import STEPS, digest_of
from models.training.config import TrainConfig
from models.training.effort import Effort, alternatives
from models.training.ranks import ALONE, Ranks
from models.training.train import Training

Clock = Callable[[], float]
"""Returns seconds of processor time."""


def run_trials(
    dataset: Dataset,
    out: Path,
    effort: Effort,
    start: TrainConfig,
    progress: Progress = ignore_progress,
    clock: Clock = time.process_time,
    ranks: Ranks = ALONE,
) -> tuple[TrainConfig, list[dict[str, Any]]]:
    """Returns the best settings found from `start`, and every trial as a JSON object.

    Of a trial it has what was changed, NDCG@10 of validation, processor seconds, and whether the
    value was kept.
    """
    trials = _Trials(dataset, out / ".training" / "trials", effort, progress, clock, ranks)
    best, value = start, trials.value(start, "start", None)
    if value is None:
        return start, trials.made
    for setting, _ in effort.alternatives:
        kept = best
        for other in alternatives(effort, setting, kept):
            found = trials.value(other, setting, getattr(other, setting))
            if found is not None and found > value:
                best, value = other, found
        trials.keep(setting, getattr(best, setting))
    return best, trials.made


class _Trials:
    """Runs trials, and remembers them in a file."""

    def __init__(
        self,
        dataset: Dataset,
        folder: Path,
        effort: Effort,
        progress: Progress,
        clock: Clock,
        ranks: Ranks,
    ) -> None:
        self._dataset, self._folder, self._effort = dataset, folder, effort
        self._progress, self._clock, self._ranks = progress, clock, ranks
        self._data = digest_of(dataset)
        self._count = 1 + sum(len(values) for _, values in effort.alternatives)
        folder.mkdir(parents=True, exist_ok=True)
        self._file = folder / "trials.json"
        self._before: list[dict[str, Any]] = (
            json.loads(self._file.read_text()) if self._file.exists() else []
        )
        self.made: list[dict[str, Any]] = []

    def value(self, config: TrainConfig, setting: str, value: Any) -> float | None:
        """Returns the best NDCG@10 of a trial with some settings; one that was run is not repeated.

        None if it did not end within its share of the budget. setting, value: what was changed.
        """
        config = replace(
            config,
            lstm_epochs=self._effort.trial_epochs,
            attention_epochs=0,
            patience=self._effort.trial_patience,
        )
        same = {"config": asdict(config), "data": self._data, "steps": STEPS}
        known = [each for each in self._before if same.items() <= each.items()]
        trial = known[0] if known else self._run(config, setting, value)
        self.made.append({**trial, "kept": setting == "start"})
        self._file.write_text(json.dumps(self.made))
        figures = {} if trial["ndcg@10"] is None else {"ndcg@10": trial["ndcg@10"]}
        self._progress("trials", len(self.made), self._count, {setting: value, **figures})
        found: float | None = trial["ndcg@10"]
        return found

    def keep(self, setting: str, value: Any) -> None:
        """Marks the trial of the value that won."""
        for trial in self.made:
            if trial["setting"] == setting:
                trial["kept"] = trial["value"] == value

    def _run(self, config: TrainConfig, setting: str, value: Any) -> dict[str, Any]:
        """Trains up to the LSTM in a folder of its own, and returns the trial as a JSON object."""
        began, place = self._clock(), self._folder / sha256(repr(config).encode()).hexdigest()[:12]
        training = Training(self._dataset, place, config, ignore_progress, self._ranks)
        training.epochs.deadline = began + self._effort.trial_minutes * 60 / self._count
        found = training.learn_memory()
        shutil.rmtree(place)
        return {
            "setting": setting,
            "value": value,
            "ndcg@10": None if training.epochs.ended_by_budget else found,
            "seconds": round(self._clock() - began, 1),
            "config": asdict(config),
            "data": self._data,
            "steps": STEPS,
        }

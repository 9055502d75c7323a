"""Measures accuracy and the membership attack against epsilon, a row a line as it is found.

    python -m tests.benchmarks.privacy_curve FOLDER --budgets none 20 8 3

FOLDER has events.tsv.gz and items.jsonl.gz. Accuracy is of the last event of each user, asked of a
model that learned everybody; the attack is on another one, which left out half of the users
(models/evaluation/membership.py). Noise is drawn anew each time, so each row is one draw of it.
"none" is a training with `--effort quick` of the same events and interests, asked the same cases.
With `--lstm-share 0.5` the LSTM is trained on half of the tables' budget.
"""

from __future__ import annotations

import argparse
import json
import time
from collections.abc import Callable
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np

from models.data.interests import InterestConfig
from models.data.prepare import Dataset, PrepareConfig, owners, subset
from models.data.splits import Split, held_out, split
from models.evaluation import metrics
from models.evaluation.evaluate import Ranker, rank_cases
from models.evaluation.membership import measure_membership
from models.model_directory import load
from models.progress import ignore_progress
from models.training import Budget, effort_of, settings_for, train_model, train_private
from stream.offline.dataset import Inputs, load_dataset, with_found_interests

SEED = 0
EFFORT = "quick"
Train = Callable[[Dataset, Path], None]


def main() -> None:
    """Reads the words of the command line, and prints a row a budget as JSON."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("folder", type=Path)
    parser.add_argument("--budgets", nargs="+", default=["none", "20", "8", "3"])
    parser.add_argument("--delta", type=float, default=1e-6)
    parser.add_argument("--lstm-share", type=float, default=0.0, help="0: networks untrained")
    parser.add_argument("--most-cases", type=int, default=20_000)
    parser.add_argument("--attack-only", action="store_true", help="half of the time: no accuracy")
    given = parser.parse_args()
    inputs = Inputs([given.folder / "events.tsv.gz"], [given.folder / "items.jsonl.gz"])
    dataset = load_dataset(inputs, PrepareConfig(max_events_per_day=0))
    dataset = with_found_interests(dataset, InterestConfig(), None, SEED, by_catalogue=True)
    for epsilon in given.budgets:
        budget = None
        if epsilon != "none":
            budget = Budget(float(epsilon), given.delta, given.lstm_share)
        train = trained_with(budget)
        row = measured(dataset, train, given.most_cases, accuracy=not given.attack_only)
        about = {"set": given.folder.name, "epsilon": epsilon, "delta": given.delta}
        about |= {"lstm_share": given.lstm_share} if budget else {}
        print(json.dumps(about | row), flush=True)  # noqa: T201


def trained_with(budget: Budget | None) -> Train:
    """Returns what trains with a budget, or with the usual settings if there is none."""

    def train(dataset: Dataset, out: Path) -> None:
        config, _ = settings_for(EFFORT, dataset, seed=SEED, model=out.name)
        if budget is None:
            train_model(dataset, out, config, minutes=effort_of(EFFORT).minutes)
        else:
            train_private(dataset, out, config, budget)

    return train


def measured(dataset: Dataset, train: Train, most_cases: int, *, accuracy: bool) -> dict[str, Any]:
    """Returns accuracy, if asked, and attack of one way to train."""
    started = time.process_time()
    cut = split(dataset, seed=SEED, most_cases=most_cases)
    members = ~held_out(cut.train.users, 0.5, SEED)
    half = subset(cut.train, members[owners(cut.train)])
    with TemporaryDirectory() as folder:
        found = accuracy_of(train, cut, Path(folder) / "whole") if accuracy else {}
        halved = Path(folder) / "half"
        train(half, halved)
        attack = measure_membership(load(halved), cut.train, members, seed=SEED)
    found["attacks"] = attack["attacks"]
    return {"processor_s": round(time.process_time() - started), **found}


def accuracy_of(train: Train, cut: Split, out: Path) -> dict[str, Any]:
    """Returns how well a model that learned everybody names the last events."""
    train(cut.train, out)
    ranks, _ = rank_cases(load(out), cut, Ranker(cut, "keep"), ignore_progress)
    hits = metrics.hits(ranks, 10)
    return {
        "cases": len(ranks),
        "HR@10": round(float(hits.mean()), 4),
        "HR@10 interval": [round(each, 4) for each in metrics.interval(hits, cut.cases.user)],
        "NDCG@10": round(float(np.mean(metrics.gains(ranks, 10))), 4),
    }


if __name__ == "__main__":
    main()

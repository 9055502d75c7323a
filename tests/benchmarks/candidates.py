"""Compares what a model serves by candidates with what it says when it scores every item.

    python -m tests.benchmarks.candidates MODEL --events FILE --items FILE

The model's directory is one that was trained on these events, of any size of catalogue. The last
event of each user is asked for, by all items and by candidates: HR@10, NDCG@10, how many of the
exact first ten are among the first ten by candidates, and NLL and ECE of the interests, with paired
95 % intervals over users. It prints JSON.
"""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any, NamedTuple

import click
import numpy as np

from models.data.prepare import PrepareConfig
from models.data.replay import replay
from models.data.splits import Split, split
from models.evaluation import metrics, touched_rows
from models.predict import load_predictor
from models.serving.predictor import Predictor
from stream.offline.dataset import Inputs, load_dataset, with_known_interests

Array = np.ndarray[Any, Any]
BATCH = 64
FIRST = 10


class Said(NamedTuple):
    """Holds what a model says before each of T cases."""

    first: Array  # int64 [T, 10] items
    rank: Array  # int64 [T] of the targets
    chance: Array  # float32 [T, C] of the interests


@click.command()
@click.argument("model", type=click.Path(exists=True, path_type=Path))
@click.option("--events", required=True, type=click.Path(exists=True, path_type=Path))
@click.option("--items", type=click.Path(exists=True, path_type=Path))
@click.option("--sequences", is_flag=True, help="As for `train`.")
@click.option("--cases", default=4_000, show_default=True, help="Users who are asked for, at most.")
def main(model: Path, events: Path, items: Path | None, sequences: bool, cases: int) -> None:
    """Compare candidates with all items on the last events of users."""
    whole = load_predictor(model).with_all_items()
    inputs = Inputs([events], [items] if items else [], sequences=sequences)
    dataset = load_dataset(inputs, PrepareConfig())
    cut = split(with_known_interests(dataset, whole.info.interests, whole.membership))
    drawn = np.random.default_rng(0).permutation(len(cut.cases))[:cases]
    cut = replace(cut, cases=cut.cases.take(np.sort(drawn)))
    exact = said(whole, cut)
    served = said(whole.of(replace(whole.trained, candidates=True)), cut)
    happened, user = touched_rows(cut.whole)[cut.cases.target + 1], cut.cases.user
    losses = [metrics.interest_losses(each.chance, happened) for each in (exact, served)]
    shared = [
        len(np.intersect1d(mine, theirs)) / FIRST
        for mine, theirs in zip(served.first, exact.first, strict=True)
    ]
    report = {
        "items": len(whole.info.items),
        "cases": len(cut.cases),
        "recall_at_10": float(np.mean(shared)),
        "candidates minus all items": {
            "HR@10": metrics.interval(
                metrics.hits(served.rank, FIRST) - metrics.hits(exact.rank, FIRST), user, 0
            ),
            "NDCG@10": metrics.interval(
                metrics.gains(served.rank, FIRST) - metrics.gains(exact.rank, FIRST), user, 0
            ),
            "NLL": metrics.interval(losses[1] - losses[0], user, 0),
        },
    }
    for name, each in (("all items", exact), ("candidates", served)):
        report[name] = {
            "HR@10": float(metrics.hits(each.rank, FIRST).mean()),
            "NDCG@10": float(metrics.gains(each.rank, FIRST).mean()),
            **metrics.interests(each.chance, happened),
        }
    click.echo(json.dumps(report, indent=1))


def said(predictor: Predictor, cut: Split) -> Said:
    """Returns what a predictor says before each case."""
    count = len(cut.cases)
    first, rank = np.empty((count, FIRST), np.int64), np.empty(count, np.int64)
    chance = np.empty((count, len(cut.whole.interests)), np.float32)
    steps = replay(predictor, predictor.info.state_size, cut.whole, cut.cases, BATCH)
    for places, state, recent in steps:
        scores = predictor.score_all(state, recent)
        first[places] = np.argpartition(-scores, FIRST, axis=1)[:, :FIRST]
        rank[places] = metrics.ranks(scores, cut.cases.target[places])
        chance[places] = predictor.interest_probabilities(state, recent)
    return Said(first, rank, chance)


if __name__ == "__main__":
    main()

"""A model directory held against the ranks of peers, user by user: leave-one-out, full ranking, seen items removed.

    python -m tests.benchmarks.paired EVENTS ITEMS MODEL RANKS.json...

RANKS.json is what rectools_sasrec.py and recbole_gru4rec.py of tests/benchmarks/peers write. Prints Markdown; differences with
95 % bootstrap intervals.
"""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any, Final

import numpy as np

from models import metrics
from models.evaluate import Ranker, of_model
from models.predict import load_predictor
from models.prepare import PrepareConfig
from models.protocols import Split, split
from stream.training_inputs import Inputs, load_dataset, with_known_interests

Array = np.ndarray[Any, Any]

LEAST_EVENTS: Final = 3


def main(events: str, items: str, model: str, *peers: str) -> None:
    """Print one row for the model and one for each peer."""
    predictor = load_predictor(Path(model))
    dataset = load_dataset(Inputs([Path(events)], [Path(items)]), PrepareConfig(min_events=LEAST_EVENTS))
    cut = split(with_known_interests(dataset, predictor.info.interests, predictor.membership))
    mine, _ = of_model(predictor, cut, Ranker(cut, "remove"), lambda *_: None)
    sys.stdout.write("| | HR@10 | NDCG@10 | model minus this, HR@10 | NDCG@10 |\n|---|---|---|---|---|\n")
    sys.stdout.write(_row("model", mine, "| |"))
    for place in peers:
        peer = json.loads(Path(place).read_text(encoding="utf-8"))
        theirs = of_peer(peer["ranks"], cut)
        between = " ".join(f"| {_interval(measure(mine) - measure(theirs), cut)}" for measure in (_hits, _gains))
        sys.stdout.write(_row(f"{peer['name']}, seed {peer['seed']}", theirs, f"{between} |"))


def of_peer(ranks: dict[str, int], cut: Split) -> Array:
    """int64 [T]: ranks by user name in the order of the cases. Raises KeyError if a case is not there."""
    return np.array([ranks[cut.whole.users[user]] for user in cut.cases.user.tolist()])


def _row(name: str, rank: Array, rest: str) -> str:
    return f"| {name} | {_hits(rank).mean():.4f} | {_gains(rank).mean():.4f} {rest}\n"


def _hits(rank: Array) -> Array:
    return metrics.hits(rank, 10)


def _gains(rank: Array) -> Array:
    return metrics.gains(rank, 10)


def _interval(difference: Array, cut: Split) -> str:
    low, high = metrics.interval(difference, cut.cases.user, seed=0)
    return f"{low:+.4f} .. {high:+.4f}"


if __name__ == "__main__":
    if len(sys.argv) < 5:
        sys.exit("python -m tests.benchmarks.paired EVENTS ITEMS MODEL RANKS.json...")
    main(*sys.argv[1:])

"""Compares models of several seeds with baselines and peers, on the same cases.

    python -m tests.benchmarks.model_peers.table FOLDER --events E --items I --protocol P \
        --model DIR [--model DIR ...]

It prints a Markdown table with paired intervals. FOLDER holds the ranks that peers wrote (ask.py),
any number of seeds each. A row is the mean over seeds; least and most of the seeds in brackets.
Intervals: 95 %, bootstrap over users, of the difference of the means over seeds of each case.

Glossary: T cases.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import click
import numpy as np

from models.data.splits import Split
from models.evaluation import metrics
from models.evaluation.evaluate import Ranker, baselines_of, live_popularity, rank_cases
from models.predict import load_predictor
from models.progress import ignore_progress
from stream.cli.data_options import data_options
from stream.offline.dataset import with_known_interests
from tests.benchmarks.model_peers.questions import cut

Array = np.ndarray[Any, Any]
Ranks = dict[str, list[Array]]
"""Holds ranks int64 [T] by scorer, one array for each seed."""
_FILE = click.Path(path_type=Path, exists=True)


def ranks_of(directory: Path, split: Split, seen: str, threads: int, *, live: bool) -> Array:
    """Returns the ranks int64 [T] of a model directory.

    Raises ValueError if it was trained on another catalogue.
    """
    model = load_predictor(directory, threads)
    if list(model.info.items) != split.whole.item_ids:
        raise ValueError(f"{directory} knows other items than these files; train it on them")
    split = replace(
        split, whole=with_known_interests(split.whole, model.info.interests, model.membership)
    )
    popularity = live_popularity(model, split) if live else None
    return rank_cases(model, split, Ranker(split, seen), ignore_progress, popularity)[0]


def peers_of(folder: Path, cases: int) -> Ranks:
    """Returns the ranks that peers wrote. Raises ValueError if they are about other cases."""
    found: Ranks = {}
    for path in sorted(folder.glob("*-*.npy")):
        ranks = np.load(path)
        if len(ranks) != cases:
            raise ValueError(
                f"{path} answers {len(ranks)} cases, not these {cases}; ask that peer again"
            )
        found.setdefault(path.stem.rpartition("-")[0], []).append(ranks)
    return found


def table(ranks: Ranks, users: Array) -> list[str]:
    """Returns Markdown; the first scorer is compared with each of the others.

    users: [T] whose case each is.
    """
    measures: dict[str, Callable[[Array], Array]] = {
        "HR@10": lambda rank: metrics.hits(rank, 10),
        "NDCG@10": lambda rank: metrics.gains(rank, 10),
        "Recall@20": lambda rank: metrics.hits(rank, 20),
        "Recall@50": lambda rank: metrics.hits(rank, 50),
        "MRR@20": lambda rank: metrics.reciprocals(rank, 20),
    }
    values = {
        scorer: {
            name: np.array([measure(each) for each in seeds]) for name, measure in measures.items()
        }
        for scorer, seeds in ranks.items()
    }
    first = next(iter(values.values()))
    head = [*measures, "first minus this: HR@10", "NDCG@10"]
    lines = [f"| scorer | seeds | {' | '.join(head)} |", "|---|---|" + "---|" * len(head)]
    for scorer, found in values.items():
        cells = [_spread(found[name]) for name in measures]
        for name in ("HR@10", "NDCG@10"):
            low, high = metrics.interval(first[name].mean(0) - found[name].mean(0), users)
            cells.append("" if found is first else f"{low:+.4f} .. {high:+.4f}")
        lines.append(f"| {scorer} | {len(ranks[scorer])} | {' | '.join(cells)} |")
    return lines


def _spread(of_seeds: Array) -> str:
    """Returns the mean over seeds, with the least and the most of them in brackets."""
    means = of_seeds.mean(1)
    return f"{means.mean():.4f}" + (
        f" [{means.min():.4f}, {means.max():.4f}]" if len(means) > 1 else ""
    )


@click.command()
@click.argument("folder", type=_FILE)
@click.option("--model", "models", multiple=True, required=True, type=_FILE)
@click.option("--events", multiple=True, required=True, type=_FILE)
@click.option("--items", multiple=True, type=_FILE)
@click.option(
    "--live-popularity", "with_live", is_flag=True, help="The models also with it, first."
)
@data_options
def main(
    folder: Path,
    models: tuple[Path, ...],
    events: tuple[Path, ...],
    items: tuple[Path, ...],
    with_live: bool,
    **given: Any,
) -> None:
    """Prints the table."""
    found = cut(events, items, given)
    ways = {"interest-stream, live popularity": True, "interest-stream": False}
    ranks: Ranks = {
        name: [ranks_of(each, found, given["seen"], given["threads"], live=live) for each in models]
        for name, live in ways.items()
        if with_live or not live
    }
    ranks |= peers_of(folder, len(found.cases))
    ranks |= {
        each.name: [Ranker(found, given["seen"]).ranks(each.scores)] for each in baselines_of(found)
    }
    for line in [
        *table(ranks, found.cases.user),
        "",
        f"{len(found.cases):,} cases. {found.description}.",
    ]:
        click.echo(line)


if __name__ == "__main__":
    main()

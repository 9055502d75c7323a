"""Measures accuracy against cost a user, for sizes of the network and for parts of the answer.

    python -m tests.benchmarks.frontier OUT --events E --items I [--seen remove] [--protocol P]

It prints a Markdown table with a row for each size and answer: the LSTM, the language model, and
the blend. It trains a model directory for each size below OUT (quick effort; a size that is there
is kept, an interrupted one goes on) and measures each on the same cases
(models/evaluation/ablation.py: weights of a blend are fitted to one half of the users and measured
on the other). Then it times all of them in turns: CPU time of one thread, 512 users with full
histories, median and quartiles of ROUNDS, on a quiet machine (or `--no-time`).

Sizes: D width, k soft tokens, n recent events.
"""

from __future__ import annotations

import json
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Final

import click
import numpy as np
import torch

from models.compact import COMPACT, RECENT, hash64
from models.data.interests import InterestConfig
from models.data.splits import Split
from models.evaluation import measure_ablation
from models.predict import load_predictor
from models.progress import Progress
from models.serving.predictor import Predictor
from models.training import effort_of, settings_for, train_model
from models.training.effort import with_width
from stream.cli.data_options import data_options
from stream.offline.dataset import with_found_interests
from tests.benchmarks.model_peers.questions import cut

Array = np.ndarray[Any, Any]

USERS: Final = 512
ROUNDS: Final = 15
FIRST: Final = 10
"""Items of an answer."""


@dataclass(frozen=True)
class Size:
    """Holds the sizes that are varied."""

    width: int = 64
    soft_tokens: int = 2
    recent: int = 8

    def __str__(self) -> str:
        return f"D {self.width}, k {self.soft_tokens}, n {self.recent}"


SIZES: Final = (
    Size(),
    Size(width=32),
    Size(width=128),
    Size(recent=4),
    Size(recent=16),
    Size(soft_tokens=4),
    Size(soft_tokens=8),
    Size(soft_tokens=16, recent=16),
)
ANSWERS: Final = {
    "LSTM only": "lstm alone",
    "language model only": "language model alone",
    "both networks, blended": "blend without co-occurrence and EASE",
    "everything, as served": "blend",
}
"""What a worker could answer with, and its row in models.evaluation.ablation."""


def trained(size: Size, found: Split, out: Path, given: dict[str, Any]) -> Path:
    """Returns the model directory of a size, trained with the options that were given."""
    directory = out / str(size).replace(", ", "-").replace(" ", "")
    config, _ = settings_for("quick", found.train, seed=given["seed"], model=directory.name)
    config = replace(
        with_width(config, size.width),
        soft_tokens=size.soft_tokens,
        recent=size.recent,
        seen=given["seen"],
        threads=given["threads"],
    )
    if not (directory / "weights.safetensors").exists():
        train_model(
            found.train, directory, config, _progress_of(str(size)), effort_of("quick").minutes
        )
    return directory


def _progress_of(size: str) -> Progress:
    """Returns a report of progress that names the size."""

    def progress(stage: str, done: int, total: int, figures: dict[str, Any]) -> None:
        sys.stderr.write(f"{size}: {stage} {done}/{total} {figures}\n")

    return progress


def costs(models: dict[Size, Predictor], seed: int) -> dict[Size, dict[str, Array]]:
    """Returns microseconds of CPU time a user, [ROUNDS], of each answer and of an event's step.

    Sizes take turns.
    """
    found: dict[Size, dict[str, list[float]]] = {size: {} for size in models}
    calls = {size: _work(model, seed) for size, model in models.items()}
    for _ in range(ROUNDS + 1):
        for size in models:
            for name, work in calls[size].items():
                before = time.thread_time()
                work()
                found[size].setdefault(name, []).append((time.thread_time() - before) / USERS * 1e6)
    return {
        size: {name: np.array(each[1:]) for name, each in rows.items()}
        for size, rows in found.items()
    }


def _work(model: Predictor, seed: int) -> dict[str, Callable[[], object]]:
    """Returns the calls that are timed.

    The recent events of their users are drawn from the catalogue.
    """
    random = np.random.default_rng(seed)
    recent = np.zeros((USERS, RECENT), COMPACT)
    keys = np.array([hash64(item) for item in model.info.items], np.uint64)
    recent["key"] = random.choice(keys, recent.shape).astype(recent["key"].dtype)
    recent["time_ms"] = 1_770_000_000_000 - 60_000 * np.arange(RECENT)
    state = random.normal(0, 0.3, (USERS, model.info.state_size)).astype(np.float32)
    network = model.network
    items, bias = network.item_candidates().detach(), network.item_bias.detach()

    @torch.inference_mode()
    def of(reads: bool) -> None:
        known = model.known(state, recent)
        answer = network.lstm.feature(known.x[:, -1], known.memory)
        if reads:
            answer, _, _ = model.answer(known, answer)
        torch.nn.functional.linear(answer, items, bias).topk(FIRST, dim=1)

    return {
        "LSTM only": lambda: of(reads=False),
        "language model only": lambda: of(reads=True),
        "everything, as served": lambda: model.score(
            state, recent, interests=5, items=FIRST, because=3
        ),
        "LSTM step, an event": lambda: model.step(
            state, recent[:, 0], np.array([USERS]), recent["time_ms"][:, 1]
        ),
    }


def table(
    accuracy: dict[Size, list[dict[str, Any]]], cost: dict[Size, dict[str, Array]]
) -> list[str]:
    """Returns Markdown: a row for each size and answer."""
    lines = [
        "| size | answer | HR@10 | NDCG@10 | µs a user [quartiles] | bytes of memory |",
        "|---|---|---|---|---|---|",
    ]
    for size, parts in accuracy.items():
        rows = {row["part"]: row for row in parts}
        for answer, part in ANSWERS.items():
            taken = cost.get(size, {}).get(answer)
            spread = (
                ""
                if taken is None
                else "{1:.1f} [{0:.1f}, {2:.1f}]".format(*np.quantile(taken, (0.25, 0.5, 0.75)))
            )
            row = rows.get(part, rows["blend without co-occurrence"])  # a model that has no EASE
            lines.append(
                f"| {size} | {answer} | {row['HR@10']:.4f} | {row['NDCG@10']:.4f} | {spread} "
                f"| {8 * size.width} |"
            )
    return lines


@click.command()
@click.argument("out", type=click.Path(path_type=Path))
@click.option(
    "--events", multiple=True, required=True, type=click.Path(path_type=Path, exists=True)
)
@click.option("--items", multiple=True, type=click.Path(path_type=Path, exists=True))
@click.option(
    "--time/--no-time", "timed", default=True, help="Measure the cost too; on a quiet machine."
)
@data_options
def main(
    out: Path, events: tuple[Path, ...], items: tuple[Path, ...], timed: bool, **given: Any
) -> None:
    """Trains, measures, times, and prints the table."""
    found = cut(events, items, given)
    whole = with_found_interests(found.whole, InterestConfig(), None, given["seed"])
    seen_by = replace(
        found, whole=whole, train=found.train.with_interests(whole.interests, whole.membership, {})
    )
    models: dict[Size, Predictor] = {}
    accuracy: dict[Size, list[dict[str, Any]]] = {}
    for size in SIZES:
        directory = trained(size, seen_by, out, given)
        model = load_predictor(directory, given["threads"])
        assert isinstance(model, Predictor)
        models[size], kept = model, directory.with_suffix(".parts.json")
        if not kept.exists():
            kept.write_text(
                json.dumps(measure_ablation(model, seen_by, seen=given["seen"])["parts"]),
                encoding="utf-8",
            )
        accuracy[size] = json.loads(kept.read_text(encoding="utf-8"))
    cost = costs(models, given["seed"]) if timed else {}
    for line in [*table(accuracy, cost), "", f"{len(found.cases):,} cases. {found.description}."]:
        click.echo(line)
    for size, each in cost.items():
        click.echo(
            f"LSTM step of an event, {size}: {np.median(each['LSTM step, an event']):.2f} µs"
        )


if __name__ == "__main__":
    main()

"""Says which parts of a pass over a large catalogue cost what.

    python -m tests.benchmarks.catalogue_parts --items 10000 --items 100000

A synthetic model answers users with 32 events each, operation by operation, in one thread. Times
are processor time a user, the median of rounds. A traced pass takes less than the sum. It prints
JSON.
"""

from __future__ import annotations

import json
import statistics
import time
from collections import defaultdict
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from typing import Any, Final
from unittest.mock import patch

import click
import torch

from models.evaluation.synthetic_catalogue import synthetic_model, wandering_users
from models.scorers.registry import ScorerSet
from models.scorers.scorer import Pool
from models.serving.allocator import keep_freed_memory
from models.serving.item_index import CellSearch
from models.serving.item_search import ProductSearch
from models.serving.predictor import Predictor
from models.serving.retrieval import Retrieval

ASKED: Final = {"interests": 5, "items": 10, "because": 3}
PARTS: Final[tuple[tuple[str, type, str], ...]] = (
    ("what is known of users", Predictor, "known"),
    ("networks", Predictor, "networks"),
    ("the search of items", ProductSearch, "__call__"),
    ("the search of items", CellSearch, "nearest"),
    ("what scorers name", ScorerSet, "candidates"),
    ("the pool", Pool, "of"),
    ("candidates: products, rest", Retrieval, "__call__"),
    ("scorers on candidates", ScorerSet, "scores"),
    ("interests", Predictor, "_interests"),
    ("causes", Predictor, "_because"),
)
"""Parts and the methods that are timed; a part that is inside another counts once."""


class Clock:
    """Adds up the processor time of parts, each without the parts inside it."""

    def __init__(self) -> None:
        self.spent: dict[str, float] = defaultdict(float)
        self._inside: list[float] = []

    @contextmanager
    def part(self, name: str) -> Iterator[None]:
        """Counts what runs inside as the part of a name."""
        self._inside.append(0.0)
        begun = time.thread_time()
        try:
            yield
        finally:
            taken = time.thread_time() - begun
            self.spent[name] += taken - self._inside.pop()
            if self._inside:
                self._inside[-1] += taken

    def timed(self, name: str, work: Callable[..., Any]) -> Callable[..., Any]:
        """Returns the work, counted."""

        def counted(*given: Any, **named: Any) -> Any:
            with self.part(name):
                return work(*given, **named)

        return counted


def parts_of(items: int, users: int, rounds: int) -> dict[str, float]:
    """Returns the processor time of each part in microseconds a user."""
    predictor = Predictor(synthetic_model(items))
    predictor.serve("float32")
    predictor._serving = False  # operation by operation
    recent = wandering_users(predictor.trained, users)
    state = predictor.rebuild(recent)
    predictor.score(state, recent, **ASKED)
    found: dict[str, list[float]] = defaultdict(list)
    for _ in range(rounds):
        clock = Clock()
        with ExitStack() as stack:
            for name, kind, method in PARTS:
                timed = clock.timed(name, getattr(kind, method))
                kept: Any = staticmethod(timed) if method == "of" else timed
                stack.enter_context(patch.object(kind, method, kept))
            with clock.part("all else"):
                predictor.score(state, recent, **ASKED)
        for name, seconds in clock.spent.items():
            found[name].append(1e6 * seconds / users)
    return {name: round(statistics.median(each), 1) for name, each in found.items()}


@click.command()
@click.option("--items", multiple=True, type=int, default=(10_000, 100_000), show_default=True)
@click.option("--users", multiple=True, type=int, default=(512, 4_096), show_default=True)
@click.option("--rounds", type=int, default=7, show_default=True)
def main(items: tuple[int, ...], users: tuple[int, ...], rounds: int) -> None:
    """Say which parts of a pass over a large catalogue cost what."""
    torch.set_num_threads(1)
    keep_freed_memory()
    rows = [
        {"items": each, "users": many, "us_per_user": parts_of(each, many, rounds)}
        for each in items
        for many in users
    ]
    click.echo(json.dumps(rows, indent=1))


if __name__ == "__main__":
    main()

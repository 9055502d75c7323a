"""Reads the cases of a benchmark in the environment of a peer, and ranks their targets.

It needs numpy alone, so it runs in every peer's environment; each peer's script is the command that
uses it. Full ranking, ties against the peer, seen items as the cases say: as
models/evaluation/metrics.py.

Glossary: T cases, V items.
"""

from __future__ import annotations

import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

Array = np.ndarray[Any, Any]


@dataclass(frozen=True)
class Questions:
    """Holds what questions.py wrote."""

    items: int
    keep_seen: bool
    train: list[Array]  # items of each user or session, in order
    histories: list[Array]  # [T] items before each case, in order
    target: Array  # int32 [T]

    @classmethod
    def load(cls, folder: Path) -> Questions:
        """Returns the cases of a folder. Raises FileNotFoundError."""
        with np.load(folder / "questions.npz") as file:
            group = file["train_group"]
            breaks = np.flatnonzero(group[1:] != group[:-1]) + 1
            return cls(
                int(file["items"]),
                bool(file["keep_seen"]),
                np.split(file["train_item"], breaks),
                np.split(file["history_item"], file["history_stop"])[:-1],
                file["case_target"],
            )

    def ranks(self, scores: Callable[[list[Array]], Array], batch: int = 256) -> Array:
        """Returns the rank of each target, int64 [T]; 0 is best.

        `scores` gives float [B, V] of B histories.
        """
        found = np.empty(len(self.target), np.int64)
        for begin in range(0, len(found), batch):
            histories, target = (
                self.histories[begin : begin + batch],
                self.target[begin : begin + batch],
            )
            scored = np.array(scores(histories), np.float64)
            if not self.keep_seen:
                for row, history in enumerate(histories):
                    scored[row, history] = -np.inf
            if np.isnan(scored).any():
                raise ValueError("the peer gave a score that is not a number")
            asked = scored[np.arange(len(target)), target][:, None]
            found[begin : begin + batch] = (scored >= asked).sum(1) - 1
        return found


def gain(ranks: Array) -> float:
    """Returns NDCG@10 of ranks int64 [T]."""
    return float(np.where(ranks < 10, 1 / np.log2(ranks + 2.0), 0.0).mean())


def run(name: str, fit: Callable[[Questions, int], Callable[[list[Array]], Array]]) -> None:
    """Trains a peer, ranks the cases, and prints its figures.

    `python <peer>.py FOLDER SEED` writes FOLDER/<name>-<seed>.npy.
    """
    if len(sys.argv) != 3:
        sys.exit(f"usage: {sys.argv[0]} FOLDER SEED")
    folder, seed = Path(sys.argv[1]), int(sys.argv[2])
    questions = Questions.load(folder)
    ranks = questions.ranks(fit(questions, seed))
    np.save(folder / f"{name}-{seed}.npy", ranks)
    sys.stdout.write(
        f"{name} seed {seed}: HR@10 {(ranks < 10).mean():.4f} NDCG@10 {gain(ranks):.4f}, "
        f"{len(ranks)} cases\n"
    )

"""Two models on the same cases: each measure of both, and their paired difference with its interval. Definitions: metrics.py.

Interests are compared only where both models name the same ones. T cases, V items, C interests.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from models import metrics
from models.errors import ModelDataError
from models.evaluate import Model, Progress, Ranker, check_seen, of_model
from models.interest_baselines import touched_rows
from models.protocols import Split

Array = np.ndarray[Any, Any]


def compare(
    first: Model, second: Model, split: Split, *, seen: str = "keep", seed: int = 0, progress: Progress | None = None
) -> dict[str, Any]:
    """Both models asked the cases of a split, which has the catalogue and the interests of the first one.

    Raises ModelDataError if the second model does not know the same items.
    """
    check_seen(seen)
    report = progress or (lambda stage, done, total: None)
    second = _Reordered(second, first.info.items)
    ranks, probabilities = zip(
        *(of_model(each, split, Ranker(split, seen), report) for each in (first, second)), strict=True
    )
    user = split.cases.user
    rows = [_row(f"HR@{k}", [metrics.hits(rank, k) for rank in ranks], user, seed) for k in metrics.CUTS] + [
        _row("NDCG@10", [metrics.gains(rank, 10) for rank in ranks], user, seed),
        _row("MRR", [1 / (rank + 1.0) for rank in ranks], user, seed),
    ]
    if first.info.interests == second.info.interests:
        happened = touched_rows(split.whole)[split.cases.target + 1]
        some = happened.any(1)
        rows += [
            _row("NLL of interests", [metrics.interest_losses(each, happened) for each in probabilities], user, seed),
            _row(
                "top-3 of interests", [metrics.top_hits(each, happened, 3) for each in probabilities], user[some], seed
            ),
        ]
    return {
        "protocol": split.protocol,
        "description": split.description,
        "candidates": len(split.whole.item_ids),
        "cases": len(split.cases),
        "users": len(np.unique(user)),
        "seen_items": "stay candidates" if seen == "keep" else "are no candidates",
        "seed": seed,
        "models": [{"name": each.info.name, "version": each.info.version} for each in (first, second)],
        "measures": rows,
        "by_history": [metrics.by_history(rank, split.cases.history) for rank in ranks],
    }


def _row(name: str, values: Sequence[Array], user: Array, seed: int) -> dict[str, Any]:
    first, second = values
    return {
        "measure": name,
        "first": float(first.mean()),
        "second": float(second.mean()),
        "second minus first": metrics.interval(second - first, user, seed),
    }


class _Reordered:
    """A model whose item scores stand in the order of another catalogue of the same items."""

    def __init__(self, model: Model, items: Sequence[str]) -> None:
        mine = {item: place for place, item in enumerate(model.info.items)}
        missing = [item for item in items if item not in mine]
        if missing or len(mine) != len(items):
            example = f", for example {missing[0]!r}" if missing else ""
            raise ModelDataError(
                f"the models know different items ({len(items)} and {len(mine)}{example}); only models of one catalogue can be compared"
            )
        self.info = model.info
        self.step, self.interest_probabilities = model.step, model.interest_probabilities
        self._model = model
        self._places = np.array([mine[item] for item in items])

    def score_all(self, state: Array, recent: Array) -> Array:
        scores: Array = self._model.score_all(state, recent)[:, self._places]
        return scores

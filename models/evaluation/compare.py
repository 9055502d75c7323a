"""Compares two models on the same cases: each measure of both, and their paired difference.

Every difference has its interval; metrics.py has the definitions. Interests are compared only
where both models name the same ones.

Glossary: T cases, V items, C interests.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import numpy as np

from models.data.splits import Split
from models.errors import ModelDataError
from models.evaluation import metrics
from models.evaluation.evaluate import EvaluatedModel, Ranker, check_seen, rank_cases
from models.evaluation.interest_baselines import touched_rows
from models.progress import Progress, ignore_progress

Array = np.ndarray[Any, Any]


def compare_models(
    first: EvaluatedModel,
    second: EvaluatedModel,
    split: Split,
    *,
    seen: str = "keep",
    seed: int = 0,
    progress: Progress = ignore_progress,
) -> dict[str, Any]:
    """Returns the measures of both models on the cases of a split, as a JSON object.

    The split has the catalogue and the interests of the first model. Models of different catalogues
    are compared on what they share: cases about items that both know, ranked among such items.
    Raises ModelDataError if there is no such case.
    """
    # Both models score the same cases and items, in the order of the first one's catalogue.
    check_seen(seen)
    items = first.info.items
    shared = set(items) & set(second.info.items)
    asked, split = len(split.cases), _of_both(split, shared)
    ranks, said = zip(
        *(
            rank_cases(_Shared(each, items, shared), split, Ranker(split, seen), progress)
            for each in (first, second)
        ),
        strict=True,
    )

    # Measures of the items, and of the interests where both models have the same.
    user = split.cases.user
    rows = [
        _row(f"HR@{k}", [metrics.hits(rank, k) for rank in ranks], user, seed) for k in metrics.CUTS
    ] + [
        _row("NDCG@10", [metrics.gains(rank, 10) for rank in ranks], user, seed),
        _row("MRR@20", [metrics.reciprocals(rank, 20) for rank in ranks], user, seed)
        if split.protocol == "sessions"
        else _row("MRR", [1 / (rank + 1.0) for rank in ranks], user, seed),
    ]
    if first.info.interests == second.info.interests:
        happened = touched_rows(split.whole)[split.cases.target + 1]
        some = happened.any(1)
        rows += [
            _row(
                "NLL of interests",
                [metrics.interest_losses(each.probability, happened) for each in said],
                user,
                seed,
            ),
            _row(
                "top-3 of interests",
                [metrics.top_hits(each.probability, happened, 3) for each in said],
                user[some],
                seed,
            ),
        ]
    return {
        "protocol": split.protocol,
        "description": split.description,
        "candidates": len(shared),
        "cases": len(split.cases),
        "left_out": {
            "cases": asked - len(split.cases),
            "items_of_one_model": [len(each.info.items) - len(shared) for each in (first, second)],
        },
        "users": len(np.unique(user)),
        "seen_items": "stay candidates" if seen == "keep" else "are no candidates",
        "seed": seed,
        "models": [
            {"name": each.info.name, "version": each.info.version} for each in (first, second)
        ],
        "measures": rows,
        "by_history": [metrics.by_history(rank, split.cases.history) for rank in ranks],
    }


def _row(name: str, values: Sequence[Array], user: Array, seed: int) -> dict[str, Any]:
    """Returns a row of the comparison; values: float [T] of each of the two models."""
    first, second = values
    return {
        "measure": name,
        "first": float(first.mean()),
        "second": float(second.mean()),
        "second minus first": metrics.interval(second - first, user, seed),
    }


class _Shared:
    """Scores only the items that two models share, in the order of the catalogue of one of them.

    The other items of that catalogue have no chance to be ranked.
    """

    def __init__(self, model: EvaluatedModel, items: Sequence[str], shared: set[str]) -> None:
        mine = {item: place for place, item in enumerate(model.info.items)}
        self.info = model.info
        self.step, self.interest_scores = model.step, model.interest_scores
        self._model, self._items = model, len(items)
        self._to = np.array([place for place, item in enumerate(items) if item in shared])
        self._from = np.array([mine[item] for item in items if item in shared])

    def score_all(self, state: Array, recent: Array) -> Array:
        """Returns the scores of all items, float32 [T, V]; -inf for those that are not shared."""
        scores = np.full((len(recent), self._items), -np.inf, np.float32)
        scores[:, self._to] = self._model.score_all(state, recent)[:, self._from]
        return scores


def _of_both(split: Split, shared: set[str]) -> Split:
    """Returns the split with the cases whose target both models know.

    Raises ModelDataError if there is none.
    """
    known = np.array([item in shared for item in split.whole.item_ids])
    cases = split.cases.take(np.flatnonzero(known[split.cases.target]))
    if not len(cases):
        raise ModelDataError(
            "the models share no item that is asked for, so there is nothing to compare them on; "
            "name models of one shop"
        )
    return replace(split, cases=cases)

"""Describes a few cases of an evaluation in words, for the report of a training.

Each shows what a user did, what the model predicts from it and why, and what the user did next.
"""

from __future__ import annotations

from typing import Any, Final

import numpy as np

from models.compact import ACTIONS, QUERY, text_of
from models.contract import TRENDS
from models.data.prepare import Dataset, catalogue_rows, owners
from models.data.replay import replay
from models.data.splits import Split
from models.serving.predictor import Predictor

Array = np.ndarray[Any, Any]

TYPED: Final = "(words of the user)"
"""Stands for a search, which may say who searches."""
RARE: Final = "(something few users met)"
"""Stands for an item or a title that says whose history it is."""
SHOWN: Final = 6
"""Events of a history that are shown, the newest first."""


def describe_sample_cases(
    model: Predictor, split: Split, count: int = 5, seed: int = 0, least_users: int = 1
) -> list[dict[str, Any]]:
    """Returns a few cases in words, as JSON objects without user ids.

    They are drawn among the cases with some history, and scored as a worker would score them. What
    fewer than `least_users` users met is not named.
    """
    enough = np.flatnonzero(split.cases.history >= min(SHOWN, int(split.cases.history.max())))
    chosen = np.sort(np.random.default_rng(seed).permutation(enough)[:count])
    cases, found = split.cases.take(chosen), []
    rare = _keys_of_few(split.whole, least_users)
    target_is_rare = np.isin(split.whole.events["key"][cases.position], rare)
    for places, state, recent in replay(
        model, model.info.state_size, split.whole, cases, len(cases)
    ):
        scores = model.score(state, recent, interests=3, items=5, because=2)
        for row, place in enumerate(places.tolist()):
            history = _names(split.whole, recent[row], rare)
            causes = [slot for slot in scores.because[row].tolist() if 0 <= slot < len(history)]
            # Titles and names instead of numbers; the last two were hidden from the model.
            found.append(
                {
                    "events": int(cases.history[place]),
                    "history": history[:SHOWN],
                    "interests": [
                        {
                            "interest": model.info.interests[which],
                            "probability": round(float(probability), 3),
                            "trend": TRENDS[trend],
                        }
                        for which, probability, trend in zip(
                            scores.interest[row],
                            scores.probability[row],
                            scores.trend[row],
                            strict=True,
                        )
                    ],
                    "because": [history[slot] for slot in causes],
                    "items": [model.info.titles[item] for item in scores.item[row].tolist()],
                    "next": RARE
                    if target_is_rare[place]
                    else split.whole.titles[int(cases.target[place])],
                    "next_is_about": _interests_of(split.whole, int(cases.target[place])),
                }
            )
    return found


def _names(dataset: Dataset, recent: Array, rare: Array) -> list[str]:
    """Returns `action title` of the recent events, newest first.

    What a user typed is not repeated, nor what few users met (rare: their keys): a report is read
    by others.
    """
    events = recent[recent["key"] != 0]
    rows = catalogue_rows(events["key"], dataset.item_ids)
    titles = (
        TYPED
        if kind == QUERY and not row
        else RARE
        if few
        else dataset.titles[row - 1]
        if row
        else text_of(raw)
        for row, kind, raw, few in zip(
            rows, events["kind"], events["text"], np.isin(events["key"], rare), strict=True
        )
    )
    return [
        f"{ACTIONS[action]} {title}" for action, title in zip(events["action"], titles, strict=True)
    ]


def _keys_of_few(dataset: Dataset, least_users: int) -> Array:
    """Returns the keys of events that fewer than that many users have, uint64."""
    keys, which = np.unique(dataset.events["key"], return_inverse=True)
    pairs = np.unique(which.astype(np.int64) * len(dataset.users) + owners(dataset))
    users = np.bincount(pairs // len(dataset.users), minlength=len(keys))
    few: Array = keys[users < least_users]
    return few


def _interests_of(dataset: Dataset, item: int) -> list[str]:
    """Returns the names of the interests of an item (catalogue position)."""
    indptr, indices = dataset.membership
    return [dataset.interests[place] for place in indices[indptr[item] : indptr[item + 1]].tolist()]

"""A few users of an evaluation in words: what they did, what the model says of it, and what they did next."""

from __future__ import annotations

from typing import Any, Final

import numpy as np

from models.compact import ACTIONS, text_of
from models.predict import TRENDS
from models.predictor import Predictor
from models.prepare import Dataset, catalogue_rows
from models.protocols import Split
from models.replay import replay

Array = np.ndarray[Any, Any]

SHOWN: Final = 6
"""Events of a history, newest first."""


def examples(model: Predictor, split: Split, count: int = 5, seed: int = 0) -> list[dict[str, Any]]:
    """Cases drawn among those with some history, scored as a worker would score them; without user ids."""
    enough = np.flatnonzero(split.cases.history >= min(SHOWN, int(split.cases.history.max())))
    chosen = np.sort(np.random.default_rng(seed).permutation(enough)[:count])
    cases, found = split.cases.take(chosen), []
    for places, state, recent in replay(model, model.info.state_size, split.whole, cases, len(cases)):
        scores = model.score(state, recent, interests=3, items=5, because=2)
        for row, place in enumerate(places.tolist()):
            history = _names(split.whole, recent[row])
            causes = [slot for slot in scores.because[row].tolist() if 0 <= slot < len(history)]
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
                            scores.interest[row], scores.probability[row], scores.trend[row], strict=True
                        )
                    ],
                    "because": [history[slot] for slot in causes],
                    "items": [model.info.titles[item] for item in scores.item[row].tolist()],
                    "next": split.whole.titles[int(cases.target[place])],
                    "next_is_about": _interests_of(split.whole, int(cases.target[place])),
                }
            )
    return found


def _names(dataset: Dataset, recent: Array) -> list[str]:
    """`action title` of the events that a state holds, newest first."""
    events = recent[recent["key"] != 0]
    rows = catalogue_rows(events["key"], dataset.item_ids)
    titles = (dataset.titles[row - 1] if row else text_of(raw) for row, raw in zip(rows, events["text"], strict=True))
    return [f"{ACTIONS[action]} {title}" for action, title in zip(events["action"], titles, strict=True)]


def _interests_of(dataset: Dataset, item: int) -> list[str]:
    indptr, indices = dataset.membership
    return [dataset.interests[place] for place in indices[indptr[item] : indptr[item + 1]].tolist()]

"""Measures the predictions that a worker published, by the events that came after them.

An update names its best few interests and items; what happened is the user's next event about an
item. The update's `events_seen` says which of the user's events is the next one, if the log is the
one that the worker read from its start; where it does not (another log, or lines that the worker
refused) the first event after the update's time is taken. All functions are pure.
"""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Final

import numpy as np

from models.evaluation import metrics
from models.evaluation.reliability import figures

Array = np.ndarray[Any, Any]
CUTS: Final = (1, 3, 5, 10)
"""The k of HR@k, as far as updates name so many items."""


@dataclass(frozen=True)
class UserLog:
    """Holds the log of one user, in order: times of the events, and items (None: not about one)."""

    times_ms: list[int] = field(default_factory=list)
    items: list[str | None] = field(default_factory=list)


@dataclass(frozen=True)
class Prediction:
    """Holds what is read of one update."""

    user_id: str
    time_ms: int
    events_seen: int
    interests: list[tuple[str, float]]  # name and probability, best first
    items: list[str]  # best first


def next_item(prediction: Prediction, log: UserLog) -> str | None:
    """Returns the item of the user's next event about an item; None if there is none."""
    seen = prediction.events_seen
    if not 0 < seen <= len(log.times_ms) or log.times_ms[seen - 1] != prediction.time_ms:
        seen = bisect_right(log.times_ms, prediction.time_ms)
    return next((item for item in log.items[seen:] if item), None)


def measure_predictions(
    predictions: Iterable[Prediction],
    logs: Mapping[str, UserLog],
    interests_of: Mapping[str, Sequence[str]] | None = None,
    seed: int = 0,
) -> dict[str, Any]:
    """Returns the hit rates of items, and of interests where the interests of an item are known.

    logs: of each user; interests_of: names by item id, None if they are not known.
    """
    tally = _Tally()
    for prediction in predictions:
        log = logs.get(prediction.user_id)
        item = next_item(prediction, log) if log else None
        tally.count(
            prediction,
            item,
            log is not None,
            None if interests_of is None else interests_of.get(item or "", ()),
        )
    return tally.result(interests_of is not None, seed)


class _Tally:
    """Counts predictions one after the other, and sums them up at the end."""

    def __init__(self) -> None:
        self.total = self.strangers = self.last = 0
        self.users: dict[str, int] = {}
        self.user: list[int] = []
        self.rank: list[int] = []  # place of the item among those named; -1: not named
        self.named = 0
        self.interest_rank: list[int] = []
        self.predicted: list[float] = []  # probability of each interest that was named,
        self.was: list[bool] = []  # and whether the next event touched it
        self.first: list[tuple[int, float, bool]] = []  # user, and the same of the first interest

    def count(
        self, prediction: Prediction, item: str | None, known: bool, touched: Sequence[str] | None
    ) -> None:
        """Counts one prediction. item: what came next; touched: its interests."""
        self.total += 1
        if item is None:
            self.last += known
            self.strangers += not known
            return
        self.user.append(self.users.setdefault(prediction.user_id, len(self.users)))
        self.named = max(self.named, len(prediction.items))
        self.rank.append(prediction.items.index(item) if item in prediction.items else -1)
        if touched is not None and prediction.interests:
            name, probability = prediction.interests[0]
            self.first.append((self.user[-1], probability, name in touched))
        if touched:
            names = [name for name, _ in prediction.interests]
            self.interest_rank.append(
                min((names.index(name) for name in touched if name in names), default=-1)
            )
            self.predicted += [probability for _, probability in prediction.interests]
            self.was += [name in touched for name in names]

    def result(self, with_interests: bool, seed: int) -> dict[str, Any]:
        """Returns the figures of everything that was counted, as a JSON object."""
        # How many predictions there were, and how many of them nothing can be said about.
        found: dict[str, Any] = {
            "updates": self.total,
            "updates_with_a_next_event": len(self.rank),
            "updates_of_users_without_events": self.strangers,
            "updates_after_which_nothing_came": self.last,
            "users": len(self.users),
        }
        if not self.rank:
            return found

        # Items: hit rates as far down as updates name them.
        rank, user = np.array(self.rank), np.array(self.user)
        for k in CUTS:
            if k <= max(self.named, 1):
                found[f"HR@{k}"] = float(((rank >= 0) & (rank < k)).mean())
        most = max(self.named, 1)
        found[f"HR@{most} interval"] = metrics.interval((rank >= 0).astype(np.float64), user, seed)
        found[f"MRR@{most}"] = float(
            np.where(rank >= 0, 1 / (np.maximum(rank, 0) + 1.0), 0.0).mean()
        )

        # Interests: whether the best ones were touched, and how well probabilities are calibrated.
        if with_interests and self.interest_rank:
            place = np.array(self.interest_rank)
            predicted, was = np.array(self.predicted)[:, None], np.array(self.was)[:, None]
            found["interests"] = {
                "cases": len(place),
                "top-1": float((place == 0).mean()),
                "top-3": float(((place >= 0) & (place < 3)).mean()),
                "ECE of the named": metrics.calibration_error(predicted, was),
                "calibration": metrics.calibration_bins(predicted, was),
            }
        # whether the first one means what it says, items without interests included
        if with_interests and self.first:
            whose, said, came = (np.array(column) for column in zip(*self.first, strict=True))
            found["first interest"] = figures(said[:, None], came[:, None], whose, seed)
        return found

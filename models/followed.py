"""Predictions made by a worker, against the events that followed them. Pure functions of what two files say.

An update names its best few interests and items; what happened is the user's next event about an item. The update's
`events_seen` tells which of the user's events is the next one, if the log is the one that the worker read from its start;
where it does not (another log, or lines that the worker refused) the first event after the update's time is taken.
"""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Final

import numpy as np

from models import metrics

Array = np.ndarray[Any, Any]
CUTS: Final = (1, 3, 5, 10)


@dataclass(frozen=True)
class Happened:
    """The log of one user, in order: lists of its events' times and items (None: not about an item)."""

    times_ms: list[int] = field(default_factory=list)
    items: list[str | None] = field(default_factory=list)


@dataclass(frozen=True)
class Prediction:
    """What is read of one update."""

    user_id: str
    time_ms: int
    events_seen: int
    interests: list[tuple[str, float]]  # name and probability, best first
    items: list[str]  # best first


def next_item(prediction: Prediction, log: Happened) -> str | None:
    """The item of the user's next event about an item; None if none followed."""
    seen = prediction.events_seen
    if not 0 < seen <= len(log.times_ms) or log.times_ms[seen - 1] != prediction.time_ms:
        seen = bisect_right(log.times_ms, prediction.time_ms)
    return next((item for item in log.items[seen:] if item), None)


def measure(
    predictions: Iterable[Prediction],
    logs: Mapping[str, Happened],
    interests_of: Mapping[str, Sequence[str]] | None = None,
    seed: int = 0,
) -> dict[str, Any]:
    """Hit rates of items, and of interests where the interests of an item are known."""
    tally = _Tally()
    for prediction in predictions:
        log = logs.get(prediction.user_id)
        item = next_item(prediction, log) if log else None
        tally.count(
            prediction, item, log is not None, None if interests_of is None else interests_of.get(item or "", ())
        )
    return tally.result(interests_of is not None, seed)


class _Tally:
    def __init__(self) -> None:
        self.total = self.strangers = self.last = 0
        self.users: dict[str, int] = {}
        self.user: list[int] = []
        self.rank: list[int] = []  # place of the item among those named; -1: not named
        self.named = 0
        self.interest_rank: list[int] = []
        self.said: list[float] = []
        self.was: list[bool] = []

    def count(self, prediction: Prediction, item: str | None, known: bool, touched: Sequence[str] | None) -> None:
        self.total += 1
        if item is None:
            self.last += known
            self.strangers += not known
            return
        self.user.append(self.users.setdefault(prediction.user_id, len(self.users)))
        self.named = max(self.named, len(prediction.items))
        self.rank.append(prediction.items.index(item) if item in prediction.items else -1)
        if touched:
            names = [name for name, _ in prediction.interests]
            self.interest_rank.append(min((names.index(name) for name in touched if name in names), default=-1))
            self.said += [probability for _, probability in prediction.interests]
            self.was += [name in touched for name in names]

    def result(self, with_interests: bool, seed: int) -> dict[str, Any]:
        found: dict[str, Any] = {
            "updates": self.total,
            "updates_with_a_next_event": len(self.rank),
            "updates_of_users_without_events": self.strangers,
            "updates_after_which_nothing_came": self.last,
            "users": len(self.users),
        }
        if not self.rank:
            return found
        rank, user = np.array(self.rank), np.array(self.user)
        for k in CUTS:
            if k <= max(self.named, 1):
                found[f"HR@{k}"] = float(((rank >= 0) & (rank < k)).mean())
        most = max(self.named, 1)
        found[f"HR@{most} interval"] = metrics.interval((rank >= 0).astype(np.float64), user, seed)
        found[f"MRR@{most}"] = float(np.where(rank >= 0, 1 / (np.maximum(rank, 0) + 1.0), 0.0).mean())
        if with_interests and self.interest_rank:
            place = np.array(self.interest_rank)
            said, was = np.array(self.said)[:, None], np.array(self.was)[:, None]
            found["interests"] = {
                "cases": len(place),
                "top-1": float((place == 0).mean()),
                "top-3": float(((place >= 0) & (place < 3)).mean()),
                "ECE of the named": metrics.calibration_error(said, was),
                "calibration": metrics.calibration_bins(said, was),
            }
        return found

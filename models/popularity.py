"""What many met lately, a prior that knows of fashions: as of the end of the training, or live.

The counts of the model directory stand still until the next training. Live ones come from outside, in snapshots that a job of its
own publishes (docs/decisions/0010-live-popularity.md): were they counted by the worker, a user's answer would depend on what other
users did in between, and a replay would not give it again; every update names the snapshot that it was scored with.
"""

from __future__ import annotations

from typing import Any, Final

import numpy as np
import torch
from torch import Tensor

from models.predict import POPULARITY_HALF_LIFE_DAYS

Array = np.ndarray[Any, Any]

HALF_LIFE_DAYS: Final = 1.0
"""Picked on validation, in the blend (tests/benchmarks/blend_settings.py): better than 4 on movietweetings, hardly worse on retail."""
OVERALL: Final = 0.1
"""Share of the popularity of all times, for items that nobody met lately."""
DAY_MS: Final = 86_400_000
WEEK_MS: Final = 7 * DAY_MS
HOUR_MS: Final = 3_600_000
"""Between live snapshots."""
FORGOTTEN: Final = 30
"""Half-lives after which an event counts no more: less than a billionth."""


def log_shares(rows: Array, items: int) -> Tensor:
    """float32 [V + 1]: log share of each item among rows int [N] (0: unknown, not counted), half an event added to each."""
    counts = np.bincount(rows, minlength=items + 1).astype(np.float32)
    shares = torch.from_numpy(np.log((counts + 0.5) / (counts[1:].sum() + 0.5 * len(counts))))
    shares[0] = 0
    return shares


def popularity_by_week(rows: Array, times: Array, asked_ms: Array, items: int) -> Tensor:
    """float32 [U, V + 1]: recent popularity for moments asked_ms int64 [U], none newer than the beginning of its week.

    Weeks are counted back from the newest of the events rows, times int [N].
    """
    end = int(times.max()) + 1
    weeks, which = np.unique((end - asked_ms - 1) // WEEK_MS, return_inverse=True)
    begun = [end - (week + 1) * WEEK_MS for week in weeks.tolist()]
    return torch.stack([log_recent_shares(rows, times, moment, items) for moment in begun])[torch.from_numpy(which)]


def log_recent_shares(rows: Array, times: Array, until_ms: int, items: int) -> Tensor:
    """float32 [V + 1]: the same of the events before a moment, each counting half as much every HALF_LIFE_DAYS."""
    before = (times < until_ms) & (rows > 0)
    rows, age = rows[before], (until_ms - times[before]) / DAY_MS
    counts = np.bincount(rows, 0.5 ** (age / HALF_LIFE_DAYS), minlength=items + 1)
    return log_live_shares(counts, log_shares(rows, items))


def log_live_shares(counts: Array, log_popularity: Tensor) -> Tensor:
    """float32 [V + 1]: log share of each item by decayed counts [V + 1] in any unit, with OVERALL of its overall share."""
    total = counts[1:].sum()
    if not total > 0:
        return log_popularity
    shares = (1 - OVERALL) * counts / total + OVERALL * log_popularity.exp().numpy()
    found = torch.from_numpy(np.log(shares).astype(np.float32))
    found[0] = 0
    return found


class LivePopularity:
    """The snapshots that a live count of some events would have published, one an hour, each of what came before it."""

    def __init__(self, rows: Array, times: Array, log_popularity: Tensor) -> None:
        """rows int [N] of events (0: unknown, not counted), times int64 [N] in ms."""
        known = np.flatnonzero(rows > 0)
        order = known[np.argsort(times[known], kind="stable")]
        self._rows, self._times, self._log_popularity = rows[order], times[order], log_popularity

    def at(self, asked_ms: Array) -> Tensor:
        """float32 [U, V + 1]: for each moment int64 [U] the newest snapshot, of the beginning of its hour."""
        hours, which = np.unique(asked_ms // HOUR_MS, return_inverse=True)
        return torch.stack([self._snapshot(hour * HOUR_MS) for hour in hours.tolist()])[torch.from_numpy(which)]

    def _snapshot(self, until_ms: int) -> Tensor:
        oldest = until_ms - int(FORGOTTEN * POPULARITY_HALF_LIFE_DAYS * DAY_MS)
        low, high = np.searchsorted(self._times, (oldest, until_ms)).tolist()
        age = (until_ms - self._times[low:high]) / (POPULARITY_HALF_LIFE_DAYS * DAY_MS)
        counts = np.bincount(self._rows[low:high], 0.5**age, minlength=len(self._log_popularity))
        return log_live_shares(counts, self._log_popularity)

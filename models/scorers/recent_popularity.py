"""Scores items by what many met lately, a prior that knows of fashions.

It is counted as of the end of the training, or live. The counts of the model directory stand still
until the next training. Live ones come from outside, in snapshots that a job of its own publishes
(docs/understand/decisions/0010-live-popularity.md): were they counted by the worker, a user's
answer would depend on what other users did in between, and a replay would not give it again. Every
update names the snapshot that it was scored with.

Glossary: U users or moments, N events, V items (row 0: unknown).
"""

from __future__ import annotations

from typing import Any, Final

import numpy as np
import torch
from torch import Tensor

from models.contract import POPULARITY_HALF_LIFE_DAYS
from models.scorers.popularity import log_shares
from models.scorers.scorer import Family, Needs, Product, Scored, Scorer, ScorerInput

Array = np.ndarray[Any, Any]

HALF_LIFE_DAYS: Final = 1.0
"""Picked on validation, in the blend (tests/benchmarks/blend_settings.py).

It is better than 4 on movietweetings, hardly worse on retail.
"""
OVERALL: Final = 0.1
"""Share of the popularity of all times, for items that nobody met lately."""
DAY_MS: Final = 86_400_000
WEEK_MS: Final = 7 * DAY_MS
HOUR_MS: Final = 3_600_000
"""Between live snapshots."""
FORGOTTEN: Final = 30
"""Half-lives after which an event counts no more: less than a billionth."""


class RecentPopularity(Scorer):
    """Scores an item by the logarithm of its share in what was met lately."""

    name = "recent_popularity"
    family = Family.POPULARITY
    needs = Needs.NOTHING
    product = Product.RECENT_POPULARITY

    def scores(self, given: ScorerInput) -> Scored:
        """Returns log shares [U, V + 1]."""
        return Scored(given.log_recent.expand(given.language_model.shape[0], -1))


def popularity_by_week(rows: Array, times: Array, asked_ms: Array, items: int) -> Tensor:
    """Returns the recent popularity of some moments, none newer than the beginning of its week.

    The result is float32 [U, V + 1]; asked_ms: int64 [U], the moments. Weeks are counted back from
    the newest of the events, whose rows and times are int [N].
    """
    end = int(times.max()) + 1
    weeks, which = np.unique((end - asked_ms - 1) // WEEK_MS, return_inverse=True)
    begun = [end - (week + 1) * WEEK_MS for week in weeks.tolist()]
    return torch.stack([log_recent_shares(rows, times, moment, items) for moment in begun])[
        torch.from_numpy(which)
    ]


def log_recent_shares(rows: Array, times: Array, until_ms: int, items: int) -> Tensor:
    """Returns the log share of each item in the events before a moment, float32 [V + 1].

    Each event counts half as much every HALF_LIFE_DAYS.
    """
    before = (times < until_ms) & (rows > 0)
    rows, age = rows[before], (until_ms - times[before]) / DAY_MS
    counts = np.bincount(rows, 0.5 ** (age / HALF_LIFE_DAYS), minlength=items + 1)
    return log_live_shares(counts, log_shares(rows, items))


def log_live_shares(counts: Array, log_popularity: Tensor) -> Tensor:
    """Returns the log share of each item by decayed counts, float32 [V + 1].

    counts: [V + 1] in any unit. OVERALL of the result is its overall share.
    """
    total = counts[1:].sum()
    if not total > 0:
        return log_popularity
    shares = (1 - OVERALL) * counts / total + OVERALL * log_popularity.exp().numpy()
    found = torch.from_numpy(np.log(shares).astype(np.float32))
    found[0] = 0
    return found


class LivePopularity:
    """Gives the snapshots that a live count of some events would have published.

    There is one an hour, each of what came before it.
    """

    def __init__(self, rows: Array, times: Array, log_popularity: Tensor) -> None:
        """Takes rows int [N] of events (0: unknown, not counted) and their times in ms."""
        known = np.flatnonzero(rows > 0)
        order = known[np.argsort(times[known], kind="stable")]
        self._rows, self._times, self._log_popularity = rows[order], times[order], log_popularity

    def at(self, asked_ms: Array) -> Tensor:
        """Returns for each moment the newest snapshot, float32 [U, V + 1].

        It is that of the beginning of the hour of the moment, int64 [U].
        """
        hours, which = np.unique(asked_ms // HOUR_MS, return_inverse=True)
        return torch.stack([self._snapshot(hour * HOUR_MS) for hour in hours.tolist()])[
            torch.from_numpy(which)
        ]

    def _snapshot(self, until_ms: int) -> Tensor:
        """Returns the log shares [V + 1] by what came before a moment."""
        oldest = until_ms - int(FORGOTTEN * POPULARITY_HALF_LIFE_DAYS * DAY_MS)
        low, high = np.searchsorted(self._times, (oldest, until_ms)).tolist()
        age = (until_ms - self._times[low:high]) / (POPULARITY_HALF_LIFE_DAYS * DAY_MS)
        counts = np.bincount(self._rows[low:high], 0.5**age, minlength=len(self._log_popularity))
        return log_live_shares(counts, self._log_popularity)

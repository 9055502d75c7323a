"""What many met lately: popularity at the end of the training, a prior that knows of fashions.

Counts live in the model directory and stand still until the next training: a count that all users share and that moves while a
worker runs would make a user's answer depend on what other users did in between, and a replay would not give it again.
"""

from __future__ import annotations

from typing import Any, Final

import numpy as np
import torch
from torch import Tensor

Array = np.ndarray[Any, Any]

HALF_LIFE_DAYS: Final = 1.0
"""Picked on validation, in the blend (tests/benchmarks/blend_settings.py): better than 4 on movietweetings, hardly worse on retail."""
OVERALL: Final = 0.1
"""Share of the popularity of all times, for items that nobody met lately."""
DAY_MS: Final = 86_400_000
WEEK_MS: Final = 7 * DAY_MS


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
    if not before.any():
        return log_shares(rows[:0], items)
    rows, age = rows[before], (until_ms - times[before]) / DAY_MS
    counts = np.bincount(rows, 0.5 ** (age / HALF_LIFE_DAYS), minlength=items + 1)[1:]
    recent = np.zeros(items + 1)
    recent[1:] = counts / counts.sum() if counts.sum() > 0 else 0.0
    shares = (1 - OVERALL) * recent + OVERALL * log_shares(rows, items).exp().numpy()
    found = torch.from_numpy(np.log(shares).astype(np.float32))
    found[0] = 0
    return found

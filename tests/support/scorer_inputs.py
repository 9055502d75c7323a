"""Makes the input of scorers from the item rows of recent events alone."""

from __future__ import annotations

import torch
from torch import Tensor

from models.scorers.scorer import RecentItems, ScorerInput


def input_of(rows: Tensor, items: int, session: Tensor | None = None) -> ScorerInput:
    """Users with recent events about rows int64 [U, R]; networks and popularity say nothing.

    session: bool [U, R]; None: all events are of one.
    """
    held = torch.ones_like(rows, dtype=torch.bool)
    nothing = torch.zeros(len(rows), items + 1)
    return ScorerInput(
        recent=RecentItems(rows, held, held if session is None else session),
        language_model=nothing,
        lstm=nothing,
        log_popularity=torch.zeros(items + 1),
        log_recent=torch.zeros(1, items + 1),
    )

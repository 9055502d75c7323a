"""Answers two questions about the items of a user's own recent events, for the scorers of them.

Glossary: U users, K places of a pool, R = 32 recent events, newest first.
"""

from __future__ import annotations

import torch
from torch import Tensor

from models.scorers.scorer import ScorerInput


def marked(given: ScorerInput, places: Tensor) -> Tensor:
    """Returns 1 at places int64 [U, R] and 0 elsewhere, float32 [U, K]."""
    return torch.zeros(*given.language_model.shape).scatter_(1, places, 1.0)


def only_one_of_its_item(rows: Tensor, counted: Tensor) -> Tensor:
    """Returns which of the counted events is the only one of its item, bool [U, R].

    An item that was seen twice stays one that was seen when one of the two events is left out.
    """
    same = (rows.unsqueeze(2) == rows.unsqueeze(1)) & counted.unsqueeze(1)
    return counted & (same.sum(2) == 1)

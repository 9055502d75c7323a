"""Draws what a training hides by chance, so that processes that share out a batch draw the same.

Each of them draws for the whole batch and keeps the rows that it computes. So what is hidden of a
row does not depend on how many processes there are, and their generators stay at the same place.

Glossary: B rows of a batch.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor, nn


@dataclass(frozen=True)
class Part:
    """Says which rows of a batch a process computes: `rows` of `whole`, beginning with `first`."""

    first: int
    rows: int
    whole: int
    weight: float
    """Targets that count here over those of the whole batch; 0 for rows that another counts."""

    def of(self, column: Tensor) -> Tensor:
        """Returns the rows of this part of a tensor [B, ..] of the whole batch."""
        return column[self.first : self.first + self.rows]


class Dropout(nn.Dropout):
    """Zeroes numbers by chance, as torch.nn.Dropout does, also where a part of a batch is given.

    steps_first: whether the inputs lie in memory step after step, as those of torch.nn.LSTM do;
    torch draws in that order.
    """

    part: Part | None = None
    """Is set by whoever computes a part of a batch alone."""

    def __init__(self, p: float, *, steps_first: bool = False) -> None:
        super().__init__(p)
        self._steps_first = steps_first

    def forward(self, x: Tensor) -> Tensor:
        """Returns [B, ..] of x [B, ..]."""
        part = self.part
        if part is None or not self.training:
            return super().forward(x)
        rows, *others = x.shape
        assert rows == part.rows
        if self._steps_first:
            ones = x.new_ones(others[0], part.whole, *others[1:]).transpose(0, 1)
        else:
            ones = x.new_ones(part.whole, *others)
        return x * part.of(nn.functional.dropout(ones, self.p))


def hidden_by_chance(like: Tensor, share: float, part: Part | None) -> Tensor:
    """Returns which rows are hidden, bool of the shape of `like` [B, ..], each with a chance."""
    if part is None:
        return torch.rand(like.shape, device=like.device) < share
    return part.of(torch.rand(part.whole, *like.shape[1:], device=like.device)) < share

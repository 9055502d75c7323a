"""Scores items by the attention over the newest items, a network with item vectors of its own.

The network itself is models/network/attention.py. It is trained apart from the others and adds what
they lack, but an answer and a product of its own; so it stays only where it earns that.
"""

from __future__ import annotations

from typing import Final, Self

import torch
from torch import Tensor

from models.scorers.scorer import Family, Product, Scored, Scorer, ScorerInput, Tensors

STORED: Final = "attention.version"


class Attention(Scorer):
    """Scores items by the log-probability that the attention gives them."""

    name = "attention"
    label = "the attention"
    family = Family.NETWORK
    tensors_prefix = "attention."
    must_earn_its_cost = True  # it takes a quarter of a scoring pass
    worth = 0.005
    product = Product.ATTENTION

    @classmethod
    def load(cls, tensors: Tensors) -> Self | None:
        """Returns the scorer if a model has it."""
        return cls() if STORED in tensors else None

    def tensors(self) -> dict[str, Tensor]:
        """Returns the version of the scorer; its weights are the network's."""
        return {STORED: torch.ones(1)}

    def scores(self, given: ScorerInput) -> Scored:
        """Returns log-probabilities [U, V + 1]; zeros for a network without attention."""
        if given.attention is None:
            return Scored(torch.zeros(1, 1).expand_as(given.lstm))
        return Scored(torch.log_softmax(given.attention, 1))

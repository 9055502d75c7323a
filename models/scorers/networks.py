"""Score items by what the networks say of them: each network is one voice of the blend.

The networks themselves are models/network; here are their log-probabilities. Which events they
rest on is a look inside their last blocks: models/serving/because.py. What reached an answer
through many steps of the LSTM is credited to no single event.
"""

from __future__ import annotations

from typing import Final, Self

import torch
from torch import Tensor

from models.scorers.scorer import Family, Needs, Product, Scored, Scorer, ScorerInput, Tensors

STORED: Final = "attention.version"


class LanguageModel(Scorer):
    """Scores items by the language model's answer to a user's recent events and soft tokens."""

    name = "language_model"
    label = "the language model"
    family = Family.NETWORK
    needs = Needs.TEXTS
    start_weight = 0.5
    product = Product.LANGUAGE_MODEL

    def scores(self, given: ScorerInput) -> Scored:
        """Returns log-probabilities [U, V + 1]."""
        return Scored(torch.log_softmax(given.language_model, 1))


class Lstm(Scorer):
    """Scores items by the LSTM's memory of a user alone, without the language model."""

    name = "lstm"
    label = "the LSTM"
    family = Family.NETWORK
    needs = Needs.TEXTS
    start_weight = 0.5
    product = Product.LSTM

    def scores(self, given: ScorerInput) -> Scored:
        """Returns log-probabilities [U, V + 1]."""
        return Scored(torch.log_softmax(given.lstm, 1))


class Attention(Scorer):
    """Scores items by the attention over the newest items, which has item vectors of its own.

    It is trained apart from the others and adds what they lack, but an answer and a product of its
    own; so it stays only where it earns that.
    """

    name = "attention"
    label = "the attention"
    family = Family.NETWORK
    tensors_prefix = "attention."
    must_earn_its_cost = True  # it makes a pass take 1.3 to 1.4 times as long
    worth = 0.01
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

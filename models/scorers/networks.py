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


class _Network(Scorer):
    """Scores items by the log-probability that a network gives them; its name is the input's."""

    family = Family.NETWORK

    def scores(self, given: ScorerInput) -> Scored:
        """Returns log-probabilities [U, V + 1]; zeros where there is no such network."""
        logits: Tensor | None = getattr(given, self.name)
        if logits is None:
            return Scored(torch.zeros(1, 1).expand_as(given.lstm))
        return Scored(torch.log_softmax(logits, 1))


class LanguageModel(_Network):
    """Scores items by the language model's answer to a user's recent events and soft tokens."""

    name = "language_model"
    label = "the language model"
    needs = Needs.TEXTS
    start_weight = 0.5
    product = Product.LANGUAGE_MODEL


class Lstm(_Network):
    """Scores items by the LSTM's memory of a user alone, without the language model."""

    name = "lstm"
    label = "the LSTM"
    needs = Needs.TEXTS
    start_weight = 0.5
    product = Product.LSTM


class Attention(_Network):
    """Scores items by the attention over the newest items, which has item vectors of its own.

    It is trained apart from the others and adds what they lack, but an answer and a product of its
    own; so it stays only where it earns that.
    """

    name = "attention"
    label = "the attention"
    tensors_prefix = "attention."
    must_earn_its_cost = True  # it makes a pass take 1.2 to 1.3 times as long
    worth = 0.01
    product = Product.ATTENTION

    @classmethod
    def load(cls, tensors: Tensors) -> Self | None:
        """Returns the scorer if a model has it."""
        return cls() if STORED in tensors else None

    def tensors(self) -> dict[str, Tensor]:
        """Returns the version of the scorer; its weights are the network's."""
        return {STORED: torch.ones(1)}

"""Scores items by the LSTM's memory of a user alone, without the language model.

What reached the memory through many steps is credited to no single event.
"""

from __future__ import annotations

import torch

from models.scorers.scorer import Family, Needs, Product, Scored, Scorer, ScorerInput


class Lstm(Scorer):
    """Scores items by the log-probability that the LSTM gives them."""

    name = "lstm"
    label = "the LSTM"
    family = Family.NETWORK
    needs = Needs.TEXTS
    start_weight = 0.5
    product = Product.LSTM

    def scores(self, given: ScorerInput) -> Scored:
        """Returns log-probabilities [U, V + 1]."""
        return Scored(torch.log_softmax(given.lstm, 1))

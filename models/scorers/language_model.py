"""Scores items by the language model's answer to a user's recent events and soft tokens.

The network itself is models/network; here its logits become one voice of the blend. Which events
its answer rests on is a look inside its last block: models/serving/because.py.
"""

from __future__ import annotations

import torch

from models.scorers.scorer import Family, Needs, Product, Scored, Scorer, ScorerInput


class LanguageModel(Scorer):
    """Scores items by the log-probability that the language model gives them."""

    name = "language_model"
    label = "the language model"
    family = Family.NETWORK
    needs = Needs.TEXTS
    start_weight = 0.5
    product = Product.LANGUAGE_MODEL

    def scores(self, given: ScorerInput) -> Scored:
        """Returns log-probabilities [U, V + 1]."""
        return Scored(torch.log_softmax(given.language_model, 1))

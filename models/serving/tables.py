"""Holds the products of a network's weights alone, and multiplies with those of all items.

Glossary: U users, V items (row 0: unknown), D width.
"""

from __future__ import annotations

from typing import Final

import torch
from torch import Tensor
from torch.nn.functional import linear

from models.network.interest_network import InterestNetwork
from models.serving.retrieval import ItemVectors, looked_for

AT_ONCE: Final = 65_536
"""Items whose rows are computed together: 16 MB of each product."""


class Tables:
    """Holds products of weights alone, computed once."""

    def __init__(self, network: InterestNetwork, log_popularity: Tensor) -> None:
        config = network.config
        self._log_popularity = log_popularity
        self.known, self.items = (torch.empty(config.items + 1, config.width) for _ in range(2))
        # some rows at a time: what lies between weights and tables is as large as they are
        for rows in torch.split(torch.arange(config.items + 1), AT_ONCE):
            some = slice(int(rows[0]), int(rows[-1]) + 1)
            text = network.text_in(network.text[some])
            self.known[some] = network.item(rows) * config.width**0.5 + text
            self.items[some] = network.item_candidates(rows)
        self.known[0] = network.text_in.bias
        self.action, self.gap = network.action.weight, network.gap.weight
        self._bias = network.item_bias
        unmet = (network.item.weight == 0).all(1)  # see InterestNetwork.start_items
        self._unmet = unmet if unmet[1:].any() else None
        # where all items are read by their texts alone, none has a vector
        met = torch.arange(len(unmet)) > 0 if unmet.all() else ~unmet
        self._average = log_popularity[met].mean()
        self.answers = self.items  # the candidates that the language model's answer is held against
        self.attended = network.attention_candidates() if network.attention is not None else None
        self.interests, self.interest_bias = network.interest_candidates(), network.interest_bias

    def item_vectors(self, asked: int) -> ItemVectors:
        """Returns the items of a model that scores candidates, of which updates name so many."""
        shared = self.answers is self.items
        width = self.items.shape[1]
        tables = [self.items] if shared else [self.answers, self.items]
        if self.attended is not None:
            tables.append(self.attended)
        found = ItemVectors.of(
            torch.cat(tables, 1) if len(tables) > 1 else self.items,
            self._log_popularity,
            shared=shared,
            attends=self.attended is not None,
            most=looked_for(asked),
        )
        if shared:  # one copy of them is enough
            self.items = self.answers = found.vectors[:, :width]
        return found

    def biases(self, log_recent: Tensor) -> Tensor:
        """Returns the bias of each item, [1, V + 1] or [U, V + 1] as log_recent.

        An item that no training met has the one that a training would start with now.
        """
        if self._unmet is None:
            return self._bias[None]
        return torch.where(self._unmet, log_recent - self._average, self._bias)


def logits(hidden: Tensor, candidates: Tensor, biases: Tensor) -> Tensor:
    """Returns the products with all candidates and their biases, [U, V + 1].

    biases: [1, V + 1] (always so in a traced pass) or [U, V + 1].
    """
    if biases.shape[0] == 1:
        return linear(hidden, candidates, biases[0])
    return linear(hidden, candidates) + biases

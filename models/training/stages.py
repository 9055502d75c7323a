"""Defines what each neural stage of a training learns: its parameters, and one epoch of it.

    TextStage      the language model learns the words of the catalogue and of searches
    LstmStage      embeddings and LSTM learn which item comes next
    BridgeStage    soft tokens and the language model over users learn next items and interests
    AttentionStage the attention over the newest items learns which item comes next

The loop that repeats an epoch until validation stops to improve is in `epochs`, and the order of
the stages is in `train`.

Glossary: B sequences, T events, V items (row 0: unknown), C interests, D width.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Final

import numpy as np
import torch
from torch import Tensor

from models.network.interest_network import InterestNetwork
from models.network.losses import Negatives, interest_loss, next_item_loss
from models.training.config import TrainConfig
from models.training.epochs import Losses, Weights
from models.training.sequences import Sequences, Windows
from models.vocabulary import PAD, Tokenizer

FROZEN: Final = 2
"""Epochs of the bridge before the LSTM learns with it."""
LSTM_WEIGHT: Final = 0.5
"""Weight of the LSTM's loss against that of the answers, once it is not frozen."""
WINDOWS: Final = 200_000
"""Windows of an epoch of the attention, at most; of more some are drawn."""
TEXTS: Final = 256
"""Texts of a batch."""


@dataclass(frozen=True)
class TextStage:
    """Has the text model learn to predict the words of texts."""

    network: InterestNetwork
    tokenizer: Tokenizer
    texts: list[str]

    def parameters(self) -> list[dict[str, Any]]:
        """Returns the parameters of the text model."""
        return text_parameters(self.network)

    def epoch(self, weights: Weights, generator: torch.Generator, _: int) -> Losses:
        """Shows the text model every text once; returns its loss."""
        texts = torch.from_numpy(self.tokenizer.encode(self.texts))
        asked = (texts[:, 1:] != PAD).sum(1)
        batches = torch.split(torch.randperm(len(texts), generator=generator), TEXTS)
        losses, shares = [], []
        for chosen in batches:
            part = weights.part_of(asked[chosen])
            loss = self.network.text_model.text_loss(part.of(texts[chosen]).to(weights.device))
            shares.append(int(asked[chosen].sum()) * len(batches) / int(asked.sum()))
            losses += weights.step([loss], shares[-1], part)
        return {"loss": float(np.average(losses, weights=shares))}


@dataclass(frozen=True)
class LstmStage:
    """Has embeddings and LSTM learn the next items of sequences."""

    network: InterestNetwork
    sequences: Sequences
    negatives: Negatives
    config: TrainConfig

    def parameters(self) -> list[dict[str, Any]]:
        """Returns the parameters of embeddings and LSTM."""
        return [{"params": lstm_parameters(self.network)}]

    def epoch(self, weights: Weights, generator: torch.Generator, _: int) -> Losses:
        """Shows the LSTM every sequence once; returns its loss."""
        losses, shares = [], []
        negatives = self.negatives.to(weights.device)
        for batch in self.sequences.batches(self.config.batch, generator):
            part = weights.part_of((batch.targets > 0).sum(1))
            rows, actions, gaps, targets = batch.of(part, weights.device)
            features = self.network.features(
                self.network.event_vectors(rows, actions, gaps, self.config.hide_ids)
            )
            loss = item_loss(features, targets, self.network, negatives)
            losses += weights.step([loss], batch.share, part)
            shares.append(batch.share)
        return {"loss": float(np.average(losses, weights=shares))}


@dataclass(frozen=True)
class BridgeStage:
    """Has soft tokens and the language model over users learn next items and interests."""

    network: InterestNetwork
    sequences: Sequences
    negatives: Negatives
    config: TrainConfig
    membership: Tensor
    """Says which interests an item has, bool [V + 1, C]."""

    def parameters(self) -> list[dict[str, Any]]:
        """Returns the parameters of the bridge, and those of the LSTM at a low rate."""
        network = self.network
        fresh = [*network.language_model.parameters(), *network.soft.parameters()]
        fresh += [network.soft_place, network.interest, network.interest_bias]
        return [
            {"params": fresh},
            {"params": lstm_parameters(network), "lr": self.config.learning_rate / 4},
        ]

    def epoch(self, weights: Weights, generator: torch.Generator, number: int) -> Losses:
        """Shows LSTM and language model every sequence once; returns their losses, unweighted.

        The LSTM is frozen in the first epochs, so that only what reads it learns.
        """
        frozen, factors = number < FROZEN, (1.0, self.config.interest_weight, LSTM_WEIGHT)
        losses: list[list[float]] = []
        shares = []
        for parameter in self.network.lstm.parameters():
            parameter.requires_grad_(not frozen)
        negatives = self.negatives.to(weights.device)
        membership = self.membership.to(weights.device)
        for batch in self.sequences.batches(self.config.batch, generator):
            part = weights.part_of((batch.targets > 0).sum(1))
            rows, actions, gaps, targets = batch.of(part, weights.device)
            x = self.network.event_vectors(rows, actions, gaps, self.config.hide_ids)
            features = self.network.features(x)
            answers = self.network.answers(x, features)

            # Next items and interests from the answers; next items from the features too, once
            # the LSTM is not frozen.
            there = targets > 0
            found = [
                item_loss(answers, targets, self.network, negatives),
                interest_loss(answers[there], membership[targets[there]], self.network),
            ]
            if not frozen:
                found.append(item_loss(features, targets, self.network, negatives))
            losses.append(weights.step(found, batch.share, part, factors))
            shares.append(batch.share)
        return dict(
            zip(
                ("loss", "interest_loss", "lstm_loss"),
                np.average(losses, axis=0, weights=shares).tolist(),
                strict=False,
            )
        )


@dataclass(frozen=True)
class AttentionStage:
    """Has the attention over the newest items learn the next items of windows.

    Each window is a sample of its own, since its items see each other whichever came first.
    """

    network: InterestNetwork
    windows: Windows
    negatives: Negatives
    config: TrainConfig

    def parameters(self) -> list[dict[str, Any]]:
        """Returns the parameters of the attention, its item vectors among them."""
        assert self.network.attention is not None
        return [{"params": list(self.network.attention.parameters())}]

    def epoch(self, weights: Weights, generator: torch.Generator, _: int) -> Losses:
        """Shows the attention every window once, or as many as an epoch has; returns its loss."""
        network, losses, shares = self.network, [], []
        attention, negatives = network.attention, self.negatives.to(weights.device)
        assert attention is not None
        size = self.windows.batch(self.config.windows)
        for batch in self.windows.batches(attention.window, size, WINDOWS, generator):
            part = weights.part_of(torch.ones(len(batch.targets), dtype=torch.long))
            rows, targets = (part.of(each).to(weights.device) for each in batch[:2])
            answers = network.attended(rows)
            loss = next_item_loss(
                answers, targets, network, negatives, network.attention_candidates
            )
            losses += weights.step([loss], batch.share, part)
            shares.append(batch.share)
        return {"loss": float(np.average(losses, weights=shares))}


def text_parameters(network: InterestNetwork) -> list[dict[str, Any]]:
    """Returns the parameters of the text model, as a group of an optimiser."""
    return [{"params": list(network.text_model.parameters())}]


def lstm_parameters(network: InterestNetwork) -> list[torch.nn.Parameter]:
    """Returns the parameters of embeddings and LSTM; their order is that of stored moments."""
    modules = (
        network.item,
        network.action,
        network.gap,
        network.text_in,
        network.text_out,
        network.lstm,
    )
    return [each for module in modules for each in module.parameters()] + [network.item_bias]


def item_loss(
    hidden: Tensor, targets: Tensor, network: InterestNetwork, negatives: Negatives
) -> Tensor:
    """Returns the loss of the next items; hidden: [B, T, D], targets: [B, T], 0: none."""
    there = targets > 0
    return next_item_loss(hidden[there], targets[there], network, negatives)

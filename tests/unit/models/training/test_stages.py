"""Checks that a target counts the same in whatever batch a stage meets it."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

from models.network.interest_network import InterestNetwork, NetworkConfig
from models.network.losses import Negatives
from models.training.config import TrainConfig
from models.training.epochs import Losses, Stage
from models.training.sequences import Sequences
from models.training.stages import FROZEN, BridgeStage, LstmStage, TextStage
from models.vocabulary import Tokenizer

ITEMS, LENGTHS = 6, (1, 1, 2, 3, 9, 12, 12)


class Noted:
    """Takes steps without a move, and adds up what they would have moved by."""

    def __init__(self) -> None:
        self.losses: list[float] = []

    def step(self, loss: Tensor, share: float) -> None:
        self.losses.append(loss.item() * share)


def _stage(name: str, network: InterestNetwork, batch: int) -> Stage:
    """Returns a stage that learns histories of LENGTHS targets, `batch` at a time."""
    generator = torch.Generator().manual_seed(1)
    columns = torch.zeros(4, len(LENGTHS), max(LENGTHS), dtype=torch.long)
    for user, length in enumerate(LENGTHS):
        columns[:, user, :length] = torch.randint(1, ITEMS + 1, (4, length), generator=generator)
    sequences = Sequences(columns[0], columns[1] * 0, columns[2] * 0, columns[3])
    negatives = Negatives.of_counts(torch.ones(ITEMS + 1), 0)
    config = TrainConfig(batch=batch)
    if name == "lstm":
        return LstmStage(network, sequences, negatives, config)
    membership = torch.eye(ITEMS + 1)[:, :2]
    return BridgeStage(network, sequences, negatives, config, membership)


@pytest.mark.parametrize("name", ["lstm", "bridge"])
def test_the_losses_of_small_batches_are_that_of_all_targets_at_once(name: str) -> None:
    torch.manual_seed(0)
    network = InterestNetwork(
        NetworkConfig(items=ITEMS, interests=2, tokens=5, width=8, dropout=0.0)
    )

    def shown(batch: int) -> tuple[float, Losses]:
        noted: Any = Noted()
        found = _stage(name, network, batch).epoch(noted, torch.Generator().manual_seed(0), FROZEN)
        return float(np.mean(noted.losses)), found

    moved, reported = shown(batch=2)
    at_once, wanted = shown(batch=len(LENGTHS))
    assert moved == pytest.approx(at_once, rel=1e-5)
    assert reported == pytest.approx(wanted, rel=1e-5)


def test_a_word_counts_the_same_in_a_small_last_batch(monkeypatch: pytest.MonkeyPatch) -> None:
    torch.manual_seed(0)
    texts = ["red", "red tent", "a tent of red canvas and a pole", "pole", "canvas"]
    tokenizer = Tokenizer.learn(texts)
    network = InterestNetwork(
        NetworkConfig(items=ITEMS, interests=2, tokens=tokenizer.size, width=8)
    ).eval()

    def moved(batch: int) -> float:
        monkeypatch.setattr("models.training.stages.TEXTS", batch)
        noted: Any = Noted()
        TextStage(network, tokenizer, texts).epoch(noted, torch.Generator().manual_seed(0), 0)
        return float(np.mean(noted.losses))

    assert moved(batch=2) == pytest.approx(moved(batch=len(texts)), rel=1e-5)

"""Checks that a target counts the same in whatever batch, part of a batch and process it is met."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor
from torch.fx.experimental import _config

from models.network.dropout import Part
from models.network.interest_network import InterestNetwork, NetworkConfig
from models.network.losses import Negatives
from models.training.config import TrainConfig
from models.training.distillation import DistillationStage
from models.training.epochs import Losses, Stage, Weights
from models.training.ranks import Ranks
from models.training.sequences import Sequences, Windows
from models.training.stages import FROZEN, AttentionStage, BridgeStage, LstmStage, TextStage
from models.vocabulary import Tokenizer

ITEMS, LENGTHS = 6, (1, 1, 2, 3, 9, 12, 12)
TEXTS = ["red", "red tent", "a tent of red canvas and a pole", "pole", "canvas"]
ELSEWHERE = torch.device("meta")
"""Its tensors hold no numbers, and as those of a GPU they do not mix with tensors of the CPU."""


class Noted(Weights):
    """Takes steps without a move, and adds up what they would have moved by."""

    def __init__(self, network: InterestNetwork, ranks: Ranks | None = None) -> None:
        self.losses: list[float] = []
        device = next(network.parameters()).device
        self._network, self._ranks = network, replace(ranks or Ranks(), device=device)

    def step(
        self, losses: Sequence[Tensor], share: float, part: Part, factors: Sequence[float] = (1.0,)
    ) -> list[float]:
        """Leaves the gradients of all steps together in the network."""
        pairs = zip(factors, losses, strict=False)
        loss: Any = sum(factor * each for factor, each in pairs)
        (loss * share * part.weight).backward()
        if self.device == ELSEWHERE:
            return [0.0] * len(losses)
        self.losses.append(loss.item() * share)
        return [each.item() * part.weight for each in losses]


def _network(**sizes: Any) -> InterestNetwork:
    return InterestNetwork(NetworkConfig(items=ITEMS, interests=2, width=8, **sizes))


def _stage(
    name: str, network: InterestNetwork, batch: int, negatives: int = 0, **config: Any
) -> Stage:
    """Returns a stage that learns texts, or histories of LENGTHS targets, `batch` at a time."""
    generator = torch.Generator().manual_seed(1)
    columns = torch.zeros(4, len(LENGTHS), max(LENGTHS), dtype=torch.long)
    for user, length in enumerate(LENGTHS):
        columns[:, user, :length] = torch.randint(1, ITEMS + 1, (4, length), generator=generator)
    sequences = Sequences(columns[0], columns[1] * 0, columns[2] * 0, columns[3])
    sampled = Negatives.of_counts(torch.ones(ITEMS + 1), negatives)
    settings = TrainConfig(batch=batch, windows=10 * batch, **config)
    if name == "text":
        return TextStage(network, Tokenizer.learn(TEXTS), TEXTS)
    if name == "taught":
        tokens = torch.from_numpy(Tokenizer.learn(TEXTS).encode(TEXTS))
        return DistillationStage(network, tokens, torch.ones(len(TEXTS), 8))
    if name == "attention":
        rows = sequences.rows[sequences.rows > 0]
        before = torch.cat([torch.arange(length) for length in LENGTHS])
        assert len(rows) == len(before)
        return AttentionStage(network, Windows(rows, before), sampled, settings)
    if name == "lstm":
        return LstmStage(network, sequences, sampled, settings)
    membership = torch.eye(ITEMS + 1)[:, :2]
    return BridgeStage(network, sequences, sampled, settings, membership)


@pytest.mark.parametrize("name", ["lstm", "bridge", "attention"])
def test_the_losses_of_small_batches_are_that_of_all_targets_at_once(
    name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    torch.manual_seed(0)
    network = _network(tokens=5, dropout=0.0, window=4, attention_dropout=0.0)
    monkeypatch.setattr("models.training.sequences.LEAST_WINDOWS", 1)
    monkeypatch.setattr("models.training.sequences.LEAST_STEPS", 1)

    def shown(batch: int) -> tuple[float, Losses]:
        noted = Noted(network)
        found = _stage(name, network, batch).epoch(noted, torch.Generator().manual_seed(0), FROZEN)
        return float(np.mean(noted.losses)), found

    moved, reported = shown(batch=2)
    at_once, wanted = shown(batch=len(LENGTHS))
    assert moved == pytest.approx(at_once, rel=1e-5)
    assert reported == pytest.approx(wanted, rel=1e-5)


def test_a_word_counts_the_same_in_a_small_last_batch(monkeypatch: pytest.MonkeyPatch) -> None:
    torch.manual_seed(0)
    network = _network(tokens=Tokenizer.learn(TEXTS).size).eval()

    def moved(batch: int) -> float:
        monkeypatch.setattr("models.training.stages.TEXTS", batch)
        noted = Noted(network)
        _stage("text", network, batch).epoch(noted, torch.Generator().manual_seed(0), 0)
        return float(np.mean(noted.losses))

    assert moved(batch=2) == pytest.approx(moved(batch=len(TEXTS)), rel=1e-5)


@pytest.mark.parametrize("size", [2, 5])
@pytest.mark.parametrize("name", ["text", "taught", "lstm", "bridge", "attention"])
def test_the_gradients_of_processes_add_up_to_that_of_one(name: str, size: int) -> None:
    """Checks it with everything that is drawn by chance, and with more processes than rows.

    Batches have three histories, the last one a single history.
    """
    torch.manual_seed(0)
    network = _network(tokens=Tokenizer.learn(TEXTS).size, dropout=0.5, lstm_layers=2, window=4)
    stage = _stage(name, network, 3, negatives=4, hide_ids=0.3)

    def learned(ranks: Ranks) -> tuple[list[Tensor], list[float]]:
        torch.manual_seed(1)
        network.zero_grad()
        noted = Noted(network, ranks)
        losses = stage.epoch(noted, torch.Generator().manual_seed(0), FROZEN)
        drawn = torch.rand(1)  # the generators are at the same place afterwards
        gradients = [each.grad for each in network.parameters() if each.grad is not None]
        return [drawn, *(each.clone() for each in gradients)], list(losses.values())

    (drawn, *whole), losses = learned(Ranks())
    parts = [learned(Ranks(rank, size)) for rank in range(size)]
    assert all(torch.equal(found[0], drawn) for found, _ in parts)
    for wanted, *found in zip(whole, *(found[1:] for found, _ in parts), strict=True):
        torch.testing.assert_close(torch.stack(found).sum(0), wanted, atol=1e-6, rtol=1e-4)
    assert np.sum([found for _, found in parts], axis=0) == pytest.approx(losses, rel=1e-5)


@pytest.mark.slow
def test_stages_read_nothing_of_another_device_than_their_networks() -> None:
    network = _network(tokens=Tokenizer.learn(TEXTS).size, window=4).to(ELSEWHERE)
    noted = Noted(network, Ranks(1, 2))
    # with no numbers nobody knows which are zero; none is taken for it
    settings: Any = _config  # its methods come with its import
    with settings.patch(meta_nonzero_assume_all_nonzero=True):
        for name in ("text", "taught", "attention", "bridge"):  # the last does all that "lstm" does
            stage = _stage(name, network, 8, negatives=4, hide_ids=0.3)
            stage.epoch(noted, torch.Generator().manual_seed(0), FROZEN)
    gradients = [each.grad for each in network.parameters() if each.grad is not None]
    assert {each.device for each in gradients} == {ELSEWHERE}

"""Checks how the weights of a network move by the loss of a batch."""

from __future__ import annotations

import pytest
import torch

from models.network.interest_network import InterestNetwork, NetworkConfig
from models.training.config import TrainConfig
from models.training.epochs import CLIPPED_AT, Weights
from models.training.sequences import Sequences

SHORT, LONG = 1, 13
"""Targets of a history, and most of them: 51 % of the users of Beauty have 1 to 3, others 50."""


@pytest.mark.parametrize("steepness", [1.0, 1e6])
def test_short_and_long_histories_move_the_weights_in_proportion_to_their_targets(
    steepness: float,
) -> None:
    """Checks it by a loss with the same slope everywhere, with and without clipping."""
    network = InterestNetwork(NetworkConfig(items=3, interests=1, tokens=5, width=8))
    weights = Weights(network, [{"params": [network.item_bias]}], TrainConfig())
    weights.optimiser = torch.optim.SGD([network.item_bias], lr=1.0)  # moves by the gradient
    targets = torch.zeros(8, LONG, dtype=torch.long)
    targets[:4, :SHORT], targets[4:] = 2, 2
    moved = {}
    for batch in Sequences(*[targets] * 4).batches(4, torch.Generator().manual_seed(0)):
        before = network.item_bias[2].item()
        loss = -steepness * network.item_bias[batch.targets[batch.targets > 0]].mean()
        part = weights.part_of((batch.targets > 0).sum(1))
        assert weights.step([loss], batch.share, part) == [loss.item()]
        moved[batch.targets.shape[1]] = network.item_bias[2].item() - before
    assert moved[LONG] / moved[SHORT] == pytest.approx(LONG / SHORT)
    usual = min(steepness, CLIPPED_AT)
    assert sum(moved.values()) == pytest.approx(2 * usual)

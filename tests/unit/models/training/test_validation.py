"""Checks what picks the epochs: the rank of the next item among all.

It is taken with or without what the user has seen.
"""

from __future__ import annotations

import math

import pytest
import torch

from models.network.interest_network import InterestNetwork, NetworkConfig
from models.training.sequences import Sequences
from models.training.validation import validate


@pytest.fixture
def network() -> InterestNetwork:
    """Returns a network whose scores are the item biases: item 5 first, item 1 last."""
    sizes = NetworkConfig(items=5, interests=1, tokens=5, width=8, heads=2, recent=4, window=4)
    network = InterestNetwork(sizes)
    with torch.no_grad():
        network.item.weight.zero_()
        network.item_bias.copy_(torch.arange(6.0))
        assert network.attention is not None
        network.attention.item.weight.zero_()
    return network


@pytest.mark.parametrize("by", ["lstm", "bridge", "attention"])
def test_seen_items_stand_in_the_way_unless_they_are_removed(
    network: InterestNetwork, by: str
) -> None:
    rows = torch.tensor([[5, 4, 2], [1, 3, 0]])
    targets = torch.tensor([[0, 0, 3], [0, 3, 0]])  # the second asks for an item that it has seen
    sequences = Sequences(rows, torch.zeros_like(rows), torch.zeros_like(rows), targets)
    kept = validate(network, sequences, by=by, seen="keep")
    assert kept == pytest.approx((1 / math.log2(4) + 1 / math.log2(4)) / 2)
    removed = validate(network, sequences, by=by, seen="remove")
    assert removed == pytest.approx((1 + 1 / math.log2(4)) / 2)

"""Checks that what stays of a training is the running mean of its weights."""

from __future__ import annotations

import pytest
import torch
from torch import nn

from models.training.averaging import averaged


def test_the_mean_of_weights_that_grow_by_one_a_step_lags_by_a_tenth() -> None:
    network = nn.Linear(1, 1, bias=False)
    nn.init.zeros_(network.weight)
    average = averaged(network)
    mean = average.module.get_parameter("weight")
    for step in range(1, 1_001):
        with torch.no_grad():
            network.weight.fill_(step)
        average.update_parameters(network)
        # solves m' = m + 9 / (t + 8) (t - m) from m = 1 at t = 1
        assert mean.item() == pytest.approx((9 * step + 1) / 10, rel=1e-5)


def test_it_is_a_copy_that_the_network_does_not_see() -> None:
    network = nn.Linear(2, 2)
    before = network.weight.detach().clone()
    average = averaged(network)
    with torch.no_grad():
        average.module.get_parameter("weight").fill_(7)
    assert torch.equal(network.weight, before)

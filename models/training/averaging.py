"""Keeps the running mean of a network's weights over a training.

The mean is what is validated and what stays, instead of the noisy newest weights. Source:
polynomial-decay averaging, Shamir and Zhang 2013, section 4, with eta = 8: after step t the mean
moves towards the weights by (eta + 1) / (t + eta), so it is a mean of about the last ninth of all
steps, however many there are. What it is worth: docs/measured/logs/losses.md.
"""

from __future__ import annotations

from typing import Final

import torch
from torch import Tensor, nn
from torch.optim.swa_utils import AveragedModel

ETA: Final = 8
Tensors = tuple[Tensor, ...] | list[Tensor]


def averaged(network: nn.Module) -> AveragedModel:
    """Returns a mean of the network's weights, which is the network `.module` of the result.

    After each step of the training `update_parameters(network)` moves it.
    """
    return AveragedModel(network, multi_avg_fn=_move)


@torch.no_grad()
def _move(means: Tensors, weights: Tensors, steps: Tensor | int) -> None:
    """Moves the means towards the weights; steps: those before this one."""
    torch._foreach_lerp_(means, weights, (ETA + 1) / (int(steps) + 1 + ETA))

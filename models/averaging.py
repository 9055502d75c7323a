"""The running mean of a network's weights over a training: what is validated and what stays, instead of the noisy newest weights.

Source: polynomial-decay averaging, Shamir and Zhang 2013, section 4, with eta = 8: after step t the mean moves towards the weights by
(eta + 1) / (t + eta), so it is a mean of about the last ninth of all steps, however many there are. What it is worth: docs/model-log.md.
"""

from __future__ import annotations

from typing import Final

import torch
from torch import Tensor, nn
from torch.optim.swa_utils import AveragedModel

ETA: Final = 8
Tensors = tuple[Tensor, ...] | list[Tensor]


def averaged(network: nn.Module) -> AveragedModel:
    """A copy of the network, `.module`, that follows it by `update_parameters(network)` after each step."""
    return AveragedModel(network, multi_avg_fn=_follow)


@torch.no_grad()
def _follow(means: Tensors, weights: Tensors, steps: Tensor | int) -> None:
    """steps: those before this one."""
    torch._foreach_lerp_(means, weights, (ETA + 1) / (int(steps) + 1 + ETA))

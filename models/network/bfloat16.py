"""Reads the language model in bfloat16, for CPUs that have instructions for it.

It gives `LanguageModel.last_hidden` within rounding. Products run in bfloat16; norms and the
residual stream stay float32. What does not depend on a user is done once: the affine part of each
LayerNorm and the scale of attention are multiplied into the weights behind them. In float32 the
model's own code is as fast.

Glossary: U users, T tokens, D width, H heads, E = D / H.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any, Final, cast

import torch
from torch import Tensor, nn

from models.network.language_model import Block, LanguageModel

WORTH_IT: Final = 0.85
"""Of the time of float32: less of a gain is not worth the rounding."""

TRIED_USERS: Final = 256
HIDDEN: Final = -1e9
"""Instead of minus infinity: it hides a position, and a row of it is still a distribution."""


class Reader:
    """Gives the answers of a language model at the last of a user's tokens."""

    def __init__(self, model: LanguageModel, dtype: torch.dtype) -> None:
        self.dtype = dtype
        self._norm = model.norm
        self._blocks = [_Block(cast(Block, block), dtype) for block in model.blocks]

    def __call__(self, tokens: Tensor, bias: Tensor) -> tuple[Tensor, Tensor]:
        """Returns answers [U, D], and what the last block read [U, T, D].

        tokens: [U, T, D]; bias: [U or 1, H, T, T].
        """
        bias = bias.clamp(min=HIDDEN).to(self.dtype)
        for block in self._blocks[:-1]:
            tokens = block.all(tokens, bias)
        answer: Tensor = self._norm(self._blocks[-1].last(tokens, bias[:, :, -1]))
        return answer, tokens


class _Block:
    """Holds the weights of a block, made ready."""

    def __init__(self, block: Block, dtype: torch.dtype) -> None:
        width, self.heads = block.out.in_features, block.heads
        weight, shift = _after_norm(block.norm, block.qkv)
        scale = (width // block.heads) ** -0.5
        weight[:width] *= scale
        shift[:width] *= scale
        self.qkv = weight.to(dtype), shift.to(dtype)
        self.out = block.out.weight.to(dtype), block.out.bias.to(dtype)
        weight, shift = _after_norm(block.feed_forward.norm, block.feed_forward.up)
        self.up = weight.to(dtype), shift.to(dtype)
        self.down = block.feed_forward.down.weight.to(dtype), block.feed_forward.down.bias.to(dtype)
        self.dtype = dtype
        self._ones, self._zeros = torch.ones(width), torch.zeros(width)  # twice as fast as none

    def all(self, x: Tensor, bias: Tensor) -> Tensor:
        """Returns the output at every position, [U, T, D]."""
        users, length, width = x.shape
        q, k, v = (
            self._linear(self._normed(x), self.qkv)
            .view(users, length, 3, self.heads, -1)
            .permute(2, 0, 3, 1, 4)
        )
        mixed = _shares(q @ k.transpose(2, 3) + bias) @ v
        return self._rest(x, mixed.transpose(1, 2).reshape(users, length, width))

    def last(self, x: Tensor, bias: Tensor) -> Tensor:
        """Returns the output at the last position only, [U, D]; bias: [U or 1, H, T]."""
        users, length, width = x.shape
        read = self._normed(x)
        weight, shift = self.qkv
        q = self._linear(read[:, -1], (weight[:width], shift[:width])).view(
            users, self.heads, 1, -1
        )
        k, v = (
            self._linear(read, (weight[width:], shift[width:]))
            .view(users, length, 2, self.heads, -1)
            .permute(2, 0, 3, 1, 4)
        )
        mixed = _shares(q @ k.transpose(2, 3) + bias.unsqueeze(2)) @ v
        return self._rest(x[:, -1], mixed.reshape(users, width))

    def _rest(self, x: Tensor, mixed: Tensor) -> Tensor:
        """Returns what follows the attention: output, residual, feed-forward."""
        x = x + self._linear(mixed, self.out)
        return x + self._linear(
            nn.functional.gelu(self._linear(self._normed(x), self.up)), self.down
        )

    def _normed(self, x: Tensor) -> Tensor:
        """Returns x centred and scaled; the affine part is in the weights."""
        return nn.functional.layer_norm(x, x.shape[-1:], self._ones, self._zeros).to(self.dtype)

    def _linear(self, x: Tensor, weights: tuple[Tensor, Tensor]) -> Tensor:
        """Returns the affine map of x by weight and bias."""
        return nn.functional.linear(x, *weights)


def _shares(logits: Tensor) -> Tensor:
    """Returns the softmax of the last, short dimension, computed in float32.

    It takes a third of the time of torch's in bfloat16.
    """
    power = logits.float()
    power = (power - power.amax(-1, keepdim=True)).exp_()
    return (power / power.sum(-1, keepdim=True)).to(logits.dtype)


def _after_norm(norm: nn.LayerNorm, linear: nn.Linear) -> tuple[Tensor, Tensor]:
    """Returns weight and bias of linear(norm(x)) for an x that is only centred and scaled."""
    return linear.weight * norm.weight, linear.bias + linear.weight @ norm.bias


def faster_reader(model: LanguageModel) -> tuple[Reader | None, str]:
    """Returns a reader in bfloat16, or None, and why: a short measurement on this CPU decides."""
    reader = Reader(model, torch.bfloat16)
    length = model.reach + 2
    tokens = torch.randn(
        TRIED_USERS, length, model.width, generator=torch.Generator().manual_seed(0)
    )
    bias = torch.zeros(1, model.heads, length, length)
    share = _seconds(lambda: reader(tokens, bias)) / _seconds(
        lambda: model.last_hidden(tokens, bias)
    )
    found = f"bfloat16 takes {share:.0%} of the time of float32 on this CPU"
    return (reader, f"bfloat16: {found}") if share < WORTH_IT else (None, f"float32: {found}")


def _seconds(work: Callable[[], Any]) -> float:
    """Returns the seconds of the best of a few runs, in CPU time of this thread."""
    best = float("inf")
    for _ in range(5):
        started = time.thread_time()
        work()
        best = min(best, time.thread_time() - started)
    return best

"""Leads directions back through a LayerNorm, as causes of an answer need.

Glossary: B rows, D width.
"""

from __future__ import annotations

from torch import Tensor, nn


def through_norm(norm: nn.LayerNorm, x: Tensor, towards: Tensor) -> Tensor:
    """Returns the gradient of norm(x) @ towards by x, [B, D] each."""
    centred = x - x.mean(1, keepdim=True)
    scale = (centred.square().mean(1, keepdim=True) + norm.eps).rsqrt()
    unit, towards = centred * scale, towards * norm.weight
    along = (towards * unit).mean(1, keepdim=True)
    return (towards - towards.mean(1, keepdim=True) - unit * along) * scale

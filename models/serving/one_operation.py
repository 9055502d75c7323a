"""Traces a program of tensors, so that it runs as one operation and needs the lock once.

Why: docs/understand/decisions/0009-one-operation.md. A trace adapts to `tensor.shape[0]`;
`len(tensor)` would be fixed for ever.
"""

from __future__ import annotations

import warnings
from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor


def one_operation(
    program: Callable[..., tuple[Tensor, ...]], given: tuple[Tensor, ...]
) -> Callable[..., Any]:
    """Returns the program for any number of users, traced with some."""
    with warnings.catch_warnings():
        # that tracing is deprecated, and that constants are taken for constants
        warnings.simplefilter("ignore")
        traced: Callable[..., Any] = torch.jit.trace(  # type: ignore[no-untyped-call]
            program, given, check_trace=False
        )
    return traced

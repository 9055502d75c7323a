"""Checks that what is hidden of a row does not depend on who computes it."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from models.network.dropout import Dropout, Part, hidden_by_chance

PARTS = [Part(0, 3, 7, 0.5), Part(3, 1, 7, 0.1), Part(4, 3, 7, 0.4)]
"""A batch of seven rows, shared out."""


def drawn(compute: Callable[..., Tensor], *given: Any) -> Tensor:
    """Returns what is computed, behind the random number that comes after."""
    torch.manual_seed(0)
    found = compute(*given)
    return torch.cat((torch.rand(1), found.flatten()))


@pytest.mark.parametrize("steps_first", [False, True])
def test_parts_of_a_batch_are_hidden_as_the_whole_is(steps_first: bool) -> None:
    whole = torch.randn(5, 7, 4).transpose(0, 1) if steps_first else torch.randn(7, 5, 4)
    wanted = drawn(nn.functional.dropout, whole, 0.4)
    layer = Dropout(0.4, steps_first=steps_first)
    assert torch.equal(drawn(lambda: layer(whole)), wanted)
    found = []
    for part in PARTS:
        layer.part = part
        after, *rows = torch.split(drawn(layer, part.of(whole)), [1, part.rows * 20])
        assert torch.equal(after, wanted[:1])
        found += rows
    torch.testing.assert_close(torch.cat(found), wanted[1:])
    assert torch.equal(layer.eval()(whole), whole)


def test_the_output_of_an_lstm_lies_step_after_step() -> None:
    """Checks what `steps_first` is for: torch draws in the order of the memory."""
    found, _ = nn.LSTM(4, 4, batch_first=True)(torch.randn(7, 5, 4))
    assert found.transpose(0, 1).is_contiguous()


def test_ids_of_a_part_are_hidden_as_those_of_the_whole_are() -> None:
    rows = torch.ones(7, 5)
    wanted = drawn(hidden_by_chance, rows, 0.3, None)[1:]
    found = [drawn(hidden_by_chance, part.of(rows), 0.3, part)[1:] for part in PARTS]
    assert torch.equal(torch.cat(found), wanted)
    assert 0 < wanted.sum() < 35

"""Checks how a batch is shared out, and what is refused; stages and processes are tested elsewhere.

That gradients of parts add up is in test_stages.py, two processes at work in
tests/unit/stream/cli/test_training_processes.py.
"""

from __future__ import annotations

import pytest
import torch

from models.errors import DeviceError, ModelDataError
from models.network.dropout import Part
from models.training.ranks import ALONE, Ranks, joined


@pytest.mark.parametrize("rows", [1, 2, 5, 64])
@pytest.mark.parametrize("size", [2, 3, 7])
def test_every_row_of_a_batch_is_counted_once(rows: int, size: int) -> None:
    targets = torch.arange(1, rows + 1)
    parts = [Ranks(rank, size).part_of(targets) for rank in range(size)]
    counted = [
        row for part in parts if part.weight for row in range(part.first, part.first + part.rows)
    ]
    assert counted == list(range(rows))
    assert sum(part.weight for part in parts) == pytest.approx(1)
    assert all(part.rows and part.whole == rows for part in parts)


def test_a_rank_without_a_target_computes_a_row_that_has_some_and_counts_nothing() -> None:
    targets = torch.tensor([0, 0, 3, 4])
    assert Ranks(0, 2).part_of(targets) == Part(3, 1, 4, 0.0)
    assert Ranks(1, 2).part_of(targets) == Part(2, 2, 4, 1.0)
    assert ALONE.part_of(targets) == Part(0, 4, 4, 1.0)


def test_more_processes_than_histories_are_refused() -> None:
    Ranks(0, 3).check_shared(3)
    with pytest.raises(ModelDataError, match=r"4 processes .* 3 histories; start 3 or fewer"):
        Ranks(0, 4).check_shared(3)


def test_a_gpu_that_is_not_there_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    with pytest.raises(DeviceError, match="sees no GPU; set it to cpu"), joined(0, 0, 1, "cuda"):
        pass
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 1)
    with pytest.raises(DeviceError, match="process 1 of this machine"), joined(1, 1, 2, "cuda"):
        pass

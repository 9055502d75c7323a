"""Checks a teacher's vectors in the width of the network."""

from __future__ import annotations

import pytest
import torch

from models.training.distillation import teacher_targets


@pytest.mark.parametrize("width", [4, 40])
def test_targets_keep_who_is_alike(width: int) -> None:
    random = torch.Generator().manual_seed(0)
    topics = torch.randn(3, 20, generator=random)
    encodings = topics.repeat_interleave(10, 0) + 0.1 * torch.randn(30, 20, generator=random) + 7
    found = teacher_targets(encodings, width)
    assert found.shape == (30, width)
    assert abs(float(found.square().mean()) - 1) < 1e-3
    alike = (
        torch.nn.functional.normalize(found, dim=1) @ torch.nn.functional.normalize(found, dim=1).T
    )
    same = torch.arange(30)[:, None] // 10 == torch.arange(30)[None] // 10
    assert alike[same].min() > 0.9
    assert alike[~same].max() < 0.5

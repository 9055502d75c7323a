"""Checks which trainings may go on where another stopped."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch

from models.errors import ModelDataError
from models.training.checkpoints import Checkpoints

IDENTITY = {"config": {"seed": 0}, "data": "0a"}


def test_what_was_begun_with_the_same_data_settings_and_steps_goes_on(tmp_path: Path) -> None:
    Checkpoints(tmp_path, IDENTITY)
    Checkpoints(tmp_path, IDENTITY)


@pytest.mark.parametrize("begun", [IDENTITY, {**IDENTITY, "steps": "another rule"}])
def test_what_was_begun_when_steps_were_taken_otherwise_is_refused(
    tmp_path: Path, begun: dict[str, object]
) -> None:
    """Checks that no training mixes weights of two rules; the first one wrote no rule down."""
    (tmp_path / "identity.json").write_text(json.dumps(begun), encoding="utf-8")
    with pytest.raises(ModelDataError, match=r"other data or settings.*--restart"):
        Checkpoints(tmp_path, IDENTITY)


@pytest.mark.parametrize("precision", [torch.float32, torch.bfloat16])
def test_what_is_kept_comes_back_as_it_was(tmp_path: Path, precision: torch.dtype) -> None:
    kept = {
        "moved": torch.nn.Parameter(torch.arange(6.0).reshape(2, 3).to(precision).T),
        "step": torch.tensor(3.0),
        "nothing": torch.zeros(0, 4),
        "counts": torch.arange(3),
    }
    checkpoints = Checkpoints(tmp_path, IDENTITY)
    checkpoints.keep("all", kept)
    found = checkpoints.tensors("all")
    assert found.keys() == kept.keys()
    for name, tensor in kept.items():
        assert found[name].dtype == tensor.dtype
        assert torch.equal(found[name], tensor)

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


@pytest.mark.parametrize("better", [True, False])
@pytest.mark.parametrize("stopped_at", range(6))
def test_an_epoch_is_kept_whole_or_not_at_all(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, stopped_at: int, better: bool
) -> None:
    """Stops the second of two epochs at each file that is put in place."""

    def epoch(number: int, best: bool) -> None:
        weight = torch.full((3,), float(number))
        curve = list(range(1, number + 1))
        average = {"w": weight + 0.5}
        optimiser = torch.optim.SGD([torch.nn.Parameter(weight)], lr=1, momentum=0.5)
        optimiser.state[optimiser.param_groups[0]["params"][0]]["momentum_buffer"] = 10 * weight
        checkpoints.save(
            "stage",
            {"w": weight},
            optimiser,
            curve,
            best={"w": -weight} if best else None,
            average=average,
        )

    checkpoints, rename, calls = Checkpoints(tmp_path, IDENTITY), Path.rename, []

    def stopping(place: Path, to: Path) -> Path:
        calls.append(to)
        if len(calls) > stopped_at:
            raise KeyboardInterrupt
        return rename(place, to)

    epoch(1, best=True)
    monkeypatch.setattr(Path, "rename", stopping)
    try:
        epoch(2, best=better)
        done = 2
    except KeyboardInterrupt:
        done = 1
    assert done == (1 if stopped_at < 4 + better else 2)
    monkeypatch.setattr(Path, "rename", rename)

    again, weights = Checkpoints(tmp_path, IDENTITY), {"w": torch.zeros(3)}
    assert len(again.load("stage", weights)["curve"]) == done
    assert weights["w"][0] == done
    assert again.newest("stage", "average")["w"][0] == done + 0.5
    assert again.newest("stage", "optimiser")["0.momentum_buffer"][0] == 10 * done
    again.finish("stage", weights, list(range(done)))
    assert weights["w"][0] == -(done if better else 1)

"""A weights file that is let go takes no memory, and its numbers are there when they are read."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file

from models.serving import mapped
from models.serving.mapped import let_go

NUMBERS = 1 << 18


def resident_kb(path: Path) -> int:
    """How much of a file this process has in memory."""
    found, of_file = 0, False
    for line in Path("/proc/self/smaps").read_text(encoding="utf-8").splitlines():
        first = line.split()[0]
        if not first.endswith(":"):
            of_file = line.endswith(str(path))
        elif of_file and first == "Rss:":
            found += int(line.split()[1])
    return found


@pytest.fixture
def weights(tmp_path: Path) -> Path:
    path = tmp_path / "weights.safetensors"
    save_file({"a": torch.arange(NUMBERS), "b": torch.ones(NUMBERS)}, path)
    return path


def test_what_is_let_go_is_read_again_when_it_is_asked_for(weights: Path) -> None:
    tensors = load_file(weights)
    assert tensors["b"].sum() == NUMBERS
    assert tensors["a"].sum() == NUMBERS * (NUMBERS - 1) // 2
    before = resident_kb(weights)
    assert before >= NUMBERS * 12 // 1024
    assert let_go(tensors["b"], weights)
    assert resident_kb(weights) < before // 10
    assert tensors["b"].sum() == NUMBERS
    assert tensors["a"].sum() == NUMBERS * (NUMBERS - 1) // 2


def test_other_memory_is_left_alone(weights: Path, tmp_path: Path) -> None:
    """It would be lost: only what lies in the file that is named is let go."""
    tensors = load_file(weights)
    other = tmp_path / "other.safetensors"
    save_file({"a": torch.ones(NUMBERS)}, other)
    mine = torch.ones(NUMBERS)
    assert not let_go(mine, weights)
    assert not let_go(tensors["a"], other)
    assert not let_go(tensors["a"], tmp_path / "gone")
    assert mine.sum() == NUMBERS


def test_without_a_list_of_mappings_nothing_is_done(
    weights: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(mapped, "MAPS", tmp_path / "no maps")
    assert not let_go(load_file(weights)["a"], weights)

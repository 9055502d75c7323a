"""Titles are read from the files that have them, each checked, and from no other."""

from __future__ import annotations

import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from models.contract import DEMO_MODEL
from models.errors import ModelDirectoryError
from models.model_files import checked_files, read_titles


@pytest.fixture
def model(tmp_path: Path) -> Path:
    return Path(shutil.copytree(DEMO_MODEL, tmp_path / "model"))


def test_titles_need_the_catalogue_alone(model: Path) -> None:
    (model / "weights.safetensors").write_bytes(b"damaged")
    titles, language_model = read_titles(model)
    assert titles == read_titles(None)[0]
    assert len(titles) > 100
    assert language_model is None
    with pytest.raises(ModelDirectoryError, match=r"weights.safetensors is not what manifest"):
        checked_files(model)


def test_a_damaged_catalogue_is_named(model: Path) -> None:
    with (model / "catalogue.jsonl").open("ab") as file:
        file.write(b"{}\n")
    with pytest.raises(ModelDirectoryError, match=r"catalogue.jsonl is not what manifest"):
        read_titles(model)
    shutil.rmtree(model)
    with pytest.raises(ModelDirectoryError, match="is not a model directory"):
        read_titles(model)


def test_titles_are_read_without_torch() -> None:
    code = (
        "import sys; from models.model_files import read_titles; read_titles(None); "
        "sys.exit('torch' in sys.modules)"
    )
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0

"""Titles are read from the files that have them, each checked, and from no other."""

from __future__ import annotations

import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from models.contract import DEMO_MODEL
from models.errors import ModelDirectoryError
from models.model_files import checked_files, read_catalogue, read_titles


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


def test_a_catalogue_is_read_in_row_order() -> None:
    lines = (
        '{"item_id": "a", "title": "Zelt für zwei", "interests": [2, 0]}\n\n'
        '{"interests": [], "item_id": "b", "title": "", "more": 1}\n'
    )
    found = read_catalogue(lines.encode(), 3)
    assert found.items == ("a", "b")
    assert found.titles == ("Zelt für zwei", "")
    assert found.membership.tolist() == [[False] * 3, [True, False, True], [False] * 3]
    assert read_catalogue(b"", 0).membership.shape == (1, 0)


@pytest.mark.parametrize(
    ("line", "said"),
    [
        ('{"item_id": "b", "title": "B", "interests": [3]}', "b belongs to interest 3, of 3"),
        ('{"item_id": "b", "title": "B", "interests": [-1]}', "b belongs to interest -1, of 3"),
        ('{"item_id": "b", "title": "B"}', "line 2 of catalogue.jsonl: .* `interests`"),
        ('{"item_id": 7, "title": "B", "interests": []}', "line 2 of catalogue.jsonl: .*item_id"),
        ("{", "line 2 of catalogue.jsonl"),
    ],
)
def test_a_line_that_cannot_be_used_is_named(line: str, said: str) -> None:
    first = '{"item_id": "a", "title": "A", "interests": [0]}\n'
    with pytest.raises(ValueError, match=said):
        read_catalogue((first + line).encode(), 3)


def test_titles_are_read_without_torch() -> None:
    code = (
        "import sys; from models.model_files import read_titles; read_titles(None); "
        "sys.exit('torch' in sys.modules)"
    )
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0

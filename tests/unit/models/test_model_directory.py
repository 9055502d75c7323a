"""A directory that was written is read back equal; one that was tampered with is refused by the name of the file."""

from __future__ import annotations

import json
import pickle
import shutil
from dataclasses import replace
from hashlib import sha256
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from safetensors.numpy import load_file, save_file

from models import ease
from models.errors import ModelDirectoryError
from models.model_directory import MEANING, write_model
from models.predict import DEMO_MODEL
from models.predictor import Predictor
from models.predictor import load as read_model
from stream.explaining import simulated_histories


@pytest.fixture
def copy(tmp_path: Path) -> Path:
    """The demo model where it may be damaged."""
    return Path(shutil.copytree(DEMO_MODEL, tmp_path / "model"))


def sign_again(path: Path) -> None:
    """Make the manifest fit the files: what somebody does who wants to be believed."""
    manifest = json.loads((path / "manifest.json").read_text(encoding="utf-8"))
    manifest["sha256"] = {name: sha256((path / name).read_bytes()).hexdigest() for name in manifest["sha256"]}
    (path / "manifest.json").write_text(json.dumps(manifest), encoding="utf-8")


def test_written_and_read_again_it_says_the_same(tmp_path: Path) -> None:
    from models.explain import remembered

    first = read_model(DEMO_MODEL)
    again = _written_again(first, tmp_path / "again")  # with weights of the scorers that came after it, which are 0
    second = _written_again(again, tmp_path / "and again")
    assert second.info == again.info
    asked = remembered(first, simulated_histories(10, seed=1))
    for one, other in zip(_scores(first, asked), _scores(second, asked), strict=True):
        assert (one == other).all()


def test_weights_for_live_popularity_are_read_back(tmp_path: Path) -> None:
    model = read_model(DEMO_MODEL)
    network, tokenizer, pairs, blend, membership, info = model.parts
    fitted = replace(
        blend,
        live_item=blend.item + 1,
        live_interest=blend.interest + 2,
        strangers=blend.item[:2] + 3,
        live_strangers=blend.item[:2] + 4,
    )
    live = (
        _written_again(Predictor(network, tokenizer, pairs, fitted, membership, info), tmp_path / "live")
        .parts[3]
        .live()
    )
    assert (live.item == blend.item + 1).all()
    assert (live.interest == blend.interest + 2).all()
    assert (live.strangers == blend.item[:2] + 4).all()
    without = replace(blend, live_item=None, live_interest=None)
    assert (
        _written_again(Predictor(network, tokenizer, pairs, without, membership, info), tmp_path / "still")
        .parts[3]
        .live()
        is None
    )


def test_the_regression_of_a_model_is_read_back(tmp_path: Path) -> None:
    network, tokenizer, pairs, blend, membership, info = read_model(DEMO_MODEL).parts
    rows = np.random.default_rng(0).integers(1, len(info.items) + 1, 500)
    table = ease.learn(rows, np.arange(0, 501, 50), len(info.items))
    with_it = Predictor(network, tokenizer, replace(pairs, ease=table), blend, membership, info)
    found = _written_again(with_it, tmp_path / "new").parts[2].ease
    assert (found.neighbours == table.neighbours).all()
    assert (found.weights == table.weights).all()
    assert (found.decay, found.look_back) == (table.decay, table.look_back)


def _written_again(model: Any, path: Path) -> Any:
    network, tokenizer, pairs, blend, _, info = model.parts
    catalogue = [json.loads(line) for line in (DEMO_MODEL / "catalogue.jsonl").read_text("utf-8").splitlines()]
    write_model(
        path,
        name=info.name,
        network=network,
        tokenizer=tokenizer,
        pairs=pairs,
        blend=blend,
        catalogue=catalogue,
        interests=list(info.interests),
        report={"note": "not part of the fingerprint"},
    )
    return read_model(path)


def _scores(model: Any, asked: Any) -> list[Any]:
    found = model.score(*asked, interests=5, items=5, because=3)
    return [found.interest, found.probability, found.item, found.item_score, found.because, found.because_weight]


def test_a_change_of_meaning_changes_the_fingerprint_and_the_report_does_not(copy: Path, tmp_path: Path) -> None:
    model = read_model(copy)
    network, tokenizer, pairs, blend, _, info = model.parts
    catalogue = [json.loads(line) for line in (copy / "catalogue.jsonl").read_text("utf-8").splitlines()]
    catalogue[0]["title"] = "Another title"
    common: dict[str, Any] = {"network": network, "tokenizer": tokenizer, "pairs": pairs, "blend": blend}
    write_model(
        tmp_path / "new", name=info.name, catalogue=catalogue, interests=list(info.interests), report={}, **common
    )
    assert read_model(tmp_path / "new").info.fingerprint != info.fingerprint


@pytest.mark.parametrize("name", MEANING)
@pytest.mark.parametrize("damage", ["truncated", "bit flipped", "missing", "a link"])
def test_a_damaged_file_is_refused_by_its_name(copy: Path, name: str, damage: str) -> None:
    place = copy / name
    data = bytearray(place.read_bytes())
    if damage == "truncated":
        place.write_bytes(data[: len(data) // 2])
    elif damage == "bit flipped":
        data[len(data) // 3] ^= 4
        place.write_bytes(data)
    else:
        place.unlink()
        if damage == "a link":
            place.symlink_to(DEMO_MODEL / name)
    with pytest.raises(ModelDirectoryError, match=name) as told:
        read_model(copy)
    assert "train again" in str(told.value)


@pytest.mark.parametrize("text", ["", "{", '{"format": 1}', '{"format": 1, "sha256": {}, "fingerprint": "x"}'])
def test_a_damaged_manifest_is_refused(copy: Path, text: str) -> None:
    (copy / "manifest.json").write_text(text, encoding="utf-8")
    with pytest.raises(ModelDirectoryError, match=r"manifest\.json"):
        read_model(copy)


def test_another_format_and_no_model_at_all_are_told_apart(copy: Path, tmp_path: Path) -> None:
    with pytest.raises(ModelDirectoryError, match="make one with 'interest-stream train'"):
        read_model(tmp_path / "nothing")
    (copy / "manifest.json").write_text('{"format": 99}', encoding="utf-8")
    with pytest.raises(ModelDirectoryError, match="format 99"):
        read_model(copy)


@pytest.mark.parametrize("value", [np.nan, np.inf])
def test_weights_that_are_no_numbers_are_refused_even_when_signed(copy: Path, value: float) -> None:
    place = copy / "weights.safetensors"
    tensors = load_file(place)
    tensors["network.item.weight"][7, 3] = value
    save_file(tensors, place)
    sign_again(copy)
    with pytest.raises(ModelDirectoryError, match=r"network\.item\.weight has numbers that are not finite"):
        read_model(copy)


def test_weights_of_another_size_are_refused_even_when_signed(copy: Path) -> None:
    config = json.loads((copy / "config.json").read_text(encoding="utf-8"))
    config["network"]["width"] = 32
    (copy / "config.json").write_text(json.dumps(config), encoding="utf-8")
    sign_again(copy)
    with pytest.raises(ModelDirectoryError, match=r"does not fit config\.json"):
        read_model(copy)


class Bomb:
    """Unpickled, it would leave a trace."""

    def __init__(self, trace: Path) -> None:
        self.trace = trace

    def __reduce__(self) -> tuple[Any, tuple[str]]:
        return Path.touch, (self.trace,)  # type: ignore[return-value]


def test_nothing_is_ever_unpickled(copy: Path, tmp_path: Path) -> None:
    """Neither a pickle that lies in the directory, nor one in the place of the weights, signed."""
    trace = tmp_path / "trace"
    bomb = pickle.dumps(Bomb(trace))
    for name in ("pytorch_model.bin", "model.pt", "weights.pkl", "vocabulary.pkl"):
        (copy / name).write_bytes(bomb)
    read_model(copy)
    (copy / "weights.safetensors").write_bytes(bomb)
    sign_again(copy)
    with pytest.raises(ModelDirectoryError, match=r"weights\.safetensors is damaged"):
        read_model(copy)
    assert not trace.exists()
    pickle.loads(bomb)
    assert trace.exists()  # the bomb works: the test would have seen it


def test_a_directory_is_replaced_whole_and_keeps_what_is_not_the_models(copy: Path) -> None:
    model = read_model(copy)
    network, tokenizer, pairs, blend, _, info = model.parts
    (copy / "notes.txt").write_text("mine", encoding="utf-8")
    catalogue = [json.loads(line) for line in (copy / "catalogue.jsonl").read_text("utf-8").splitlines()]
    write_model(
        copy,
        name="renamed",
        network=network,
        tokenizer=tokenizer,
        pairs=pairs,
        blend=blend,
        catalogue=catalogue,
        interests=list(info.interests),
        report={},
    )
    assert read_model(copy).info.name == "renamed"
    assert (copy / "notes.txt").read_text(encoding="utf-8") == "mine"
    assert [each.name for each in copy.parent.iterdir()] == ["model"]  # nothing half-written is left beside it

"""A directory is read back as it was written; one that was tampered with is refused by file."""

from __future__ import annotations

import errno
import json
import os
import pickle
import shutil
from dataclasses import replace
from hashlib import sha256
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from safetensors.numpy import load_file, save_file

from models.contract import DEMO_MODEL, Hosting
from models.errors import ModelDirectoryError
from models.evaluation import wandering_users
from models.evaluation.explanations import remembered
from models.model_directory import fingerprint_of, write_model
from models.model_directory import load as read_model
from models.model_files import CELLS, MEANING
from models.scorers.calibration import identity
from models.scorers.registry import SCORERS, ScorerSet
from models.scorers.scorer import Histories
from models.serving import search_choice
from models.serving.predictor import Predictor
from stream.bench.catalogue import write_synthetic
from stream.offline.explanations import simulated_histories


@pytest.fixture
def copy(tmp_path: Path) -> Path:
    """The demo model where it may be damaged."""
    return Path(shutil.copytree(DEMO_MODEL, tmp_path / "model"))


def sign_again(path: Path) -> None:
    """Make the manifest fit the files: what somebody does who wants to be believed."""
    manifest = json.loads((path / "manifest.json").read_text(encoding="utf-8"))
    manifest["sha256"] = {
        name: sha256((path / name).read_bytes()).hexdigest() for name in manifest["sha256"]
    }
    (path / "manifest.json").write_text(json.dumps(manifest), encoding="utf-8")


def test_written_and_read_again_it_says_the_same(tmp_path: Path) -> None:
    first = read_model(DEMO_MODEL)
    # written again it has weights of the scorers that came after it, which are 0
    again = _written_again(first, tmp_path / "again")
    second = _written_again(again, tmp_path / "and again")
    assert second.info == again.info
    asked = remembered(first, simulated_histories(10, seed=1))
    for one, other in zip(_scores(first, asked), _scores(second, asked), strict=True):
        assert (one == other).all()


def test_whether_candidates_are_scored_is_read_back(tmp_path: Path) -> None:
    model, catalogue = read_model(DEMO_MODEL), catalogue_lines(DEMO_MODEL)
    for candidates in (True, False):
        trained = replace(model.trained, candidates=candidates)
        write_model(tmp_path / "model", trained, catalogue=catalogue, report={})
        assert read_model(tmp_path / "model").trained.candidates is candidates
        config = json.loads((tmp_path / "model" / "config.json").read_text(encoding="utf-8"))
        assert config.get("candidates", False) is candidates
    assert "candidates" not in config  # a small catalogue's directory is as it was


def test_cells_are_written_checked_and_found_again_where_they_are_missing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """Checks it with a catalogue of 5,000 items, which a start takes for a large one."""
    monkeypatch.setattr(search_choice, "LEAST_ITEMS", 5_000)
    caplog.set_level("INFO", "interest_stream")
    place = tmp_path / "model"
    write_synthetic(place, 5_000)

    def said() -> list[Any]:
        """Returns what a model says that is loaded now; what it logs is in caplog."""
        caplog.clear()
        served = read_model(place, hosting=Hosting(precision="float32"))
        recent = wandering_users(served.trained, 10)
        return _scores(served, (served.rebuild(recent), recent))

    wanted = said()
    assert "cells a user" in caplog.text
    assert "are found now" not in caplog.text
    stored = load_file(place / CELLS)

    # another shape, as of another version, is left alone, and so is another form
    save_file({**stored, "cell": stored["cell"][1:]}, place / CELLS)
    with pytest.raises(ModelDirectoryError, match=f"{CELLS} is not what manifest.json says"):
        read_model(place)
    sign_again(place)
    cells, items = read_model(place).trained.cells, read_model(place).item_vectors
    assert cells is not None
    assert items is not None
    assert not cells.fit(items)
    (place / CELLS).write_bytes(b"of another form")
    sign_again(place)
    assert read_model(place).trained.cells is None

    # without them a start finds the same
    (place / CELLS).unlink()
    for one, other in zip(said(), wanted, strict=True):
        assert (one == other).all()
    assert "are found now" in caplog.text

    # a model that has none leaves none of the model before it
    write_model(
        place, read_model(DEMO_MODEL).trained, catalogue=catalogue_lines(DEMO_MODEL), report={}
    )
    assert not (place / CELLS).exists()


def test_weights_for_live_popularity_are_read_back(tmp_path: Path) -> None:
    model = read_model(DEMO_MODEL)
    blend = model.trained.blend
    fitted = replace(
        blend,
        live_item=blend.item + 1,
        live_interest=blend.interest + 2,
        strangers=blend.item[:2] + 3,
        live_strangers=blend.item[:2] + 4,
    )
    live = _written_again(_with(model, blend=fitted), tmp_path / "live").trained.blend.live()
    assert live.item.equal(blend.item + 1)
    assert live.interest.equal(blend.interest + 2)
    assert live.strangers.equal(blend.item[:2] + 4)
    without = replace(blend, live_item=None, live_interest=None)
    still = _written_again(_with(model, blend=without), tmp_path / "still")
    assert still.trained.blend.live() is None


def test_a_calibration_is_read_back_and_directories_without_one_correct_nothing(
    tmp_path: Path,
) -> None:
    model = read_model(DEMO_MODEL)
    weights = identity()
    weights[2] = -0.7
    blend = replace(model.trained.blend, calibration=weights, live_calibration=weights + 1)
    again = _written_again(_with(model, blend=blend), tmp_path / "with").trained.blend
    assert again.calibration.equal(weights)
    assert again.live_calibration.equal(weights + 1)
    without = replace(blend, calibration=None, live_calibration=None)
    again = _written_again(_with(model, blend=without), tmp_path / "without").trained.blend
    assert again.calibration is again.live_calibration is None


def test_a_calibration_of_another_version_is_refused(copy: Path) -> None:
    place = copy / "weights.safetensors"
    save_file(load_file(place) | {"blend.calibration": np.zeros(3, np.float32)}, place)
    sign_again(copy)
    with pytest.raises(ModelDirectoryError, match=r"blend\.calibration has 3 numbers"):
        read_model(copy)


def test_what_every_scorer_learned_is_read_back(tmp_path: Path) -> None:
    model = read_model(DEMO_MODEL)
    items = len(model.info.items)
    rows = np.random.default_rng(0).integers(1, items + 1, 500)
    learned = ScorerSet.learn(Histories(rows, np.arange(0, 501, 50), items))
    again = _written_again(_with(model, scorers=learned), tmp_path / "new").trained.scorers
    assert [one is None for one in again.each] == [one is None for one in learned.each]
    found, wanted = again.tensors(), learned.tensors()
    assert found.keys() == wanted.keys()
    assert all(found[key].equal(wanted[key]) for key in wanted)


def test_the_table_of_a_scorer_that_is_not_known_is_refused_by_its_name(copy: Path) -> None:
    place = copy / "weights.safetensors"
    save_file(load_file(place) | {"oracle.weights": np.zeros(3, np.float32)}, place)
    sign_again(copy)
    with pytest.raises(ModelDirectoryError, match=r"oracle\.weights of a scorer"):
        read_model(copy)


def test_the_demo_model_keeps_its_fingerprint_and_its_scorers() -> None:
    """States that workers stored mean something by this fingerprint alone."""
    model = read_model(DEMO_MODEL)
    assert f"{model.info.fingerprint:016x}" == "9ed947ff6c34aac0"
    for scorer, one in zip(SCORERS, model.trained.scorers.each, strict=True):
        assert one is not None or scorer.must_earn_its_cost or not scorer.tensors_prefix


def _with(model: Predictor, **changes: Any) -> Predictor:
    """The model with something else in it."""
    return Predictor(replace(model.trained, **changes))


def catalogue_lines(path: Path) -> list[dict[str, Any]]:
    """What catalogue.jsonl of a model directory holds."""
    lines = (path / "catalogue.jsonl").read_text("utf-8").splitlines()
    return [json.loads(line) for line in lines]


def _written_again(model: Predictor, path: Path) -> Any:
    """The model after a round trip through a directory."""
    write_model(
        path,
        model.trained,
        catalogue=catalogue_lines(DEMO_MODEL),
        report={"note": "not part of the fingerprint"},
    )
    return read_model(path)


def _scores(model: Any, asked: Any) -> list[Any]:
    found = model.score(*asked, interests=5, items=5, because=3)
    return [
        found.interest,
        found.probability,
        found.item,
        found.item_score,
        found.because,
        found.because_weight,
    ]


def test_a_change_of_meaning_changes_the_fingerprint_and_the_report_does_not(
    copy: Path, tmp_path: Path
) -> None:
    model = read_model(copy)
    catalogue = catalogue_lines(copy)
    catalogue[0]["title"] = "Another title"
    write_model(tmp_path / "new", model.trained, catalogue=catalogue, report={})
    assert read_model(tmp_path / "new").info.fingerprint != model.info.fingerprint


def test_a_name_is_no_identity(tmp_path: Path) -> None:
    """Who renames a model keeps the states that workers stored with it."""
    again = _written_again(read_model(DEMO_MODEL), tmp_path / "again")
    info = replace(again.info, name="another name")
    renamed = _written_again(_with(again, info=info), tmp_path / "renamed")
    assert renamed.info.name == "another name"
    assert renamed.info.fingerprint == again.info.fingerprint
    assert fingerprint_of(tmp_path / "renamed") == again.info.fingerprint


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
    with pytest.raises(ModelDirectoryError, match=name) as refused:
        read_model(copy)
    assert "train again" in str(refused.value)


@pytest.mark.parametrize(
    "text", ["", "{", '{"format": 1}', '{"format": 1, "sha256": {}, "fingerprint": "x"}']
)
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
    with pytest.raises(
        ModelDirectoryError, match=r"network\.item\.weight has numbers that are not finite"
    ):
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
    (copy / "notes.txt").write_text("mine", encoding="utf-8")
    renamed = replace(model.trained, info=replace(model.info, name="renamed"))
    write_model(copy, renamed, catalogue=catalogue_lines(copy), report={})
    assert read_model(copy).info.name == "renamed"
    assert (copy / "notes.txt").read_text(encoding="utf-8") == "mine"
    # nothing half-written is left next to it
    assert [each.name for each in copy.parent.iterdir()] == ["model"]


@pytest.mark.parametrize("candidates", [False, True], ids=["copied", "mapped"])
def test_a_loaded_model_is_not_changed_by_what_replaces_its_directory(
    copy: Path, candidates: bool
) -> None:
    """Its weights are the file, which lives on without a name."""
    from models.evaluation.explanations import remembered

    model = read_model(copy)
    write_model(
        copy,
        replace(model.trained, candidates=candidates),
        catalogue=catalogue_lines(copy),
        report={},
    )
    loaded = read_model(copy)
    asked = remembered(loaded, simulated_histories(10, seed=1))
    before = _scores(loaded, asked)
    other = loaded.randomised(3).trained
    write_model(copy, other, catalogue=catalogue_lines(copy), report={})
    assert not (_scores(read_model(copy), asked)[3] == before[3]).all()
    for one, same in zip(before, _scores(loaded, asked), strict=True):
        assert (one == same).all()


def _trees(parent: Path) -> list[str]:
    """What lies in a folder, hidden things too."""
    return sorted(each.name for each in parent.iterdir())


@pytest.mark.parametrize("kind", ["new", "empty", "earlier model", "link"])
def test_a_model_goes_where_it_is_asked_for_and_leaves_nothing_beside(
    tmp_path: Path, kind: str
) -> None:
    path = tmp_path / "parent" / "model"
    path.parent.mkdir()
    if kind == "earlier model":
        shutil.copytree(DEMO_MODEL, path)
        (path / ".training").mkdir()
        (path / "language_model.json").write_text("of the earlier one")
    elif kind == "link":
        (tmp_path / "elsewhere").mkdir()
        path.symlink_to(tmp_path / "elsewhere")
    elif kind == "empty":
        path.mkdir()
    model = read_model(DEMO_MODEL)
    assert _written_again(model, path).info.items == model.info.items
    assert _trees(path.parent) == ["model"]
    assert (path / ".training").exists() == (kind == "earlier model")
    assert not (path / "language_model.json").exists()
    assert path.is_symlink() == (kind == "link")


def test_a_mount_point_gets_the_files_one_by_one_and_the_manifest_last(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "model"
    shutil.copytree(DEMO_MODEL, path)
    (path / ".training").mkdir()
    (path / "language_model.json").write_text("of the earlier one")
    before, rename, order = path.stat().st_ino, Path.rename, list[str]()
    replace_one = Path.replace

    def busy(self: Path, target: Path) -> Path:
        if self == path:
            raise OSError(errno.EBUSY, os.strerror(errno.EBUSY), str(path))
        return rename(self, target)

    def noted(self: Path, target: Path) -> Path:
        order.append(self.name)
        return replace_one(self, target)

    monkeypatch.setattr(Path, "rename", busy)
    monkeypatch.setattr(Path, "replace", noted)
    model = read_model(DEMO_MODEL)
    assert _written_again(model, path).info.items == model.info.items
    assert path.stat().st_ino == before
    assert order[-1] == "manifest.json"
    assert _trees(tmp_path) == ["model"]
    assert not [name for name in _trees(path) if name.startswith(".model-")]
    assert (path / ".training").exists()
    assert not (path / "language_model.json").exists()

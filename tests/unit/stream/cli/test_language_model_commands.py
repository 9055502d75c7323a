"""train --language-model, evaluate and rank with a tiny model of the user's own.

It is trained, moved, changed, resumed.
"""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import numpy as np
import pytest
import torch

from models.compact import COMPACT, ITEM_ID, TITLE, hash64
from models.llm.predictor import HostedPredictor
from models.llm.texts import encode
from models.predict import load_predictor
from tests.support.tiny_language_model import write_tiny_model
from tests.support.training_commands import Done, run, training
from tests.support.training_commands import shop as shop  # the fixture

pytestmark = pytest.mark.slow

FEW = ("--epochs", 4)
"""Options of a training where little is learned."""


@pytest.fixture(scope="module")
def base(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_tiny_model(tmp_path_factory.mktemp("base") / "tiny")


@pytest.fixture(scope="module")
def small(shop: Path) -> Path:
    out = shop / "small"
    assert run(*training(shop, out, *FEW)).returncode == 0
    return out


@pytest.fixture(scope="module")
def trained(shop: Path, small: Path, base: Path) -> Path:
    out = shop / "large"
    done = run(
        *training(
            shop,
            out,
            "--language-model",
            base,
            "--lora",
            "--language-model-layers",
            1,
            "--start-from",
            small,
            "--json",
            *FEW,
        )
    )
    assert done.returncode == 0, done.stderr
    report = json.loads(done.stdout)["language_model"]
    assert len(report["curves"]["bridge"]) > 0
    assert len(report["curves"]["lora"]) > 0
    return out


def rank(model: Path, folder: Path, *more: object) -> Done:
    file = folder / "histories.jsonl"
    events = [
        {"action": "view", "time": 1764000000000 + place, "item_id": f"O{place}"}
        for place in range(4)
    ]
    events.append({"action": "search", "time": 1764000000010, "query": "warm boots"})
    users = [{"user_id": f"u{number}", "events": events[: number + 1]} for number in range(5)]
    file.write_text("\n".join(map(json.dumps, users)), encoding="utf-8")
    return run("rank", "--model", model, "--histories", file, *more)


def test_it_scores_and_differs_from_the_small_model(
    trained: Path, small: Path, tmp_path: Path
) -> None:
    done = rank(trained, tmp_path)
    assert done.returncode == 0, done.stderr
    updates = [json.loads(line) for line in done.stdout.splitlines()]
    assert [each["user_id"] for each in updates] == [f"u{number}" for number in range(5)]
    assert updates[4]["interests"][0]["interest"] == "Outdoor"
    assert updates[4]["because"]
    assert (
        updates[0]["model"]["fingerprint"]
        != json.loads(rank(small, tmp_path).stdout.splitlines()[0])["model"]["fingerprint"]
    )


def test_a_user_alone_scores_as_in_a_batch(trained: Path) -> None:
    predictor = load_predictor(trained)
    recent = np.zeros((70, 32), COMPACT)
    for user in range(70):
        for place in range(user % 7):
            recent[user, place] = (
                hash64(predictor.info.items[place]),
                0,
                10**12 - place,
                1,
                3,
                b"O1",
            )
    state = predictor.rebuild(recent)
    together = predictor.score_all(state, recent)
    alone = np.concatenate([predictor.score_all(state[[u]], recent[[u]]) for u in range(70)])
    assert np.abs(together - alone).max() < 0.05  # bfloat16


def test_the_title_of_an_unknown_item_is_read_and_its_bare_id_is_not(trained: Path) -> None:
    predictor = load_predictor(trained)
    recent = np.zeros((4, 32), COMPACT)
    texts = (
        (TITLE, b"warm boots"),
        (TITLE, b"mystery novel"),
        (ITEM_ID, b"boots-7"),
        (ITEM_ID, b"novel-9"),
    )
    for user, (kind, text) in enumerate(texts):
        recent[user, 0] = (hash64("an item that no catalogue has"), 0, 10**12, 1, kind, text)
    scores = predictor.score_all(np.zeros((4, predictor.info.state_size), np.float32), recent)
    assert not np.array_equal(scores[0], scores[1])
    np.testing.assert_array_equal(scores[2], scores[3])


def test_a_phrase_is_read_as_the_interests_were(trained: Path) -> None:
    """The same words get the same place among the candidates, without training."""
    predictor = load_predictor(trained)
    assert isinstance(predictor, HostedPredictor)
    again = predictor.bridge.centred(encode(predictor.host, predictor.info.interests))
    alike = torch.nn.functional.cosine_similarity(again, predictor.bridge.interest_text)
    assert alike.min() > 0.98  # half precision, and the adapters that came after
    recent = np.zeros((1, 32), COMPACT)
    recent[0, 0] = (hash64(predictor.info.items[0]), 0, 10**12, 1, 3, b"O1")
    outdoor = predictor.membership[:, [predictor.info.interests.index("Outdoor")]]
    found = []
    for name in ("Outdoor", "Kitchen"):
        predictor.score_phrases([name], outdoor)
        found.append(
            predictor.score(
                predictor.rebuild(recent), recent, interests=1, items=1, because=1
            ).phrases[0, 0]
        )
    assert found[0] != found[1]


def test_a_device_that_is_not_there_is_refused(trained: Path, tmp_path: Path) -> None:
    if torch.cuda.is_available():
        pytest.skip("this machine has a GPU")
    done = rank(trained, tmp_path, "--device", "cuda")
    assert done.returncode == 1
    assert "torch sees no GPU; set it to cpu" in done.stderr


def test_a_moved_model_is_found_where_it_is_named(
    trained: Path, base: Path, tmp_path: Path
) -> None:
    aside = base.rename(base.with_name("aside"))
    try:
        done = rank(trained, tmp_path)
        assert done.returncode == 1
        assert f"is not at {base}" in done.stderr
        assert "--language-model PATH" in done.stderr
        assert rank(trained, tmp_path, "--language-model", aside).returncode == 0
    finally:
        aside.rename(base)


def test_another_model_in_its_place_is_refused(trained: Path, tmp_path: Path) -> None:
    other = write_tiny_model(tmp_path / "other", seed=5)
    done = rank(trained, tmp_path, "--language-model", other)
    assert done.returncode == 1
    assert "is not the language model" in done.stderr
    assert "Traceback" not in done.stderr


def test_damaged_bridge_weights_are_refused(trained: Path, tmp_path: Path) -> None:
    copy = Path(shutil.copytree(trained, tmp_path / "copy"))
    place = copy / "language_model.safetensors"
    place.write_bytes(place.read_bytes()[:-1] + b"x")
    done = rank(copy, tmp_path)
    assert done.returncode == 1
    assert "language_model.safetensors" in done.stderr


def test_an_interrupted_training_ends_as_an_uninterrupted_one(
    shop: Path, small: Path, base: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from models.training import hosted

    words = ("--language-model", base, "--start-from", small, "--json", "--epochs", 2)
    whole = json.loads(run(*training(shop, tmp_path / "whole", *words)).stdout)["language_model"]
    epoch, calls = hosted.HostedTraining.train_epoch, []

    def stopping(self: hosted.HostedTraining, *arguments: object) -> float:
        calls.append(1)
        if len(calls) == 2:
            raise KeyboardInterrupt
        return epoch(self, *arguments)  # type: ignore[arg-type]

    with monkeypatch.context() as patch:
        patch.setattr(hosted.HostedTraining, "train_epoch", stopping)
        assert run(*training(shop, tmp_path / "parts", *words)).returncode == 130
    again = json.loads(run(*training(shop, tmp_path / "parts", *words)).stdout)["language_model"]
    assert again["curves"] == whole["curves"]
    assert (tmp_path / "parts" / "language_model.safetensors").read_bytes() == (
        tmp_path / "whole" / "language_model.safetensors"
    ).read_bytes()


def test_a_teacher_is_asked_once_and_not_needed_when_serving(shop: Path, tmp_path: Path) -> None:
    teacher, out = write_tiny_model(tmp_path / "teacher"), tmp_path / "taught"
    done = run(*training(shop, out, "--encode-with", teacher, "--json", *FEW))
    assert done.returncode == 0, done.stderr
    losses = [each["loss"] for each in json.loads(done.stdout)["curves"]["taught"]]
    assert losses[-1] < losses[0]
    shutil.rmtree(teacher)
    predictor = load_predictor(out)
    taught = predictor.network.text[1:]
    said = predictor.encode_texts([f"{title} Outdoor" for title in predictor.info.titles])
    own = torch.nn.functional.cosine_similarity(said, taught).mean()
    others = torch.nn.functional.cosine_similarity(said, taught.roll(1, 0)).mean()
    assert (
        own > others
    )  # what the small model says of a title is nearest to what the teacher said of it
    assert rank(out, tmp_path).returncode == 0


def test_wrong_use_is_named(shop: Path, tmp_path: Path) -> None:
    assert "--language-model PATH" in run(*training(shop, tmp_path / "out", "--lora")).stderr
    done = run(*training(shop, tmp_path / "out", "--language-model", tmp_path / "nothing"))
    assert done.returncode == 1
    assert "does not exist" in done.stderr

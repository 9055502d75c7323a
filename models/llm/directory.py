"""Reads and writes what a model directory holds of a user's own language model.

    language_model.json          path and sha256 of the base model, sizes of the bridge
    language_model.safetensors   the bridge, cached text encodings, LoRA

The base model itself stays where it is. Both files are named in the manifest and in the
fingerprint.
"""

from __future__ import annotations

import json
from dataclasses import asdict
from pathlib import Path

import torch
from safetensors import SafetensorError
from safetensors.torch import load as load_tensors
from safetensors.torch import save as save_tensors

from models.contract import Hosting
from models.errors import ModelDataError, ModelDirectoryError
from models.llm import HOSTED, lora
from models.llm.base_model import BaseModel, find, load
from models.llm.bridge import Bridge, BridgeConfig
from models.llm.predictor import HostedPredictor, catalogue_texts
from models.llm.texts import title_tokens
from models.serving.trained_model import TrainedModel


def to_files(base: BaseModel, bridge: Bridge, rank: int, precision: str) -> dict[str, bytes]:
    """Returns the two files. rank: of LoRA, 0 without."""
    about = {
        "path": str(base.files.path.resolve()),
        "sha256": base.files.sha256(),
        "layers": base.layers,
        "precision": precision,
        "lora_rank": rank,
        "bridge": asdict(bridge.config),
    }
    tensors = {
        f"bridge.{key}": (value.half() if key.endswith("_text") else value).contiguous()
        for key, value in bridge.state_dict().items()
    }
    if rank:
        tensors |= {
            f"lora.{key}": value.contiguous() for key, value in lora.weights(base.whole).items()
        }
    return dict(
        zip(HOSTED, (json.dumps(about, indent=1).encode(), save_tensors(tensors)), strict=True)
    )


def host(
    path: Path, files: dict[str, bytes], trained: TrainedModel, hosting: Hosting
) -> HostedPredictor:
    """Returns a predictor of the small model with the language model of its directory.

    Raises ModelDirectoryError when the base model is not the one of training.
    """
    try:
        about = json.loads(files[HOSTED[0]])
        config = BridgeConfig(**about["bridge"])
        tensors = load_tensors(files[HOSTED[1]])
        place = hosting.language_model or Path(about["path"])
        wanted, rank, kept = about["sha256"], int(about["lora_rank"]), str(about["precision"])
        layers = int(about["layers"])
    except (ValueError, KeyError, TypeError, SafetensorError, ModelDataError) as error:
        raise ModelDirectoryError(
            f"{path}: {HOSTED[0]} or {HOSTED[1]} cannot be used: {error}"
        ) from error
    _ensure_same(path, place, wanted, named=hosting.language_model is not None)
    base = load(place, device=hosting.device, precision=hosting.precision or kept, layers=layers)
    if rank:
        lora.put(base.whole, rank, _under(tensors, "lora."))
    bridge = Bridge(config)
    try:
        found = bridge.load_state_dict(
            {key: value.float() for key, value in _under(tensors, "bridge.").items()}
        )
        assert not found.unexpected_keys
    except (RuntimeError, AssertionError) as error:
        raise ModelDirectoryError(
            f"{path / HOSTED[1]} does not fit {HOSTED[0]}: {error}"
        ) from error
    info = trained.info
    texts = catalogue_texts(list(info.titles), list(info.interests), trained.membership[1:])
    fill_tokens(bridge, base, texts)
    return HostedPredictor(trained, base, bridge)


def fill_tokens(bridge: Bridge, base: BaseModel, texts: list[str]) -> None:
    """Fills in what is cheap to make again and so not kept.

    It is one token a title, and the words of the template.
    """
    bridge.title[1:] = title_tokens(base, texts)
    numbers = torch.tensor(
        base.tokenizer(bridge.config.template, add_special_tokens=False)["input_ids"]
    )
    bridge.template = (
        base.whole.get_input_embeddings().weight.detach()[numbers.to(base.device)].float().cpu()
    )


def _under(tensors: dict[str, torch.Tensor], prefix: str) -> dict[str, torch.Tensor]:
    """Returns the tensors under a prefix, without it."""
    return {
        key.removeprefix(prefix): value for key, value in tensors.items() if key.startswith(prefix)
    }


def _ensure_same(path: Path, place: Path, wanted: str, *, named: bool) -> None:
    """Raises ModelDirectoryError unless the base model of the training is at a place.

    named: whether a user named the place.
    """
    if not place.exists():
        raise ModelDirectoryError(
            f"the language model of {path} is not at {place}"
            + ("" if named else ", where it was trained")
            + "; name where it is with --language-model PATH"
        )
    if find(place).sha256() != wanted:
        raise ModelDirectoryError(
            f"{place} is not the language model that {path} was trained with (sha256 differs from "
            f"{wanted[:12]}...); name that one with --language-model PATH, or train again with "
            "this one"
        )

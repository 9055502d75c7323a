"""Where a training stands, after each epoch of each stage: weights, optimiser and curve, as safetensors and JSON."""

from __future__ import annotations

import json
from hashlib import sha256
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import load_file, save_file
from torch import Tensor
from torch.nn import Module

from models.errors import ModelDataError
from models.prepare import Dataset


class Checkpoints:
    """Weights, optimiser and curve of each stage after each epoch; safetensors and JSON."""

    def __init__(self, folder: Path, dataset: Dataset, config: dict[str, Any]) -> None:
        self._folder = folder
        data = sha256(dataset.events.tobytes())
        data.update(json.dumps([dataset.item_ids, dataset.titles, dataset.interests]).encode())
        identity = {"config": config, "data": data.hexdigest()}
        place = folder / "identity.json"
        if place.exists() and json.loads(place.read_text(encoding="utf-8")) != identity:
            raise ModelDataError(
                f"{folder} holds the checkpoints of a training with other data or settings; repeat with those, or start over with --restart"
            )
        folder.mkdir(parents=True, exist_ok=True)
        place.write_text(json.dumps(identity), encoding="utf-8")

    def has(self, stage: str) -> bool:
        return (self._folder / f"{stage}.json").exists()

    def load(self, stage: str, network: Module) -> dict[str, Any]:
        """Put the newest weights of a stage into the network; its curve and whether it is done."""
        if not self.has(stage):
            return {}
        state: dict[str, Any] = json.loads((self._folder / f"{stage}.json").read_text(encoding="utf-8"))
        network.load_state_dict(load_file(self._folder / f"{stage}.{'best' if state['done'] else 'last'}.safetensors"))
        return state

    def load_optimiser(self, stage: str, optimiser: torch.optim.Optimizer) -> None:
        place = self._folder / f"{stage}.optimiser.safetensors"
        if not place.exists():
            return
        tensors = load_file(place)
        state: dict[int, dict[str, Tensor]] = {}
        for key, value in tensors.items():
            number, _, name = key.partition(".")
            state.setdefault(int(number), {})[name] = value
        whole = optimiser.state_dict()
        whole["state"] = state
        optimiser.load_state_dict(whole)

    def save(self, stage: str, network: Module, optimiser: torch.optim.Optimizer, curve: list[Any], best: bool) -> None:
        tensors = {key: value.contiguous() for key, value in network.state_dict().items()}
        self._write(f"{stage}.last.safetensors", tensors)
        if best:
            self._write(f"{stage}.best.safetensors", tensors)
        moments = {
            f"{number}.{name}": value
            for number, parts in optimiser.state_dict()["state"].items()
            for name, value in parts.items()
        }
        self._write(f"{stage}.optimiser.safetensors", moments)
        self._note(stage, curve, done=False)

    def finish(self, stage: str, network: Module, curve: list[Any]) -> None:
        """The best weights of the stage are the ones that stay."""
        network.load_state_dict(load_file(self._folder / f"{stage}.best.safetensors"))
        self._note(stage, curve, done=True)

    def _write(self, name: str, tensors: dict[str, Tensor]) -> None:
        fresh = self._folder / f"{name}.new"
        save_file(tensors, fresh)
        fresh.rename(self._folder / name)

    def _note(self, stage: str, curve: list[Any], *, done: bool) -> None:
        fresh = self._folder / f"{stage}.json.new"
        fresh.write_text(json.dumps({"curve": curve, "done": done}), encoding="utf-8")
        fresh.rename(self._folder / f"{stage}.json")

"""Where a training stands, after each epoch of each stage: safetensors and JSON, each file put in place in one rename."""

from __future__ import annotations

import json
from hashlib import sha256
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import load_file, save_file
from torch import Tensor

from models.errors import ModelDataError
from models.prepare import Dataset


def digest_of(dataset: Dataset) -> str:
    """Names a data set in the identity of a training."""
    data = sha256(dataset.events.tobytes())
    data.update(json.dumps([dataset.item_ids, dataset.titles, dataset.interests]).encode())
    return data.hexdigest()


class Checkpoints:
    """Weights, optimiser and curve of each stage after each epoch. Weights are tensors that loading writes into."""

    def __init__(self, folder: Path, identity: dict[str, Any]) -> None:
        self._folder = folder
        place = folder / "identity.json"
        if place.exists() and json.loads(place.read_text(encoding="utf-8")) != identity:
            raise ModelDataError(
                f"{folder} holds the checkpoints of a training with other data or settings; "
                "repeat with those, or start over with --restart"
            )
        folder.mkdir(parents=True, exist_ok=True)
        place.write_text(json.dumps(identity), encoding="utf-8")

    def load(self, stage: str, weights: dict[str, Tensor]) -> dict[str, Any]:
        """Fill the weights with the newest of a stage, the best if it is done; its curve and whether it is done."""
        place = self._folder / f"{stage}.json"
        if not place.exists():
            return {}
        state: dict[str, Any] = json.loads(place.read_text(encoding="utf-8"))
        self.fill(f"{stage}.{'best' if state['done'] else 'last'}", weights)
        return state

    def load_optimiser(self, stage: str, optimiser: torch.optim.Optimizer) -> None:
        """Put back its moments, if there are any."""
        state: dict[int, dict[str, Tensor]] = {}
        for key, value in self.tensors(f"{stage}.optimiser").items():
            number, _, name = key.partition(".")
            state.setdefault(int(number), {})[name] = value
        if state:
            whole = optimiser.state_dict()
            whole["state"] = state
            optimiser.load_state_dict(whole)

    def save(
        self,
        stage: str,
        weights: dict[str, Tensor],
        optimiser: torch.optim.Optimizer,
        curve: list[Any],
        *,
        best: dict[str, Tensor] | None,
    ) -> None:
        """After an epoch; best: the weights to end with, if this epoch gave better ones."""
        self.keep(f"{stage}.last", weights)
        if best is not None:
            self.keep(f"{stage}.best", best)
        moments = {
            f"{number}.{name}": value
            for number, parts in optimiser.state_dict()["state"].items()
            for name, value in parts.items()
        }
        self.keep(f"{stage}.optimiser", moments)
        self._note(stage, curve, done=False)

    def finish(self, stage: str, weights: dict[str, Tensor], curve: list[Any]) -> None:
        """The best weights of the stage are the ones that stay."""
        self.fill(f"{stage}.best", weights)
        self._note(stage, curve, done=True)

    def keep(self, name: str, tensors: dict[str, Tensor]) -> None:
        """Write tensors under a name."""
        fresh = self._folder / f"{name}.new"
        save_file({key: value.contiguous() for key, value in tensors.items()}, fresh)
        fresh.rename(self._folder / f"{name}.safetensors")

    def tensors(self, name: str) -> dict[str, Tensor]:
        """What was kept under a name; nothing if nothing was."""
        place = self._folder / f"{name}.safetensors"
        found: dict[str, Tensor] = load_file(place) if place.exists() else {}
        return found

    def fill(self, name: str, weights: dict[str, Tensor]) -> None:
        """Write what was kept under a name into these, if anything was."""
        for key, value in self.tensors(name).items():
            weights[key].copy_(value)

    def _note(self, stage: str, curve: list[Any], *, done: bool) -> None:
        fresh = self._folder / f"{stage}.new"
        fresh.write_text(json.dumps({"curve": curve, "done": done}), encoding="utf-8")
        fresh.rename(self._folder / f"{stage}.json")

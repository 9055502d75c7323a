"""Stores where a training stands, after each epoch of each stage.

Tensors are safetensors, the rest is JSON; each file is put in place in one rename.
"""

from __future__ import annotations

import json
from hashlib import sha256
from pathlib import Path
from typing import Any, Final

import torch
from safetensors.numpy import save_file as save_arrays
from safetensors.torch import load_file, save_file
from torch import Tensor

from models.data.prepare import Dataset
from models.errors import ModelDataError

STEPS: Final = "a target counts the same in every batch"
"""Says how weights move: what was begun by another rule does not go on by this one."""

LAYOUT: Final = "files have the number of their epoch"
"""Says how checkpoints are kept: what an older release began does not go on."""


def digest_of(dataset: Dataset) -> str:
    """Returns a hash of a data set, which is part of the identity of a training."""
    data = sha256(dataset.events.tobytes())
    data.update(dataset.user_start.tobytes())
    names = [dataset.item_ids, dataset.titles, dataset.interests, dataset.categories]
    data.update(json.dumps(names).encode())
    for places in dataset.membership:  # which items belong to which interest
        data.update(places.tobytes())
    return data.hexdigest()


class Checkpoints:
    """Keeps weights, optimiser and curve of each stage after each epoch, in a folder.

    Weights are handed in as tensors that loading writes into. Raises ModelDataError when the folder
    belongs to a training of another identity (data, settings, and how steps are taken).
    """

    def __init__(self, folder: Path, identity: dict[str, Any]) -> None:
        self._folder, identity = folder, {**identity, "steps": STEPS, "layout": LAYOUT}
        place = folder / "identity.json"
        if place.exists() and json.loads(place.read_text(encoding="utf-8")) != identity:
            raise ModelDataError(
                f"{folder} holds the checkpoints of a training with other data or settings; "
                "repeat with those, or start over with --restart"
            )
        folder.mkdir(parents=True, exist_ok=True)
        place.write_text(json.dumps(identity), encoding="utf-8")

    def load(self, stage: str, weights: dict[str, Tensor]) -> dict[str, Any]:
        """Fills the weights with the newest of a stage, or with the best if the stage is done.

        Returns its curve and whether it is done; empty if no epoch of it is.
        """
        state = self._noted(stage)
        if state:
            best, newest = f"{state['best']}.best", f"{len(state['curve'])}.last"
            put(self.tensors(f"{stage}.{best if state['done'] else newest}"), weights)
        return state

    def newest(self, stage: str, what: str) -> dict[str, Tensor]:
        """Returns the `optimiser` or the `average` of the newest epoch of a stage; none if none."""
        return self.tensors(f"{stage}.{len(self._noted(stage).get('curve', ()))}.{what}")

    def save(
        self,
        stage: str,
        weights: dict[str, Tensor],
        optimiser: torch.optim.Optimizer,
        curve: list[Any],
        *,
        best: dict[str, Tensor] | None,
        average: dict[str, Tensor] | None = None,
    ) -> None:
        """Stores the state after an epoch, all of it or nothing, whenever the process is stopped.

        best: weights to end with, if it gave better ones. Files have the number of their epoch; the
        note that is written last says which of them count.
        """
        epoch = len(curve)
        moments = {
            f"{number}.{name}": value
            for number, tensors in optimiser.state_dict()["state"].items()
            for name, value in tensors.items()
        }
        for what, kept in (
            ("last", weights),
            ("optimiser", moments),
            ("average", average),
            ("best", best),
        ):
            if kept is not None:
                self.keep(f"{stage}.{epoch}.{what}", kept)
        best_epoch = epoch if best is not None else self._noted(stage)["best"]
        self._note(stage, curve, best_epoch, done=False)
        self._drop(stage, epoch, best_epoch)

    def finish(self, stage: str, weights: dict[str, Tensor], curve: list[Any]) -> None:
        """Fills the weights with the best of the stage and marks the stage as done."""
        best = self._noted(stage)["best"]
        put(self.tensors(f"{stage}.{best}.best"), weights)
        self._note(stage, curve, best, done=True)

    def keep(self, name: str, tensors: dict[str, Tensor]) -> None:
        """Writes tensors under a name."""
        fresh = self._folder / f"{name}.new"
        kept = {key: value.detach().cpu().contiguous() for key, value in tensors.items()}
        if any(value.dtype == torch.bfloat16 for value in kept.values()):
            save_file(kept, fresh)
        else:
            # the same bytes for less than half of the work, which is felt where an epoch is short
            save_arrays({key: value.numpy() for key, value in kept.items()}, fresh)
        fresh.rename(self._folder / f"{name}.safetensors")

    def tensors(self, name: str) -> dict[str, Tensor]:
        """Returns the tensors that were kept under a name; none if nothing was."""
        place = self._folder / f"{name}.safetensors"
        found: dict[str, Tensor] = load_file(place) if place.exists() else {}
        return found

    def _noted(self, stage: str) -> dict[str, Any]:
        """Returns what is known of a stage: its curve, its best epoch, and whether it is done."""
        place = self._folder / f"{stage}.json"
        if not place.exists():
            return {}
        state: dict[str, Any] = json.loads(place.read_text(encoding="utf-8"))
        return state

    def _note(self, stage: str, curve: list[Any], best: int, *, done: bool) -> None:
        """Writes what is known of a stage."""
        fresh = self._folder / f"{stage}.new"
        fresh.write_text(json.dumps({"curve": curve, "best": best, "done": done}), encoding="utf-8")
        fresh.rename(self._folder / f"{stage}.json")

    def _drop(self, stage: str, epoch: int, best: int) -> None:
        """Deletes what epochs before have left, but for the best weights."""
        for place in self._folder.glob(f"{stage}.*.*.safetensors"):
            _, number, what, _ = place.name.rsplit(".", 3)
            if int(number) != epoch and (int(number), what) != (best, "best"):
                place.unlink()


def put(kept: dict[str, Tensor], weights: dict[str, Tensor]) -> None:
    """Copies tensors that were kept into the weights of their names, if there are any."""
    for key, value in kept.items():
        weights[key].copy_(value)


def put_moments(moments: dict[str, Tensor], optimiser: torch.optim.Optimizer) -> None:
    """Puts the moments that were kept of a stage back into its optimiser, if there are any."""
    state: dict[int, dict[str, Tensor]] = {}
    for key, value in moments.items():
        number, _, name = key.partition(".")
        state.setdefault(int(number), {})[name] = value
    if state:
        whole = optimiser.state_dict()
        whole["state"] = state
        optimiser.load_state_dict(whole)

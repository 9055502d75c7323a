"""Training of the small model with a large encoder as teacher of its texts: asked once, while training, and not there when serving.

The encoder's vectors of the catalogue, turned onto their main directions, take the place of the small text model's own; the small
one learns to give the same for the same words, so that queries, unknown titles and phrases land among them.

Glossary: N texts, E width of the encoder, D width of the network.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any, Final

import numpy as np
import torch
from torch import Tensor

from models.errors import ModelDataError
from models.llm.base_model import BaseModel
from models.llm.texts import encode
from models.prepare import Dataset
from models.train import Losses, Progress, TrainConfig, Training

EPOCHS: Final = 20
"""Of learning what the teacher says; a batch of short texts takes milliseconds."""


class TaughtTraining(Training):
    """As any training, with the texts' encodings from a teacher."""

    def __init__(
        self, dataset: Dataset, out: Path, config: TrainConfig, progress: Progress, teacher: BaseModel
    ) -> None:
        super().__init__(dataset, out, config, progress)
        self.teacher = teacher
        _ensure_same_teacher(out / ".training" / "teacher.json", teacher.files.sha256())

    def _encode_texts(self) -> None:
        """The place between the texts and the memory, where encodings are made."""
        self.texts = [self._text_of(item) for item in self.told] + self.dataset.interests
        self.lessons = self._ask()
        self._stage("taught", EPOCHS, self._taught_epoch, self._text_parameters(), valued=False)
        network, items = self.network.eval(), len(self.told)
        with torch.no_grad():
            network.text[torch.from_numpy(self.told + 1)] = self.lessons[:items]
            network.interest_text[:] = self.lessons[items:]

    def _taught_epoch(self, optimiser: Any, generator: torch.Generator, _: int) -> Losses:
        """Mean squared distance of the small model's encodings from the lessons."""
        tokens = torch.from_numpy(self.tokenizer.encode(self.texts))
        losses = []
        for chosen in torch.randperm(len(tokens), generator=generator).split(256):  # type: ignore[no-untyped-call]
            optimiser.zero_grad()
            given = self.network.text_model.encode_text(tokens[chosen])
            loss = torch.nn.functional.mse_loss(given, self.lessons[chosen])
            self._take_step(loss, optimiser)
            losses.append(loss.item())
        return {"loss": float(np.mean(losses))}

    def _ask(self) -> Tensor:
        def tell(done: int, total: int) -> None:
            self.progress("teacher", done, total, {})

        return lessons(encode(self.teacher, self.texts, tell), self.config.width)


@torch.no_grad()
def lessons(encodings: Tensor, width: int) -> Tensor:
    """float32 [N, D]: the D main directions of encodings [N, E], of unit variance on average; missing directions are zero."""
    centred = encodings - encodings.mean(0)
    _, directions = torch.linalg.eigh(centred.T @ centred)  # ascending
    turned = centred @ directions.flip(1)[:, :width]
    turned = torch.nn.functional.pad(turned, (0, width - turned.shape[1]))
    scaled: Tensor = turned / turned.square().mean().sqrt().clamp(min=1e-6)
    return scaled


def _ensure_same_teacher(place: Path, sha256: str) -> None:
    if place.exists() and json.loads(place.read_text(encoding="utf-8")) != sha256:
        raise ModelDataError(f"{place.parent} holds a training with another teacher; start over with --restart")
    place.write_text(json.dumps(sha256), encoding="utf-8")

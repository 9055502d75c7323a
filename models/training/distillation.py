"""Trains the small model with a large encoder as the teacher of its texts (distillation).

The encoder runs once, while training, and is not needed when serving. Its vectors of the catalogue,
turned onto their main directions, take the place of the small text model's own; the small one
learns to give the same vectors for the same words, so that queries, unknown titles and phrases land
among them. Source: knowledge distillation, Hinton, Vinyals and Dean 2015 (arXiv 1503.02531), here
with vectors as targets and their mean squared distance as loss.

Glossary: N texts, E width of the encoder, D width of the network.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import numpy as np
import torch
from torch import Tensor

from models.data.prepare import Dataset
from models.errors import ModelDataError
from models.llm.base_model import BaseModel
from models.llm.texts import encode
from models.network.interest_network import InterestNetwork
from models.progress import Progress
from models.training.config import TrainConfig
from models.training.epochs import Losses, Weights
from models.training.ranks import ALONE, Ranks
from models.training.stages import TEXTS, text_parameters
from models.training.train import Training

EPOCHS: Final = 20
"""Epochs of learning the teacher's vectors; a batch of short texts takes milliseconds."""


class DistilledTraining(Training):
    """Trains as any other training does, with the texts' encodings from a teacher."""

    def __init__(
        self,
        dataset: Dataset,
        out: Path,
        config: TrainConfig,
        progress: Progress,
        teacher: BaseModel,
        ranks: Ranks = ALONE,
    ) -> None:
        super().__init__(dataset, out, config, progress, ranks)
        self.teacher = teacher
        _check_same_teacher(out / ".training" / "teacher.json", teacher.files.sha256())

    def encode_texts(self) -> None:
        """Learns the teacher's encodings, where another training keeps its own."""
        texts = [*map(self.text_of, self.with_text), *self.dataset.interests]
        encodings = encode(self.teacher, texts, self.progress, "teacher")
        targets = teacher_targets(encodings, self.config.width)
        tokens = torch.from_numpy(self.tokenizer.encode(texts))
        # "taught" is the name of the stage in checkpoints and reports that exist.
        stage = DistillationStage(self.network, tokens, targets)
        self.epochs.run("taught", EPOCHS, stage, valued=False)
        network, items = self.network.eval(), len(self.with_text)
        with torch.no_grad():
            network.text[torch.from_numpy(self.with_text + 1)] = targets[:items]
            network.interest_text[:] = targets[items:]


@dataclass(frozen=True)
class DistillationStage:
    """Has the text model learn the teacher's vectors of texts."""

    network: InterestNetwork
    tokens: Tensor
    targets: Tensor
    """Holds the teacher's vector of each text, float32 [N, D]."""

    def parameters(self) -> list[dict[str, Any]]:
        """Returns the parameters of the text model."""
        return text_parameters(self.network)

    def epoch(self, weights: Weights, generator: torch.Generator, _: int) -> Losses:
        """Learns from every text once; returns the mean squared distance from the targets."""
        batches = torch.split(torch.randperm(len(self.tokens), generator=generator), TEXTS)
        losses, shares = [], []
        for chosen in batches:
            part = weights.part_of(torch.ones(len(chosen), dtype=torch.long))
            tokens, targets = (
                part.of(each[chosen]).to(weights.device) for each in (self.tokens, self.targets)
            )
            given = self.network.text_model.encode_text(tokens)
            loss = torch.nn.functional.mse_loss(given, targets)
            shares.append(len(chosen) * len(batches) / len(self.tokens))
            losses += weights.step([loss], shares[-1], part)
        return {"loss": float(np.average(losses, weights=shares))}


@torch.no_grad()
def teacher_targets(encodings: Tensor, width: int) -> Tensor:
    """Returns the D main directions of encodings [N, E], float32 [N, D].

    They have unit variance on average; directions that the encodings lack are zero.
    """
    centred = encodings - encodings.mean(0)
    _, directions = torch.linalg.eigh(centred.T @ centred)  # ascending
    turned = centred @ directions.flip(1)[:, :width]
    turned = torch.nn.functional.pad(turned, (0, width - turned.shape[1]))
    scaled: Tensor = turned / turned.square().mean().sqrt().clamp(min=1e-6)
    return scaled


def _check_same_teacher(place: Path, sha256: str) -> None:
    """Raises ModelDataError if a training was begun with another teacher; notes this one."""
    if place.exists() and json.loads(place.read_text(encoding="utf-8")) != sha256:
        raise ModelDataError(
            f"{place.parent} holds a training with another teacher; start over with --restart"
        )
    place.write_text(json.dumps(sha256), encoding="utf-8")

"""Trains the bridge to a user's own language model, on top of a finished small model.

LSTM and candidates of the small model stay as they are.

    texts     encodings of the catalogue's texts and the interests by the model, once
    bridge    soft tokens, event tokens and answers, the model frozen
    lora      the same with LoRA on the model, if it is wanted
    blend     weights of all scorers, on validation users

Epochs are picked on NDCG@10 of the next item of validation users (the last event of each).
Interrupted, the same call goes on.
"""

from __future__ import annotations

from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any, Final

import numpy as np
import torch
from torch import Tensor

from models.data.prepare import Dataset
from models.errors import ModelDataError
from models.llm import lora
from models.llm.base_model import BaseModel
from models.llm.bridge import Bridge, BridgeConfig, ensure_masks_count
from models.llm.directory import fill_tokens, to_files
from models.llm.predictor import HostedPredictor, catalogue_texts
from models.llm.texts import encode, usual_length
from models.model_directory import attach
from models.progress import Progress
from models.scorers.blend import Blend
from models.scorers.registry import ScorerSet, before_last
from models.scorers.scorer import Histories
from models.scorers.titles import titles_that_say
from models.serving.predictor import Predictor
from models.training.checkpoints import Checkpoints, put_moments
from models.training.fit_blend import fit_blend
from models.training.hosted_objective import Objective
from models.training.hosted_windows import shares
from models.training.validation import Curve, newest_is_best, stopped_improving

CLIPPED_AT: Final = 1.0
"""Norm of the gradient of an average batch beyond which it is shortened."""


@dataclass(frozen=True)
class HostedConfig:
    """Holds everything that decides this training besides the data and the small model."""

    seed: int = 0
    soft_tokens: int = 2
    recent: int = 8
    epochs: int = 6
    windows: int = 2_000
    """Windows of an epoch, drawn anew.

    Each has four answers; they take about three minutes with 135 M weights on one core.
    """
    batch: int = 32
    learning_rate: float = 1e-3
    lora_rank: int = 0  # 0: without
    lora_learning_rate: float = 2e-4
    interest_weight: float = 0.3
    patience: int = 2
    validation_users: int = 500
    blend_users: int = 1_000
    precision: str = "bfloat16"
    min_users: int = 5  # as in TrainConfig


def train_hosted(
    dataset: Dataset,
    small: Predictor,
    base: BaseModel,
    out: Path,
    config: HostedConfig,
    progress: Progress,
) -> dict[str, Any]:
    """Trains a language model into the model directory `out`, which holds the small model.

    Returns what was measured on the way. Raises ModelDataError if the data is too little.
    """
    ensure_masks_count(base.backbone, base.width)
    return HostedTraining(dataset, small, base, out, config, progress).run()


class HostedTraining:
    """Runs one training: holds the small model, the bridge, and its checkpoints."""

    def __init__(
        self,
        dataset: Dataset,
        small: Predictor,
        base: BaseModel,
        out: Path,
        config: HostedConfig,
        progress: Progress,
    ) -> None:
        torch.manual_seed(config.seed)
        self.dataset, self.small, self.base, self.out, self.config = (
            dataset,
            small,
            base,
            out,
            config,
        )
        self.progress = progress
        network, info = small.network.eval().requires_grad_(False), small.info
        self.bridge = Bridge(
            BridgeConfig(
                width=network.config.width,
                host_width=base.width,
                items=len(info.items),
                interests=len(info.interests),
                recent=min(config.recent, network.config.recent),
                soft_tokens=config.soft_tokens,
                scale=usual_length(base),
            )
        )

        # A checkpoint belongs to these settings, this small model and this language model.
        self.checkpoints = Checkpoints(
            out / ".training" / "language_model",
            {
                "config": asdict(config),
                "small": f"{info.fingerprint:016x}",
                "base": base.files.sha256(),
                "layers": base.layers,
            },
        )
        self.curves: dict[str, Curve] = {}

    def run(self) -> dict[str, Any]:
        """Runs all stages and adds their result to the model directory; returns the report."""
        # What the language model reads of the catalogue, and the windows to learn from.
        info, config = self.small.info, self.config
        texts = catalogue_texts(list(info.titles), list(info.interests), self.small.membership)
        fill_tokens(self.bridge, self.base, texts)
        self._encode(texts)
        self.objective = Objective(
            self.dataset,
            self.small,
            self.bridge,
            self.base.backbone,
            interest_weight=config.interest_weight,
        )
        self.validation = self.objective.last_events(
            self._validation_users(config.validation_users)
        )
        if not len(self.objective.windows) or not len(self.validation):
            raise ModelDataError(
                "no user has three events about known items; the bridge cannot be trained"
            )

        # An untrained bridge answers as the LSTM does; then bridge, LoRA, blend.
        started = {"ndcg@10": round(self.objective.validate(self.validation), 4)}
        bridge = list(self.bridge.parameters())
        self._stage("bridge", [{"params": bridge, "lr": config.learning_rate}])
        if config.lora_rank:
            adapters = lora.add(self.base.whole, config.lora_rank)
            self._stage(
                "lora",
                [
                    {"params": bridge, "lr": config.learning_rate / 4},
                    {"params": adapters, "lr": config.lora_learning_rate},
                ],
            )
        files = to_files(self.base, self.bridge, config.lora_rank, config.precision)
        blend, figures = self._fit_blend()
        attach(self.out, files, blend)
        return {
            "config": asdict(config),
            "base": {
                "name": self.base.files.path.name,
                "sha256": self.base.files.sha256(),
                "layers": self.base.layers,
            },
            "windows": len(self.objective.windows),
            "lstm": started,
            "curves": self.curves,
            "blend": figures,
        }

    # -- stages

    def _stage(self, name: str, groups: list[dict[str, Any]]) -> None:
        """Runs epochs until the validation stops to improve; the best weights stay."""
        state = self.checkpoints.load(name, self._weights())
        curve: Curve = state.get("curve", [])
        self.curves[name] = curve
        if state.get("done"):
            return
        optimiser = torch.optim.AdamW(groups, weight_decay=1e-4)
        put_moments(self.checkpoints.newest(name, "optimiser"), optimiser)
        for number in range(len(curve), self.config.epochs):
            if stopped_improving(curve, self.config.patience):
                break
            seed = self.config.seed * 1_000_003 + number
            torch.manual_seed(seed)
            loss = self.train_epoch(name, number, optimiser, torch.Generator().manual_seed(seed))
            curve.append(
                {
                    "loss": round(loss, 4),
                    "ndcg@10": round(self.objective.validate(self.validation), 4),
                }
            )
            weights = self._weights()
            self.checkpoints.save(
                name, weights, optimiser, curve, best=weights if newest_is_best(curve) else None
            )
            drawn = self._drawn
            self.progress(name, (number + 1) * drawn, self.config.epochs * drawn, curve[-1])
        self.checkpoints.finish(name, self._weights(), curve)

    def train_epoch(
        self, name: str, number: int, optimiser: Any, generator: torch.Generator
    ) -> float:
        """Learns from the windows drawn for an epoch; returns the mean loss."""
        self.bridge.train()
        self.base.whole.train(name == "lora")
        losses = []
        batches = list(
            self.objective.windows.batches(self.config.batch, self.config.windows, generator)
        )
        counts = shares(batches)
        for place, (windows, share) in enumerate(zip(batches, counts, strict=True)):
            optimiser.zero_grad()
            loss = self.objective.loss(windows)
            (loss * share).backward()  # type: ignore[no-untyped-call]
            torch.nn.utils.clip_grad_norm_(
                [each for group in optimiser.param_groups for each in group["params"]],
                CLIPPED_AT * share,
            )
            optimiser.step()
            losses.append(loss.item())
            if place % 10 == 9 and place + 1 < len(batches):
                done = number * self._drawn + (place + 1) * self.config.batch
                figures = {"loss": round(float(np.mean(losses[-10:])), 4)}
                self.progress(name, done, self.config.epochs * self._drawn, figures)
        self.base.whole.eval()
        return float(np.average(losses, weights=counts))

    # -- around them

    @property
    def _drawn(self) -> int:
        """Returns the windows of an epoch."""
        return min(self.config.windows, len(self.objective.windows))

    def _validation_users(self, most: int) -> Any:
        """Returns at most `most` users by whose last events something is picked."""
        return self.objective.validation_users(most, self.config.seed)

    def _weights(self) -> dict[str, Tensor]:
        """Returns what a checkpoint holds: tensors that loading writes into."""
        bridge = {f"bridge.{name}": value.data for name, value in self.bridge.named_parameters()}
        return bridge | {
            f"lora.{name}": value for name, value in lora.weights(self.base.whole).items()
        }

    def _encode(self, texts: list[str]) -> None:
        """Puts the catalogue's texts and the interests into the bridge, as the model reads them."""
        kept = self.checkpoints.tensors("texts")
        if not kept:
            both = [*texts, *self.small.info.interests]
            found = encode(self.base, both, self.progress, "texts")
            kept = {"items": found[: len(texts)], "interests": found[len(texts) :]}
            self.checkpoints.keep("texts", kept)
        self.bridge.keep_texts(kept["items"], kept["interests"])

    def _fit_blend(self) -> tuple[Blend, dict[str, Any]]:
        """Fits the blend, as the small model's was fitted.

        The other scorers learned what came before the events that it is fitted to.
        """
        trained = self.small.trained
        histories = Histories(
            self.objective.rows,
            self.dataset.user_start,
            len(trained.info.items),
            self.config.min_users,
            titles_that_say(trained.info.titles, trained.info.items),
        )
        scorers = ScorerSet.learn(before_last(histories), trained.scorers)
        start = trained.blend
        small = replace(trained, scorers=scorers, candidates=False)
        predictor = HostedPredictor(small, self.base, self.bridge)
        users = self._validation_users(self.config.blend_users)
        self.progress("blend", 0, 1, {})
        blend, figures = fit_blend(
            predictor, start, self.dataset, self.objective.rows, users, len(users)
        )
        self.progress("blend", 1, 1, {"users": figures["users"]})
        return blend, figures

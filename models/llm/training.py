"""Training of the bridge to a user's own language model, behind a finished small model: its LSTM and candidates stay as they are.

    texts     encodings of the catalogue's texts and the interests by the model, once
    bridge    soft tokens, event tokens and answers, the model frozen
    lora      the same with LoRA on the model, if asked for
    blend     weights of all scorers, on validation users

Epochs are picked on NDCG@10 of the next item of validation users (the last event of each). Interrupted, the same call goes on.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any, Final

import numpy as np
import torch
from torch import Tensor

from models import blend as blending
from models.blend import Blend
from models.cooccurrence import learn_before_last
from models.errors import ModelDataError
from models.llm import lora
from models.llm.base_model import BaseModel
from models.llm.bridge import Bridge, BridgeConfig, ensure_masks_count
from models.llm.checkpoints import Checkpoints
from models.llm.directory import fill_tokens, to_files
from models.llm.predictor import HostedPredictor, catalogue_texts
from models.llm.texts import encode, usual_length
from models.llm.windows import Histories, Windows, cut_windows, read_histories
from models.model_directory import attach
from models.predictor import Predictor
from models.prepare import Dataset
from models.protocols import Cases
from models.replay import replay

Array = np.ndarray[Any, Any]
Progress = Callable[[str, int, int, dict[str, Any]], None]

BLEND_CELLS: Final = 20_000_000  # users times items


@dataclass(frozen=True)
class HostedConfig:
    """Everything that decides this training beside the data and the small model."""

    seed: int = 0
    soft_tokens: int = 2
    recent: int = 8
    epochs: int = 6
    windows: int = (
        2_000  # of an epoch, drawn anew; four answers each, about three minutes with 135 M weights on one core
    )
    batch: int = 32
    learning_rate: float = 1e-3
    lora_rank: int = 0  # 0: without
    lora_learning_rate: float = 2e-4
    interest_weight: float = 0.3
    patience: int = 2
    validation_users: int = 500
    blend_users: int = 1_000
    precision: str = "bfloat16"


def train_hosted(
    dataset: Dataset, small: Predictor, base: BaseModel, out: Path, config: HostedConfig, progress: Progress
) -> dict[str, Any]:
    """Give the model directory `out`, which holds the small model, a language model; what was measured on the way."""
    ensure_masks_count(base.backbone, base.width)
    return _Training(dataset, small, base, out, config, progress).run()


class _Training:
    def __init__(
        self, dataset: Dataset, small: Predictor, base: BaseModel, out: Path, config: HostedConfig, progress: Progress
    ) -> None:
        torch.manual_seed(config.seed)
        self.dataset, self.small, self.base, self.out, self.config = dataset, small, base, out, config
        self.progress = progress
        self.network = small.network.eval().requires_grad_(False)
        info = small.info
        self.bridge = Bridge(
            BridgeConfig(
                width=self.network.config.width,
                host_width=base.width,
                items=len(info.items),
                interests=len(info.interests),
                recent=min(config.recent, self.network.config.recent),
                soft_tokens=config.soft_tokens,
                scale=usual_length(base),
            )
        )
        self.dropout = torch.nn.Dropout(self.network.config.dropout)
        self.membership = torch.from_numpy(np.concatenate((np.zeros((1, len(info.interests))), small.membership)))
        self.checkpoints = Checkpoints(
            out / ".training" / "language_model",
            {
                "config": asdict(config),
                "small": f"{info.fingerprint:016x}",
                "base": base.files.sha256(),
                "layers": base.layers,
            },
        )
        self.curves: dict[str, list[dict[str, Any]]] = {}

    def run(self) -> dict[str, Any]:
        fill_tokens(self.bridge, self.base, self._texts())
        self._encode_texts()
        self.histories: Histories = read_histories(self.network, self.dataset)
        self.windows = cut_windows(self.dataset, self.histories.rows, self.bridge.config.recent)
        self.drawn = min(self.config.windows, len(self.windows))
        self.validation = self._validation()
        if not len(self.windows) or not len(self.validation):
            raise ModelDataError("no user has three events about known items; the bridge cannot be trained")
        started = {"ndcg@10": round(self._validate(), 4)}
        trained = [{"params": self._bridge_parameters(), "lr": self.config.learning_rate}]
        self._stage("bridge", trained)
        if self.config.lora_rank:
            adapters = lora.add(self.base.whole, self.config.lora_rank)
            trained = [
                {"params": self._bridge_parameters(), "lr": self.config.learning_rate / 4},
                {"params": adapters, "lr": self.config.lora_learning_rate},
            ]
            self._stage("lora", trained)
        files = to_files(self.base, self.bridge, self.config.lora_rank, self.config.precision)
        blend, figures = self._fit_blend()
        attach(self.out, files, blend)
        return {
            "config": asdict(self.config),
            "base": {"name": self.base.files.path.name, "sha256": self.base.files.sha256(), "layers": self.base.layers},
            "windows": len(self.windows),
            "lstm": started,
            "curves": self.curves,
            "blend": figures,
        }

    # -- stages

    def _stage(self, name: str, groups: list[dict[str, Any]]) -> None:
        state = self.checkpoints.load(name, self._weights())
        curve: list[dict[str, Any]] = state.get("curve", [])
        self.curves[name] = curve
        if state.get("done"):
            return
        optimiser = torch.optim.AdamW(groups, weight_decay=1e-4)
        self.checkpoints.load_optimiser(name, optimiser)
        for number in range(len(curve), self.config.epochs):
            seed = self.config.seed * 1_000_003 + number
            torch.manual_seed(seed)
            loss = self._epoch(name, number, optimiser, torch.Generator().manual_seed(seed))
            curve.append({"loss": round(loss, 4), "ndcg@10": round(self._validate(), 4)})
            values = [each["ndcg@10"] for each in curve]
            self.checkpoints.save(name, self._weights(), optimiser, curve, best=values[-1] >= max(values))
            self.progress(name, (number + 1) * self.drawn, self.config.epochs * self.drawn, curve[-1])
            if len(values) - 1 - int(np.argmax(values)) >= self.config.patience:
                break
        self.checkpoints.finish(name, self._weights(), curve)

    def _epoch(self, name: str, number: int, optimiser: Any, generator: torch.Generator) -> float:
        self.bridge.train()
        self.base.whole.train(name == "lora")
        losses = []
        batches = list(self.windows.batches(self.config.batch, self.config.windows, generator))
        for place, windows in enumerate(batches):
            optimiser.zero_grad()
            loss = self._loss(windows)
            loss.backward()  # type: ignore[no-untyped-call]
            torch.nn.utils.clip_grad_norm_([each for group in optimiser.param_groups for each in group["params"]], 1.0)
            optimiser.step()
            losses.append(loss.item())
            if place % 10 == 9 and place + 1 < len(batches):
                done = number * self.drawn + (place + 1) * self.config.batch
                figures = {"loss": round(float(np.mean(losses[-10:])), 4)}
                self.progress(name, done, self.config.epochs * self.drawn, figures)
        self.base.whole.eval()
        return float(np.mean(losses))

    def _loss(self, windows: Windows) -> Tensor:
        """Cross-entropy of the next item over the catalogue, and of the interests it touches."""
        answers, places = self._answers(windows)
        network, bridge = self.network, self.bridge
        targets = torch.from_numpy(self.histories.rows)[places + 1]
        items = network.item_candidates() + bridge.text_out(bridge.item_text)
        logits = torch.nn.functional.linear(answers, items[1:], network.item_bias[1:])
        loss = torch.nn.functional.cross_entropy(logits, targets - 1)
        interests = network.interest_candidates() + bridge.text_out(bridge.interest_text)
        opinions = torch.nn.functional.linear(answers, interests, network.interest_bias)
        touched = self.membership[targets].float()
        return loss + self.config.interest_weight * torch.nn.functional.binary_cross_entropy_with_logits(
            opinions, touched
        )

    def _answers(self, windows: Windows) -> tuple[Tensor, Tensor]:
        """Answers [M, D] of all used slots, and the events [M] (places in the data set) that they follow."""
        n, histories = int(windows.count.max()), self.histories
        inside = torch.arange(n)[None] < windows.count[:, None]
        events = torch.where(inside, windows.first[:, None] + torch.arange(n)[None], windows.first[:, None])
        rows = torch.from_numpy(histories.rows)[events]
        x = self.dropout(histories.x[events]) if self.bridge.training else histories.x[events]
        asked = windows.asked.clamp(min=0)
        follows = windows.first[:, None] + asked
        features = histories.features[follows]
        if self.bridge.training:
            features = self.dropout(features)
        tokens = self.bridge.event_tokens(x, self.bridge.title[rows])
        hidden = self.bridge.train_windows(self.base.backbone, tokens, self.bridge.soft_tokens(features), asked)
        used = windows.asked >= 0
        return self.bridge.answer(features[used], hidden[used]), follows[used]

    def _validate(self) -> float:
        """NDCG@10 of the last event of validation users: full ranking, seen items stay candidates."""
        network, bridge = self.network, self.bridge.eval()
        gains = []
        with torch.inference_mode():
            items = network.item_candidates() + bridge.text_out(bridge.item_text)
            for low in range(0, len(self.validation), 64):
                part = slice(low, low + 64)
                windows = self.validation
                answers, places = self._answers(Windows(windows.first[part], windows.count[part], windows.asked[part]))
                logits = torch.nn.functional.linear(answers, items, network.item_bias)[:, 1:]
                wanted = logits.gather(1, torch.from_numpy(self.histories.rows)[places + 1][:, None] - 1)
                rank = (logits >= wanted).sum(1)
                gains.append(torch.where(rank <= 10, 1 / torch.log2(rank + 1.0), 0.0))
        return float(torch.cat(gains).mean())

    # -- data

    def _texts(self) -> list[str]:
        info = self.small.info
        return catalogue_texts(list(info.titles), list(info.interests), self.small.membership)

    def _encode_texts(self) -> None:
        kept = self.checkpoints.tensors("texts")
        if not kept:
            texts = [*self._texts(), *self.small.info.interests]

            def tell(done: int, total: int) -> None:
                self.progress("texts", done, total, {})

            found = encode(self.base, texts, tell)
            centred = found - found.mean(0)
            kept = {"found": centred / centred.std().clamp(min=1e-6)}
            self.checkpoints.keep("texts", kept)
        items = len(self.small.info.items)
        self.bridge.item_text[1:] = kept["found"][:items]
        self.bridge.interest_text[:] = kept["found"][items:]

    def _validation(self) -> Windows:
        """One window a user: all but the last event are known, that one is asked for."""
        users = self._validation_users(self.config.validation_users)
        end = torch.from_numpy(self.dataset.user_start[1:][users])
        count = (end - 1 - torch.from_numpy(self.dataset.user_start[:-1][users])).clamp(max=self.bridge.config.recent)
        return Windows(end - 1 - count, count, (count - 1)[:, None])

    def _validation_users(self, most: int) -> Array:
        start, last = self.dataset.user_start[:-1], self.dataset.user_start[1:] - 1
        users = np.flatnonzero((self.histories.rows[last] > 0) & (last > start))
        drawn: Array = np.sort(np.random.default_rng(self.config.seed).permutation(users)[:most])
        return drawn

    def _bridge_parameters(self) -> list[Tensor]:
        return list(self.bridge.parameters())

    def _weights(self) -> dict[str, Tensor]:
        """What a checkpoint holds: tensors that loading writes into."""
        bridge = {f"bridge.{name}": value.data for name, value in self.bridge.named_parameters()}
        return bridge | {f"lora.{name}": value for name, value in lora.weights(self.base.whole).items()}

    # -- the end

    def _fit_blend(self) -> tuple[Blend, dict[str, Any]]:
        most = max(100, min(self.config.blend_users, BLEND_CELLS // len(self.small.info.items)))
        users = self._validation_users(most)
        first, last = self.dataset.user_start[:-1][users], self.dataset.user_start[1:][users] - 1
        rows = self.histories.rows[last]
        cases = Cases(last, users, last - first, rows.astype(np.int32) - 1, self.dataset.events["time_ms"][last])
        network, tokenizer, _, start, membership, info = self.small.parts
        pairs = learn_before_last(
            self.histories.rows, self.dataset.user_start, len(info.items)
        )  # the model's counts all
        predictor = HostedPredictor(network, tokenizer, pairs, start, membership, info, self.base, self.bridge)
        self.progress("blend", 0, len(users), {})
        places, readings = [], []
        with torch.no_grad():
            for some, state, recent in replay(predictor, predictor.info.state_size, self.dataset, cases, 64):
                places.append(some)
                readings.append(predictor.read(state, recent))
                self.progress("blend", sum(map(len, places)), len(users), {})
        targets = torch.from_numpy(rows[np.concatenate(places)])
        scorers = [torch.cat(columns) for columns in zip(*(each.scorers for each in readings), strict=True)]
        item = blending.fit_item_weights(scorers, targets)
        with torch.no_grad():
            for each in readings:
                each.items = blending.weighted(each.scorers, item)
            opinions = torch.cat([predictor.interest_features(each)[0] for each in readings])
        interest = blending.fit_interest_weights(opinions, self.membership[targets].float())
        figures = {
            "users": len(users),
            "item": dict(zip(blending.ITEM_SCORERS, [round(each, 4) for each in item.tolist()], strict=True)),
            "interest": dict(
                zip(blending.INTEREST_FEATURES, [round(each, 4) for each in interest.tolist()], strict=True)
            ),
        }
        return replace(self.small.parts[3], item=item, interest=interest), figures

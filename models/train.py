"""From a data set to a model directory, in stages, each resumable.

    text       the language model learns the catalogue's words; encodings of all texts
    lstm       next items from the LSTM's features
    bridge     soft tokens and the language model over users, the LSTM frozen at first, then all at a small rate
    blend      weights of the item scorers and of the interest features, on validation users; whether EASE is worth its cost
    lstm_anew, bridge_anew
               both again from the start over all events, those of the validation too, for the epochs that were picked
    write      the model directory

Validation is the last event of each user of the data set given; the caller keeps test events out of it. Epochs are picked on
NDCG@10 of validation. Glossary: B sequences, T events, U users, V items (row 0: unknown), C interests.
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any, Final, cast

import numpy as np
import torch
from torch import Tensor
from torch.optim.swa_utils import AveragedModel

from models import pairs as pairing
from models.allocator import keep_freed_memory
from models.averaging import averaged
from models.blend import Blend
from models.bridge import InterestNetwork, Negatives, NetworkConfig, interest_loss, next_item_loss
from models.checkpoints import Checkpoints, digest_of
from models.errors import ModelDataError
from models.fit_blend import ease_gain, fit_blend
from models.model_directory import catalogue_of, membership_of, write_model
from models.pairs import Pairs
from models.popularity import log_shares
from models.predict import ModelInfo
from models.predictor import Predictor
from models.prepare import Dataset
from models.training_data import TrainingData
from models.validation import Curve, best_epoch, newest_is_best, stopped_improving, validate
from models.vocabulary import Tokenizer

Array = np.ndarray[Any, Any]
Progress = Callable[[str, int, int, dict[str, Any]], None]
"""Called as (stage, done, total, figures)."""
Losses = dict[str, float]
"""Means of an epoch, in nats; `loss` is that of what the stage answers with."""

LSTM_SHARE: Final = 0.2  # of the time of a training, at most
BRIDGE_SHARE: Final = 0.3  # to learn both anew takes no longer than the two
FROZEN: Final = 2  # epochs of the bridge before the LSTM learns with it
LSTM_WEIGHT: Final = 0.5  # of its loss beside that of the answers, once it is not frozen


@dataclass(frozen=True)
class TrainConfig:
    """Everything that decides a training; two runs of the same are equal."""

    seed: int = 0
    width: int = 64
    lstm_layers: int = 1
    lm_layers: int = 2
    heads: int = 2
    soft_tokens: int = 2
    recent: int = 8
    dropout: float = 0.3
    length: int = 50  # most events of a training sequence; longer histories are cut into pieces
    batch: int = 64  # sequences
    learning_rate: float = 1e-3
    weight_decay: float = 1e-4
    text_epochs: int = 2
    lstm_epochs: int = 20
    bridge_epochs: int = 20
    patience: int = 3  # epochs without a better validation before a stage ends
    negatives: int = 1_024  # of the sampled softmax; 0, or as many as there are items: the exact one
    hide_ids: float = 0.0  # share of events read by their text alone: for streams with items that the catalogue lacks
    interest_weight: float = 0.3  # of the interests' loss beside the items'
    validation_users: int = 5_000
    seen: str = "keep"  # whether items of a validation user's history stay candidates: keep or remove
    threads: int = 1  # of PyTorch; another number adds up in another order
    learn_validation: bool = True  # at the end, when nothing is left to pick by it; published tables do not
    name: str = "model"


def train(
    dataset: Dataset,
    out: Path,
    config: TrainConfig,
    progress: Progress = lambda *_: None,
    minutes: float = math.inf,
) -> dict[str, Any]:
    """Train and write a model directory; the report. Interrupted, the same call carries on where it stopped.

    A stage that would take the training beyond `minutes` of processor time ends with the epochs it has, and the report names it.

    Raises ModelDataError when the data cannot be learned from, or a checkpoint belongs to other data or settings.
    """
    if not dataset.interests:
        raise ModelDataError("the data set has no interests yet; find them with models.interests before training")
    keep_freed_memory()
    return Training(dataset, out, config, progress).run(minutes)


class Training:
    """One run: the data it needs, the network, and its checkpoints."""

    def __init__(self, dataset: Dataset, out: Path, config: TrainConfig, progress: Progress) -> None:
        torch.set_num_threads(config.threads)
        torch.manual_seed(config.seed)
        self.dataset, self.out, self.config, self.progress = dataset, out, config, progress
        self.data = TrainingData(dataset, config.length)
        self.tokenizer = Tokenizer.learn([*dataset.titles, *dataset.interests, *self.data.texts])
        self.network = InterestNetwork(
            NetworkConfig(
                items=len(dataset.item_ids),
                interests=len(dataset.interests),
                tokens=self.tokenizer.size,
                width=config.width,
                lstm_layers=config.lstm_layers,
                lm_layers=config.lm_layers,
                heads=config.heads,
                soft_tokens=config.soft_tokens,
                recent=config.recent,
                dropout=config.dropout,
            )
        )
        self.told = np.array(
            [
                item
                for item, title in enumerate(dataset.titles)
                if title != dataset.item_ids[item] or dataset.categories[item]
            ],
            np.int64,
        )  # items with a text; a bare id says nothing and is left without an encoding
        self.catalogue = catalogue_of(dataset)
        self.membership = membership_of(self.catalogue, len(dataset.interests))
        self.checkpoints = Checkpoints(out / ".training", {"config": asdict(config), "data": digest_of(dataset)})
        self.curves: dict[str, Curve] = {}
        self.average: AveragedModel  # of the stage that runs
        self.deadline = math.inf
        self.ended_by_budget: list[str] = []
        self.sequences, self.learned = self.data.pieces(), ~self.data.is_validation
        self.validation_users, self.validation = self.data.validation(config.validation_users, config.seed)

    def run(self, minutes: float) -> dict[str, Any]:
        started = time.perf_counter()
        begun = time.process_time()
        self.deadline = begun + 60 * minutes * LSTM_SHARE
        self.learn_memory()
        self.deadline = begun + 60 * minutes * (LSTM_SHARE + BRIDGE_SHARE)
        self._learn_bridge("bridge", self.config.bridge_epochs, valued=True)
        report = self._finish()
        report["ended_by_budget"] = self.ended_by_budget
        report["seconds"] = round(time.perf_counter() - started, 1)
        return report

    def learn_memory(self) -> float:
        """The stages up to the LSTM; its best NDCG@10 on validation."""
        self._stage(
            "text",
            self.config.text_epochs if len(self.told) + len(self.data.texts) else 0,
            self._text_epoch,
            self._text_parameters(),
            valued=False,
        )
        self._encode_texts()
        self.network.heard = self._encoded(self.data.texts)
        self._learn_lstm("lstm", self.config.lstm_epochs, valued=True)
        return max((float(each["ndcg@10"]) for each in self.curves["lstm"]), default=0.0)

    # -- stages

    def _learn_lstm(self, stage: str, epochs: int, *, valued: bool) -> None:
        self._set_popularity()
        self._stage(stage, epochs, self._lstm_epoch, self._lstm_parameters(), valued=valued)

    def _learn_bridge(self, stage: str, epochs: int, *, valued: bool) -> None:
        self._start_bridge()
        self._stage(stage, epochs, self._bridge_epoch, self._bridge_parameters(), valued=valued)

    def _learn_anew(self) -> None:
        """Nothing is left to pick, so the validation events are learned too, in a training as long as the one that was picked.

        To go on with the old network instead would show it the other events twice as often: it grew too sure for the blend that was
        fitted to it (docs/model-log.md).
        """
        known, self.deadline = self.network, math.inf
        torch.manual_seed(self.config.seed)
        self.network = InterestNetwork(known.config)
        self.network.take_texts(known)
        self.sequences, self.learned = self.data.pieces(held_out=0), np.ones_like(self.learned)
        self._learn_lstm("lstm_anew", 1 + best_epoch(self.curves["lstm"]), valued=False)
        self._learn_bridge("bridge_anew", 1 + best_epoch(self.curves["bridge"]), valued=False)

    def _stage(
        self,
        name: str,
        epochs: int,
        epoch: Callable[[Any, torch.Generator, int], Losses],
        groups: list[Any],
        *,
        valued: bool,
    ) -> None:
        """Epochs until the validation of the averaged weights stops to improve; the best averaged weights stay."""
        state = self.checkpoints.load(name, self.network.state_dict())
        curve: Curve = state.get("curve", [])
        self.curves[name] = curve
        if state.get("done") or (not epochs):
            return
        optimiser = torch.optim.AdamW(groups, lr=self.config.learning_rate, weight_decay=self.config.weight_decay)
        self.checkpoints.load_optimiser(name, optimiser)
        self.average = averaged(self.network)
        self.checkpoints.fill(f"{name}.average", self.average.state_dict())
        self.network.zero_grad()  # gradients left by the stage before would count in the clipping, and not after a resume
        for number in range(len(curve), epochs):
            generator = torch.Generator().manual_seed(self.config.seed * 1_000_003 + number)
            torch.manual_seed(self.config.seed * 1_000_003 + number)
            self.network.train()
            figures: dict[str, Any] = {
                part: round(mean, 4) for part, mean in epoch(optimiser, generator, number).items()
            }
            if valued:
                means = cast(InterestNetwork, self.average.module)
                figures["ndcg@10"] = round(
                    validate(means, self.validation, answers=name == "bridge", seen=self.config.seen), 4
                )
            curve.append(figures)
            best = not valued or newest_is_best(curve)
            self.checkpoints.keep(f"{name}.average", self.average.state_dict())
            self.checkpoints.save(
                name,
                self.network.state_dict(),
                optimiser,
                curve,
                best=self.average.module.state_dict() if best else None,
            )
            self.progress(name, number + 1, epochs, figures)
            if valued and stopped_improving(curve, self.config.patience):
                break
            if time.process_time() > self.deadline and number + 1 < epochs:
                self.ended_by_budget.append(name)
                break
        self.checkpoints.finish(name, self.network.state_dict(), curve)

    def _text_epoch(self, optimiser: Any, generator: torch.Generator, _: int) -> Losses:
        every = [*(self._text_of(item) for item in self.told), *self.data.texts]
        texts = torch.from_numpy(self.tokenizer.encode(every))
        losses = []
        for chosen in torch.randperm(len(texts), generator=generator).split(256):  # type: ignore[no-untyped-call]
            optimiser.zero_grad()
            loss = self.network.text_model.text_loss(texts[chosen])
            self._take_step(loss, optimiser)
            losses.append(loss.item())
        return {"loss": float(np.mean(losses))}

    def _lstm_epoch(self, optimiser: Any, generator: torch.Generator, _: int) -> Losses:
        losses = []
        for rows, actions, gaps, targets in self.sequences.batches(self.config.batch, generator):
            optimiser.zero_grad()
            features = self.network.features(self.network.event_vectors(rows, actions, gaps, self.config.hide_ids))
            loss = self._item_loss(features, targets)
            self._take_step(loss, optimiser)
            losses.append(loss.item())
        return {"loss": float(np.mean(losses))}

    def _bridge_epoch(self, optimiser: Any, generator: torch.Generator, number: int) -> Losses:
        """LSTM and language model; the LSTM frozen at first: only what reads it learns. The loss of each part, unweighted."""
        frozen = number < FROZEN
        losses: list[list[float]] = []
        for parameter in self.network.lstm.parameters():
            parameter.requires_grad_(not frozen)
        membership = torch.from_numpy(self.membership)
        for rows, actions, gaps, targets in self.sequences.batches(self.config.batch, generator):
            optimiser.zero_grad()
            x = self.network.event_vectors(rows, actions, gaps, self.config.hide_ids)
            features = self.network.features(x)
            answers = self.network.answers(x, features)
            there = targets > 0
            parts = [
                self._item_loss(answers, targets),
                interest_loss(answers[there], membership[targets[there]], self.network),
            ]
            if not frozen:
                parts.append(self._item_loss(features, targets))
            weights = (1.0, self.config.interest_weight, LSTM_WEIGHT)
            loss = sum((weight * part for weight, part in zip(weights, parts, strict=False)), torch.zeros(()))
            self._take_step(loss, optimiser)
            losses.append([part.item() for part in parts])
        return dict(zip(("loss", "interest_loss", "lstm_loss"), np.mean(losses, axis=0).tolist(), strict=False))

    def _item_loss(self, hidden: Tensor, targets: Tensor) -> Tensor:
        there = targets > 0
        return next_item_loss(hidden[there], targets[there], self.network, self.negatives)

    def _take_step(self, loss: Tensor, optimiser: Any) -> None:
        loss.backward()  # type: ignore[no-untyped-call]
        torch.nn.utils.clip_grad_norm_(self.network.parameters(), 5.0)
        optimiser.step()
        with torch.no_grad():
            self.network.item.weight[0] = 0
        self.average.update_parameters(self.network)

    def _text_parameters(self) -> list[Any]:
        return [{"params": list(self.network.text_model.parameters())}]

    def _lstm_parameters(self) -> list[Any]:
        network = self.network
        parts = (network.item, network.action, network.gap, network.text_in, network.text_out, network.lstm)
        return [{"params": [each for part in parts for each in part.parameters()] + [network.item_bias]}]

    def _bridge_parameters(self) -> list[Any]:
        network = self.network
        fresh = [*network.language_model.parameters(), *network.soft.parameters()]
        fresh += [network.soft_place, network.interest, network.interest_bias]
        return [
            {"params": fresh},
            {"params": self._lstm_parameters()[0]["params"], "lr": self.config.learning_rate / 4},
        ]

    # -- between the stages

    def _encode_texts(self) -> None:
        """Of all titles and interest names by the text model; from here on it is not trained."""
        self.network.text[torch.from_numpy(self.told + 1)] = self._encoded([self._text_of(item) for item in self.told])
        self.network.interest_text[:] = self._encoded(self.dataset.interests)

    @torch.no_grad()
    def _encoded(self, texts: list[str]) -> Tensor:
        """[N, D] of texts [N]."""
        network, tokens = self.network.eval(), torch.from_numpy(self.tokenizer.encode(texts))
        return torch.cat([network.text_model.encode_text(some) for some in torch.split(tokens, 1_024)])

    def _text_of(self, item: int) -> str:
        return " ".join([self.dataset.titles[item], *self.dataset.categories[item]])

    def _set_popularity(self) -> None:
        rows, items = self.data.rows[self.learned], len(self.dataset.item_ids)
        counts = torch.from_numpy(np.bincount(rows, minlength=items + 1))
        counts[0] = 0
        self.log_popularity = log_shares(rows, items)
        self.negatives = Negatives.of_counts(counts, self.config.negatives)
        self.network.start_items(self.log_popularity, counts > 0)

    def _start_bridge(self) -> None:
        """The language model over users begins as the one that reads texts; interest biases as base rates."""
        touched = self.membership[self.data.rows[self.learned]]
        self.base = torch.from_numpy(touched.mean(0).clip(1e-5, 1 - 1e-5).astype(np.float32))
        with torch.no_grad():
            for ours, read in zip(self.network.language_model.blocks, self.network.text_model.blocks, strict=True):
                ours.load_state_dict(read.state_dict())
            self.network.interest_bias.copy_(torch.logit(self.base))

    # -- the end

    def _finish(self) -> dict[str, Any]:
        self.progress("blend", 0, 1, {})
        items, starts = len(self.dataset.item_ids), self.dataset.user_start
        asked = (self.dataset, self.data.rows, self.validation_users)
        pairs = pairing.learn_before_last(self.data.rows, starts, items)
        blend = Blend.start(self.base, self.log_popularity)
        gain = ease_gain(self._predictor(pairs, blend), blend, *asked)
        if gain[0] <= 0:
            pairs = replace(pairs, ease=None)
        blend, figures = fit_blend(self._predictor(pairs, blend), blend, *asked)
        figures["ease_gain"] = gain
        if self.config.learn_validation:
            self._learn_anew()
            pairs = pairing.learn(self.data.rows, starts, items, pairs)
        report = {
            "config": asdict(self.config),
            "network": asdict(self.network.config),
            "curves": self.curves,
            "blend": figures,
            "preparation": self.dataset.report,
        }
        write_model(
            self.out,
            name=self.config.name,
            network=self.network.eval(),
            tokenizer=self.tokenizer,
            pairs=pairs,
            blend=blend,
            catalogue=self.catalogue,
            interests=self.dataset.interests,
            report=report,
        )
        self.progress("blend", 1, 1, figures)
        return report

    def _predictor(self, pairs: Pairs, blend: Blend) -> Predictor:
        data, network = self.dataset, self.network.eval()
        names = tuple(data.interests), tuple(data.item_ids), tuple(data.titles)
        info = ModelInfo("", "", 0, *names, network.lstm.state_size)
        return Predictor(network, self.tokenizer, pairs, blend, self.membership, info)

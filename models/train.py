"""From a data set to a model directory, in stages, each resumable.

    text       the language model learns the catalogue's words; encodings of all texts
    lstm       next items from the LSTM's features
    bridge     soft tokens and the language model over users, the LSTM frozen at first, then all at a small rate
    blend      weights of the item scorers and of the interest features, on validation users
    write      the model directory

Validation is the last event of each user of the data set given; the caller keeps test events out of it. Epochs are picked on
NDCG@10 of validation. Glossary: B sequences, T events, U users, V items (row 0: unknown), C interests.
"""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass
from hashlib import sha256
from pathlib import Path
from typing import Any, Final

import numpy as np
import torch
from safetensors.torch import load_file, save_file
from torch import Tensor

from models import blend as blending
from models import cooccurrence
from models.blend import Blend
from models.bridge import InterestNetwork, NetworkConfig, interest_loss, next_item_loss
from models.errors import ModelDataError
from models.model_directory import membership_of, write_model
from models.predict import ModelInfo
from models.predictor import Predictor
from models.prepare import Dataset, catalogue_rows
from models.protocols import Cases
from models.replay import replay
from models.vocabulary import Tokenizer, gap_buckets

Array = np.ndarray[Any, Any]
Progress = Callable[[str, int, int, dict[str, Any]], None]
"""Called as (stage, done, total, figures)."""

FULL_SOFTMAX_ITEMS: Final = 20_000
BLEND_USERS: Final = 3_000
BLEND_CELLS: Final = 20_000_000  # users times items: 500 MB of scores


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
    batch: int = 128  # sequences
    learning_rate: float = 2e-3
    weight_decay: float = 1e-4
    text_epochs: int = 5
    lstm_epochs: int = 20
    bridge_epochs: int = 20
    patience: int = 3  # epochs without a better validation before a stage ends
    negatives: int = 4_096  # of the sampled softmax, where the catalogue is larger than FULL_SOFTMAX_ITEMS
    interest_weight: float = 0.3  # of the interests' loss beside the items'
    validation_users: int = 5_000
    name: str = "model"


@dataclass
class Sequences:
    """Training pieces, right-padded: inputs of T events and the row that followed each (0: none to learn)."""

    rows: Tensor  # int64 [B, T]
    actions: Tensor
    gaps: Tensor
    targets: Tensor  # int64 [B, T]

    def batches(self, size: int, generator: torch.Generator) -> Iterator[tuple[Tensor, Tensor, Tensor, Tensor]]:
        """Shuffled, with pieces of similar length together, cut to the longest."""
        lengths = (self.rows > 0).sum(1) + torch.rand(len(self.rows), generator=generator)
        order = torch.argsort(lengths)
        starts = torch.arange(0, len(order), size)
        for start in starts[torch.randperm(len(starts), generator=generator)].tolist():
            chosen = order[start : start + size]
            longest = int((self.targets[chosen] > 0).any(0).nonzero().max()) + 1
            yield tuple(column[chosen, :longest] for column in (self.rows, self.actions, self.gaps, self.targets))  # type: ignore[misc]


def train(dataset: Dataset, out: Path, config: TrainConfig, progress: Progress = lambda *_: None) -> dict[str, Any]:
    """Train and write a model directory; the report. Interrupted, the same call carries on where it stopped.

    Raises ModelDataError when the data cannot be learned from, or a checkpoint belongs to other data or settings.
    """
    if not dataset.interests:
        raise ModelDataError("the data set has no interests yet; find them with models.interests before training")
    return _Training(dataset, out, config, progress).run()


class _Training:
    """One run: the data it needs, the network, and its checkpoints."""

    def __init__(self, dataset: Dataset, out: Path, config: TrainConfig, progress: Progress) -> None:
        torch.manual_seed(config.seed)
        self.dataset, self.out, self.config, self.progress = dataset, out, config, progress
        self.tokenizer = Tokenizer.learn([*dataset.titles, *dataset.interests])
        self.rows = catalogue_rows(dataset.events["key"], dataset.item_ids).astype(np.int64)
        last = dataset.user_start[1:] - 1
        self.is_validation = np.zeros(len(self.rows), bool)
        self.is_validation[last] = True
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
        self.catalogue = _catalogue(dataset)
        self.membership = membership_of(self.catalogue, len(dataset.interests))
        self.checkpoints = _Checkpoints(out / ".training", dataset, config)
        self.curves: dict[str, list[dict[str, Any]]] = {}
        self.negatives = 0 if len(dataset.item_ids) <= FULL_SOFTMAX_ITEMS else config.negatives

    def run(self) -> dict[str, Any]:
        started = time.perf_counter()
        self.sequences = self._sequences()
        self.validation = self._validation()
        self._stage("text", self.config.text_epochs, self._text_epoch, self._text_parameters(), valued=False)
        self._encode_texts()
        self._set_popularity()
        self._stage("lstm", self.config.lstm_epochs, self._lstm_epoch, self._lstm_parameters(), valued=True)
        self._start_bridge()
        self._stage("bridge", self.config.bridge_epochs, self._bridge_epoch, self._bridge_parameters(), valued=True)
        report = self._finish()
        report["seconds"] = round(time.perf_counter() - started, 1)
        return report

    # -- stages

    def _stage(
        self, name: str, epochs: int, epoch: Callable[[Any, torch.Generator], float], groups: list[Any], *, valued: bool
    ) -> None:
        """Epochs until the validation stops to improve; the best weights stay."""
        state = self.checkpoints.load(name, self.network)
        curve: list[dict[str, Any]] = state.get("curve", [])
        self.curves[name] = curve
        if state.get("done") or (not epochs):
            return
        optimiser = torch.optim.AdamW(groups, lr=self.config.learning_rate, weight_decay=self.config.weight_decay)
        self.checkpoints.load_optimiser(name, optimiser)
        self.network.zero_grad()  # gradients left by the stage before would count in the clipping, and not after a resume
        for number in range(len(curve), epochs):
            generator = torch.Generator().manual_seed(self.config.seed * 1_000_003 + number)
            torch.manual_seed(self.config.seed * 1_000_003 + number)
            self.network.train()
            figures: dict[str, Any] = {"loss": round(epoch(optimiser, generator), 4)}
            if valued:
                figures["ndcg@10"] = round(self._validate(name), 4)
            curve.append(figures)
            best = not valued or figures["ndcg@10"] >= max(each["ndcg@10"] for each in curve)
            self.checkpoints.save(name, self.network, optimiser, curve, best)
            self.progress(name, number + 1, epochs, figures)
            if valued and _stopped_improving(curve, self.config.patience):
                break
        self.checkpoints.finish(name, self.network, curve)

    def _text_epoch(self, optimiser: Any, generator: torch.Generator) -> float:
        texts = torch.from_numpy(
            self.tokenizer.encode([self._text_of(item) for item in range(len(self.dataset.titles))])
        )
        losses = []
        for chosen in torch.randperm(len(texts), generator=generator).split(256):  # type: ignore[no-untyped-call]
            optimiser.zero_grad()
            loss = self.network.text_model.text_loss(texts[chosen])
            loss.backward()  # type: ignore[no-untyped-call]
            optimiser.step()
            losses.append(loss.item())
        return float(np.mean(losses))

    def _lstm_epoch(self, optimiser: Any, generator: torch.Generator) -> float:
        losses = []
        for rows, actions, gaps, targets in self.sequences.batches(self.config.batch, generator):
            optimiser.zero_grad()
            features = self.network.features(self.network.event_vectors(rows, actions, gaps))
            loss = self._item_loss(features, targets)
            self._take_step(loss, optimiser)
            losses.append(loss.item())
        return float(np.mean(losses))

    def _bridge_epoch(self, optimiser: Any, generator: torch.Generator) -> float:
        losses = []
        frozen = len(self.curves["bridge"]) < 2
        for parameter in self.network.lstm.parameters():
            parameter.requires_grad_(not frozen)
        membership = torch.from_numpy(self.membership)
        for rows, actions, gaps, targets in self.sequences.batches(self.config.batch, generator):
            optimiser.zero_grad()
            x = self.network.event_vectors(rows, actions, gaps)
            features = self.network.features(x)
            answers = self.network.answers(x, features)
            there = targets > 0
            loss = self._item_loss(answers, targets)
            loss = loss + self.config.interest_weight * interest_loss(
                answers[there], membership[targets[there]], self.network
            )
            if not frozen:
                loss = loss + 0.5 * self._item_loss(features, targets)
            self._take_step(loss, optimiser)
            losses.append(loss.item())
        return float(np.mean(losses))

    def _item_loss(self, hidden: Tensor, targets: Tensor) -> Tensor:
        there = targets > 0
        return next_item_loss(hidden[there], targets[there], self.network, self.negatives)

    def _take_step(self, loss: Tensor, optimiser: Any) -> None:
        loss.backward()  # type: ignore[no-untyped-call]
        torch.nn.utils.clip_grad_norm_(self.network.parameters(), 5.0)
        optimiser.step()
        with torch.no_grad():
            self.network.item.weight[0] = 0

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
        """Encodings of all titles and interest names by the text model; from here on it is not trained."""
        network = self.network.eval()
        with torch.no_grad():
            for target, texts in (
                (network.text[1:], [self._text_of(item) for item in range(len(self.dataset.titles))]),
                (network.interest_text, self.dataset.interests),
            ):
                for start in range(0, len(texts), 1_024):
                    tokens = torch.from_numpy(self.tokenizer.encode(texts[start : start + 1_024]))
                    target[start : start + 1_024] = network.text_model.encode_text(tokens)

    def _text_of(self, item: int) -> str:
        return " ".join([self.dataset.titles[item], *self.dataset.categories[item]])

    def _set_popularity(self) -> None:
        """Item biases start at the log of training counts, so nothing has to be learned to know what is popular."""
        counts = np.bincount(self.rows[~self.is_validation], minlength=len(self.dataset.item_ids) + 1).astype(
            np.float32
        )
        self.log_popularity = torch.from_numpy(np.log((counts + 0.5) / (counts[1:].sum() + 0.5 * len(counts))))
        self.log_popularity[0] = 0
        if not self.checkpoints.has("lstm"):
            with torch.no_grad():
                self.network.item_bias.copy_(self.log_popularity - self.log_popularity[1:].mean())

    def _start_bridge(self) -> None:
        """The language model over users begins as the one that reads texts; interest biases as base rates."""
        touched = self.membership[self.rows[~self.is_validation]]
        self.base = torch.from_numpy(touched.mean(0).clip(1e-5, 1 - 1e-5).astype(np.float32))
        if not self.checkpoints.has("bridge"):
            with torch.no_grad():
                for ours, read in zip(self.network.language_model.blocks, self.network.text_model.blocks, strict=True):
                    ours.load_state_dict(read.state_dict())
                self.network.interest_bias.copy_(torch.logit(self.base))

    # -- data

    def _sequences(self) -> Sequences:
        dataset, length = self.dataset, self.config.length
        events, starts = dataset.events, dataset.user_start
        times = events["time_ms"]
        before = np.concatenate(([-1], times[:-1]))
        before[starts[:-1]] = -1
        self.gaps = gap_buckets(np.where(before < 0, -1, np.maximum(times - before, 0)))
        self.actions = events["action"].astype(np.int64)
        pieces = [
            (start, min(start + length, end))
            for first, last in zip(starts[:-1].tolist(), (starts[1:] - 2).tolist(), strict=True)
            for start in range(first, last, length)
            for end in [last]
        ]
        if not pieces:
            raise ModelDataError("no user has three events or more; nothing can be learned and validated")
        columns = [torch.zeros(len(pieces), length, dtype=torch.long) for _ in range(4)]
        for place, (start, end) in enumerate(pieces):
            for column, values, shift in zip(
                columns, (self.rows, self.actions, self.gaps, self.rows), (0, 0, 0, 1), strict=True
            ):
                column[place, : end - start] = torch.from_numpy(values[start + shift : end + shift])
        useful = (columns[3] > 0).any(1)
        return Sequences(*(column[useful] for column in columns))

    def _validation(self) -> tuple[Sequences, Tensor]:
        """Histories without the last event, right-aligned at the end of their piece, and the row to predict."""
        starts, last = self.dataset.user_start[:-1], self.dataset.user_start[1:] - 1
        users = np.flatnonzero((self.rows[last] > 0) & (last > starts))
        if not len(users):
            raise ModelDataError("the last events of all users are about unknown items; check the catalogue")
        random = np.random.default_rng(self.config.seed)
        users = np.sort(random.permutation(users)[: self.config.validation_users])
        self.validation_users = users
        length = self.config.length
        columns = [torch.zeros(len(users), length, dtype=torch.long) for _ in range(4)]
        for place, user in enumerate(users.tolist()):
            start = max(int(starts[user]), int(last[user]) - length)
            size = int(last[user]) - start
            for column, values in zip(columns, (self.rows, self.actions, self.gaps), strict=False):
                column[place, :size] = torch.from_numpy(values[start : last[user]])
            columns[3][place, size - 1] = int(self.rows[last[user]])
        return Sequences(*columns), torch.from_numpy(self.rows[last[users]])

    def _validate(self, stage: str) -> float:
        """NDCG@10 of the next item over validation users: full ranking, ties against us, seen items stay candidates."""
        network = self.network.eval()
        sequences, _ = self.validation
        gains = []
        with torch.inference_mode():
            candidates = network.item_candidates()
            for start in range(0, len(sequences.rows), 512):
                part = [
                    column[start : start + 512]
                    for column in (sequences.rows, sequences.actions, sequences.gaps, sequences.targets)
                ]
                where = part[3] > 0
                longest = int(where.any(0).nonzero().max()) + 1
                rows, actions, gaps, targets = (column[:, :longest] for column in part)
                x = network.event_vectors(rows, actions, gaps)
                features = network.features(x)
                hidden = network.answers(x, features) if stage == "bridge" else features
                logits = torch.nn.functional.linear(hidden[targets > 0], candidates, network.item_bias)[:, 1:]
                wanted = logits.gather(1, targets[targets > 0][:, None] - 1)
                rank = (logits >= wanted).sum(1)
                gains.append(torch.where(rank <= 10, 1 / torch.log2(rank + 1.0), 0.0))
        return float(torch.cat(gains).mean())

    # -- the end

    def _finish(self) -> dict[str, Any]:
        self.progress("blend", 0, 1, {})
        network = self.network.eval()
        training = self.rows[~self.is_validation]
        lengths = np.diff(self.dataset.user_start) - 1
        pairs = cooccurrence.learn(training, np.concatenate(([0], np.cumsum(lengths))), len(self.dataset.item_ids))
        blend = Blend(
            torch.tensor([1.0, 0, 0, 0, 0, 0]), torch.tensor([1.0, 0, 0, 0, 0, 0]), self.base, self.log_popularity
        )
        info = ModelInfo(
            "",
            "",
            0,
            tuple(self.dataset.interests),
            tuple(self.dataset.item_ids),
            tuple(self.dataset.titles),
            network.lstm.state_size,
        )
        predictor = Predictor(network, self.tokenizer, pairs, blend, self.membership, info)
        blend, figures = self._fit_blend(predictor, blend)
        report = {
            "config": asdict(self.config),
            "network": asdict(network.config),
            "curves": self.curves,
            "blend": figures,
            "preparation": self.dataset.report,
        }
        write_model(
            self.out,
            name=self.config.name,
            network=network,
            tokenizer=self.tokenizer,
            cooccurrence=pairs,
            blend=blend,
            catalogue=self.catalogue,
            interests=self.dataset.interests,
            report=report,
        )
        self.progress("blend", 1, 1, figures)
        return report

    def _fit_blend(self, predictor: Predictor, blend: Blend) -> tuple[Blend, dict[str, Any]]:
        dataset, most = self.dataset, max(200, BLEND_CELLS // len(self.dataset.item_ids))
        users = self.validation_users[: min(BLEND_USERS, most)]
        start, last = dataset.user_start[:-1][users], dataset.user_start[1:][users] - 1
        rows = self.rows[last]
        cases = Cases(last, users, last - start, rows.astype(np.int32) - 1, dataset.events["time_ms"][last])
        places, readings = [], []
        with torch.no_grad():
            for some, state, recent in replay(predictor, predictor.info.state_size, dataset, cases, 512):
                places.append(some)
                readings.append(predictor.read(state, recent))
        targets = torch.from_numpy(rows[np.concatenate(places)])
        scorers = [torch.cat(columns) for columns in zip(*(each.scorers for each in readings), strict=True)]
        item = blending.fit_item_weights(scorers, targets)
        with torch.no_grad():
            for each in readings:
                each.items = blending.weighted(each.scorers, item)
            opinions = torch.cat([predictor.interest_features(each)[0] for each in readings])
        interest = blending.fit_interest_weights(opinions, torch.from_numpy(self.membership)[targets])
        figures = {
            "users": len(users),
            "item": dict(zip(blending.ITEM_SCORERS, [round(each, 4) for each in item.tolist()], strict=True)),
            "interest": dict(
                zip(blending.INTEREST_FEATURES, [round(each, 4) for each in interest.tolist()], strict=True)
            ),
        }
        return Blend(item, interest, blend.base, blend.log_popularity), figures


class _Checkpoints:
    """Weights, optimiser and curve of each stage after each epoch; safetensors and JSON."""

    def __init__(self, folder: Path, dataset: Dataset, config: TrainConfig) -> None:
        self._folder = folder
        data = sha256(dataset.events.tobytes())
        data.update(json.dumps([dataset.item_ids, dataset.titles, dataset.interests]).encode())
        identity = {"config": asdict(config), "data": data.hexdigest()}
        place = folder / "identity.json"
        if place.exists() and json.loads(place.read_text(encoding="utf-8")) != identity:
            raise ModelDataError(
                f"{folder} holds the checkpoints of a training with other data or settings; repeat with those, or start over with --restart"
            )
        folder.mkdir(parents=True, exist_ok=True)
        place.write_text(json.dumps(identity), encoding="utf-8")

    def has(self, stage: str) -> bool:
        return (self._folder / f"{stage}.json").exists()

    def load(self, stage: str, network: InterestNetwork) -> dict[str, Any]:
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

    def save(
        self, stage: str, network: InterestNetwork, optimiser: torch.optim.Optimizer, curve: list[Any], best: bool
    ) -> None:
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

    def finish(self, stage: str, network: InterestNetwork, curve: list[Any]) -> None:
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


def _catalogue(dataset: Dataset) -> list[dict[str, Any]]:
    indptr, indices = dataset.membership
    return [
        {"item_id": item_id, "title": title, "interests": indices[indptr[place] : indptr[place + 1]].tolist()}
        for place, (item_id, title) in enumerate(zip(dataset.item_ids, dataset.titles, strict=True))
    ]


def _stopped_improving(curve: list[dict[str, Any]], patience: int) -> bool:
    values = [each["ndcg@10"] for each in curve]
    return len(values) - 1 - int(np.argmax(values)) >= patience

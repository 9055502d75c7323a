"""Trains a model directory from a data set, in stages, each of which can be resumed.

    text       the language model learns the catalogue's words; encodings of all texts
    lstm       next items from the LSTM's features
    bridge     soft tokens and the language model over users, the LSTM frozen at first, then all
               at a small rate
    attention  next items from the attention over the newest items, which has vectors of its own;
               it stays if the blend loses less with it
    lstm_more_dropout, bridge_more_dropout
               both again with more dropout, if they learned by heart and the time is there; the
               blend's loss on validation users decides which are kept
    blend      weights of the item scorers and of the interest features, on validation users;
               whether a costly scorer is worth it
    lstm_rehearsal, bridge_rehearsal, attention_rehearsal
               all again from the start over what came before the last tenth of the events, for
               half the epochs that were picked; it calibrates, and is not kept
    lstm_anew, bridge_anew, attention_anew
               all again from the start over all events, those of the validation too, for the
               epochs that were picked
    write      the model directory

Validation is the last event of each user of the data set given; the caller keeps test events out of
it. Epochs are picked on NDCG@10 of validation. This file is the order of the stages and what
happens between them; what a stage learns is in `stages`, and the loop over its epochs in `epochs`.

Glossary: N texts, D width.
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any, Final

import numpy as np
import torch
from torch import Tensor

from models.calibration.correction import calibrated
from models.calibration.later_events import later_events
from models.current_interest import fit_rates
from models.data.prepare import Dataset
from models.errors import ModelDataError
from models.model_directory import catalogue_of, membership_of, write_model
from models.network.interest_network import InterestNetwork
from models.network.losses import Negatives
from models.progress import Progress, ignore_progress
from models.scorers.blend import Blend
from models.scorers.popularity import log_shares
from models.scorers.registry import ScorerSet, before_last
from models.scorers.scorer import Histories
from models.scorers.titles import titles_that_say
from models.serving.allocator import keep_freed_memory
from models.serving.predictor import Predictor
from models.serving.trained_model import MOST_WHOLE, TrainedModel
from models.training.checkpoints import Checkpoints, digest_of
from models.training.config import TrainConfig
from models.training.effort import Times
from models.training.epochs import Epochs
from models.training.fit_blend import blend_loss, fit_blend, gains_of_costly_scorers
from models.training.new_network import new_info, new_network
from models.training.ranks import ALONE, Ranks
from models.training.sequences import TrainingData
from models.training.stages import AttentionStage, BridgeStage, LstmStage, TextStage
from models.training.validation import Curve, best_epoch, stopped_improving
from models.vocabulary import Tokenizer

Array = np.ndarray[Any, Any]

NETWORKS: Final = ("lstm", "bridge")
"""Stages that train the networks over users."""
ATTENTION: Final = "attention"
"""Names the stage that trains the attention, and its scorer."""
MORE_DROPOUT: Final = "_more_dropout"
"""Ends the names of these stages when they run with more dropout."""
LSTM_SHARE: Final = 0.15
"""Share of the time of a training that the stages up to the LSTM may take."""
BRIDGE_SHARE: Final = 0.2
"""Share that the bridge may take. The attention may take what is left, but for the time that it
takes to learn all of it anew."""
REHEARSED: Final = 0.5
"""Share of the epochs that a rehearsal takes."""
LAST_HELD_OUT: Final = (
    "the last event of each user is held out, so the later events that are left are not those that "
    "a worker meets; --protocol time-split holds out whole days"
)
"""A third of the later events of movietweetings is missing then, and the correction went too far
by 0.05 (docs/measured/logs/calibration.md)."""


def train_model(
    dataset: Dataset,
    out: Path,
    config: TrainConfig,
    progress: Progress = ignore_progress,
    minutes: float = math.inf,
    ranks: Ranks = ALONE,
) -> dict[str, Any]:
    """Trains and writes a model directory; returns the report.

    Interrupted, the same call carries on where it stopped. A stage that would take the training
    beyond `minutes` of processor time ends with the epochs it has, and the report names it. ranks:
    of the processes that share the steps, this one, which is the first. Raises ModelDataError when
    the data cannot be learned from, or a checkpoint belongs to other data or settings.
    """
    if not dataset.interests:
        raise ModelDataError(
            "the data set has no interests yet; find them with models.data.interests before "
            "training"
        )
    keep_freed_memory()
    return Training(dataset, out, config, progress, ranks).run(minutes)


class Training:
    """Runs one training: holds the data it needs, the network, and its checkpoints."""

    def __init__(
        self,
        dataset: Dataset,
        out: Path,
        config: TrainConfig,
        progress: Progress,
        ranks: Ranks = ALONE,
    ) -> None:
        # Everything random is drawn from the seed, in this order.
        torch.set_num_threads(config.threads)
        torch.manual_seed(config.seed)
        self.dataset, self.out, self.config, self.progress = dataset, out, config, progress
        self.data = TrainingData(dataset, config.length, config.min_users)
        self.tokenizer = Tokenizer.learn(
            [*dataset.titles, *dataset.interests], said=self.data.words_of_many
        )
        self.network = new_network(config, dataset, self.tokenizer)

        # Items with a text: a bare id says nothing and is left without an encoding.
        self.with_text = np.array(
            [
                item
                for item, title in enumerate(dataset.titles)
                if title != dataset.item_ids[item] or dataset.categories[item]
            ],
            np.int64,
        )

        # What is written at the end, and what is known of the training so far.
        self.catalogue = catalogue_of(dataset)
        self.membership = membership_of(self.catalogue, len(dataset.interests))
        checkpoints = Checkpoints(
            out / ".training", {"config": asdict(config), "data": digest_of(dataset)}
        )
        self.sequences = self.data.pieces(self.data.ends - 1)
        self.windows = self.data.windows(self.data.ends - 1)
        if not self.windows.count:
            self.network.without_attention()
        self.learned = ~self.data.is_validation
        self.validation_users, self.validation = self.data.validation(
            config.validation_users, config.seed
        )
        ranks.check_shared(min(config.batch, len(self.sequences.rows)))
        self.epochs = Epochs(config, checkpoints, self.validation, progress, ranks)

    def run(self, minutes: float) -> dict[str, Any]:
        """Runs all stages and writes the model directory; returns the report."""
        started = time.perf_counter()
        begun = time.process_time()
        self.epochs.deadline = begun + 60 * minutes * LSTM_SHARE
        self.learn_memory()
        self.epochs.deadline = begun + 60 * minutes * (LSTM_SHARE + BRIDGE_SHARE)
        self._learn_bridge("bridge", self.config.bridge_epochs, valued=True)
        times = Times(begun + 60 * minutes, int(self.config.learn_validation))
        times.networks = time.process_time() - begun
        self.epochs.deadline = time.process_time() + times.for_attention()
        self._learn_attention(ATTENTION, self.config.attention_epochs, valued=True)
        times.attention = time.process_time() - begun - times.networks
        self._times = times
        report = self._finish()
        report["ended_by_budget"] = self.epochs.ended_by_budget
        report["seconds"] = round(time.perf_counter() - started, 1)
        return report

    def learn_memory(self) -> float:
        """Runs the stages up to the LSTM; returns its best NDCG@10 on validation."""
        texts = [*map(self.text_of, self.with_text), *self.data.texts]
        epochs = self.config.text_epochs if texts else 0
        stage = TextStage(self.network, self.tokenizer, texts)
        self.epochs.run("text", epochs, stage, valued=False)
        self.encode_texts()
        self.network.heard = self._encoded(self.data.texts)
        self._learn_lstm("lstm", self.config.lstm_epochs, valued=True)
        return max((float(each["ndcg@10"]) for each in self.epochs.curves["lstm"]), default=0.0)

    # -- stages

    def _learn_lstm(self, name: str, epochs: int, *, valued: bool) -> None:
        """Runs a stage that trains embeddings and LSTM."""
        self._set_popularity()
        stage = LstmStage(self.network, self.sequences, self.negatives, self.config)
        self.epochs.run(name, epochs, stage, valued=valued)

    def _learn_bridge(self, name: str, epochs: int, *, valued: bool) -> None:
        """Runs a stage that trains soft tokens and the language model over users."""
        self._start_bridge()
        membership = torch.from_numpy(self.membership.astype(np.float32))
        stage = BridgeStage(self.network, self.sequences, self.negatives, self.config, membership)
        self.epochs.run(name, epochs, stage, valued=valued)

    def _learn_attention(self, name: str, epochs: int, *, valued: bool) -> None:
        """Runs the stage that trains the attention, if there is one.

        Its answers go with the item biases of the networks, which learn no more.
        """
        if self.network.attention is None or not self.windows.count:
            return
        stage = AttentionStage(self.network, self.windows, self.attention_negatives, self.config)
        self.epochs.run(name, epochs, stage, valued=valued)

    def _learn_anew(self) -> None:
        """Trains again with the validation events, for as long as the training that was picked.

        Nothing is left to pick by them. To go on with the old network instead would show it the
        other events twice as often: it grew too sure for the blend that was fitted to it
        (docs/measured/logs/newest-events.md).
        """
        self._learn_again("anew", self.data.ends, np.ones_like(self.learned), 1)

    def _learn_again(self, suffix: str, ends: Array, learned: Array, share: float) -> None:
        """Trains from the start over the events before some ends, with nothing to pick by.

        ends: int64 [U]; learned: bool [N], these events; share: of the epochs that were picked.
        """
        known, self.epochs.deadline = self.network, math.inf
        torch.manual_seed(self.config.seed)
        self.network = InterestNetwork(known.config)
        self.network.take_texts(known)
        self.sequences, self.learned = self.data.pieces(ends), learned
        self.windows = self.data.windows(ends)

        def picked(name: str) -> int:
            """Returns the epochs of a stage, by those that were picked."""
            return math.ceil(share * (1 + best_epoch(self.epochs.curves[name])))

        self._learn_lstm(f"lstm_{suffix}", picked("lstm"), valued=False)
        self._learn_bridge(f"bridge_{suffix}", picked("bridge"), valued=False)
        if self.network.attention is not None:
            self._learn_attention(f"{ATTENTION}_{suffix}", picked(ATTENTION), valued=False)

    def _calibrated(self, scorers: ScorerSet, blend: Blend) -> tuple[Blend, dict[str, Any]]:
        """Returns the blend with what corrects first interests, and figures or why nothing does.

        A rehearsal learns what came before the last tenth of the events, and is asked for that
        tenth as a worker would be, by the blend that will be served.
        """
        if not self.config.all_events:
            return blend, {"kept": False, "why": LAST_HELD_OUT}
        later = later_events(self.dataset, self.data.rows, self.config.seed)
        if later.why_not:
            return blend, {"kept": False, "why": later.why_not}
        known = self.network, self.sequences, self.windows, self.learned
        self._learn_again("rehearsal", later.ends, later.learned, REHEARSED)
        scorers = ScorerSet.learn(later.histories(self.config.min_users), scorers)
        popularity = self.log_popularity, later.log_recent(self.log_popularity)
        then = replace(
            blend, base=self.base, log_popularity=popularity[0], log_recent=popularity[1]
        )
        rehearsed = Predictor(self._served(scorers, then))
        self.network, self.sequences, self.windows, self.learned = known
        return calibrated(rehearsed, blend, later)

    def _try_more_dropout(self, loss: Callable[[], float]) -> list[dict[str, Any]]:
        """Trains with more dropout too, and goes on with what the blend loses less with.

        Only if a stage was learning by heart, which is when its validation has stopped to rise, and
        only if that and learning anew have the time that they probably take. loss: what the blend
        loses on validation users with the network of the moment. Returns what was tried; nothing if
        there was no reason or no time.
        """
        config, curves = self.config, self.epochs.curves
        by_heart = any(
            len(curves[name]) > 0 and stopped_improving(curves[name], config.patience)
            for name in NETWORKS
        )
        room = self._times.for_more_dropout()
        if config.more_dropout <= config.dropout or not by_heart or self._times.networks > room:
            return []
        self.epochs.deadline = time.process_time() + room

        # The other network has the same texts, and all epochs that it wants.
        known, known_loss, ended = self.network, loss(), list(self.epochs.ended_by_budget)
        torch.manual_seed(config.seed)
        self.network = InterestNetwork(replace(known.config, dropout=config.more_dropout))
        self.network.take_texts(known)
        self.network.attention = known.attention
        self._learn_lstm(f"lstm{MORE_DROPOUT}", config.lstm_epochs, valued=True)
        self._learn_bridge(f"bridge{MORE_DROPOUT}", config.bridge_epochs, valued=True)
        ended_by_budget = self.epochs.ended_by_budget != ended
        other_loss, self.epochs.ended_by_budget = loss(), ended
        kept = other_loss < known_loss and not ended_by_budget

        # The curves of the one that is kept take the usual names: whoever reads them finds them.
        others = [curves.pop(f"{name}{MORE_DROPOUT}") for name in NETWORKS]
        tried = [
            _tried(config.dropout, curves["bridge"], known_loss, kept=not kept),
            _tried(config.more_dropout, others[-1], other_loss, kept=kept),
        ]
        if kept:
            self.config = replace(config, dropout=config.more_dropout)
            curves.update(zip(NETWORKS, others, strict=True))
        else:
            self.network = known
        return tried

    # -- between the stages

    def encode_texts(self) -> None:
        """Encodes titles and interest names by the text model, which is trained no more."""
        self.network.text[torch.from_numpy(self.with_text + 1)] = self._encoded(
            [self.text_of(item) for item in self.with_text]
        )
        self.network.interest_text[:] = self._encoded(self.dataset.interests)

    @torch.no_grad()
    def _encoded(self, texts: list[str]) -> Tensor:
        """Returns the encodings [N, D] of texts [N]."""
        network, tokens = self.network.eval(), torch.from_numpy(self.tokenizer.encode(texts))
        return torch.cat(
            [network.text_model.encode_text(some) for some in torch.split(tokens, 1_024)]
        )

    def text_of(self, item: int) -> str:
        """Returns what the text model reads of an item: its title and its categories."""
        return " ".join([self.dataset.titles[item], *self.dataset.categories[item]])

    def _set_popularity(self) -> None:
        """Sets the popularity of the items that are learned, and what depends on it."""
        rows, items = self.data.rows[self.learned], len(self.dataset.item_ids)
        counts = torch.from_numpy(np.bincount(rows, minlength=items + 1))
        counts[0] = 0
        self.log_popularity = log_shares(rows, items)
        self.negatives = Negatives.of_counts(counts, self.config.negatives)
        self.attention_negatives = Negatives.of_counts(counts, self.config.attention_negatives)
        self.network.start_items(self.log_popularity, counts > 0)

    def _start_bridge(self) -> None:
        """Starts the language model over users as the one that reads texts.

        The interest biases start as base rates.
        """
        touched = self.membership[self.data.rows[self.learned]].astype(np.float32)
        self.base = torch.from_numpy(touched.mean(0).clip(1e-5, 1 - 1e-5).astype(np.float32))
        with torch.no_grad():
            for ours, read in zip(
                self.network.language_model.blocks, self.network.text_model.blocks, strict=True
            ):
                ours.load_state_dict(read.state_dict())
            self.network.interest_bias.copy_(torch.logit(self.base))

    # -- the end

    def _finish(self) -> dict[str, Any]:
        """Fits the blend, learns the validation events, and writes the model directory."""
        self.progress("blend", 0, 1, {})
        histories = Histories(
            self.data.rows,
            self.dataset.user_start,
            len(self.dataset.item_ids),
            self.config.min_users,
            titles_that_say(self.dataset.titles, self.dataset.item_ids),
        )
        fitted_to = (self.dataset, self.data.rows, self.validation_users)

        # Scorers that know no validation event; what is not worth its cost is left out.
        scorers = ScorerSet.learn(before_last(histories))
        if self.network.attention is None:
            scorers = scorers.without(ATTENTION)
        learned = np.where(self.learned, self.data.rows, 0)
        rates = fit_rates(learned, self.dataset.user_start, self.membership, self.base)
        blend = Blend.start(self.base, self.log_popularity, rates)
        tried = self._try_more_dropout(
            lambda: blend_loss(self._predictor(scorers, blend), blend, *fitted_to)
        )
        gains = gains_of_costly_scorers(self._predictor(scorers, blend), blend, *fitted_to)
        for scorer, gain in gains.items():
            if gain[0] <= scorer.worth:
                scorers = scorers.without(scorer.name)
        if scorers[ATTENTION] is None:
            self.network.without_attention()
        blend, figures = fit_blend(self._predictor(scorers, blend), blend, *fitted_to)
        figures |= {f"{scorer.name}_gain": gain for scorer, gain in gains.items()}

        # What the blend says of first interests is corrected by events that came later.
        blend, calibration = self._calibrated(scorers, blend)

        # Nothing is picked any more, so all events are learned.
        if self.config.learn_validation:
            self._learn_anew()
            scorers = ScorerSet.learn(histories, scorers)
        report = {
            "config": asdict(self.config),
            "network": asdict(self.network.config),
            "curves": self.epochs.curves,
            "blend": figures,
            "calibration": calibration,
            "dropouts": tried,
            "preparation": self.dataset.report,
        }
        write_model(
            self.out,
            self._served(scorers, blend),
            catalogue=self.catalogue,
            report=report,
        )
        self.progress("blend", 1, 1, figures)
        return report

    def _predictor(self, scorers: ScorerSet, blend: Blend) -> Predictor:
        """Returns a predictor of the model as it is now."""
        return Predictor(self._trained(scorers, blend))

    def _served(self, scorers: ScorerSet, blend: Blend) -> TrainedModel:
        """Returns the model as a worker will have it: a large catalogue is served by candidates."""
        large = len(self.dataset.item_ids) > MOST_WHOLE
        return replace(self._trained(scorers, blend), candidates=large)

    def _trained(self, scorers: ScorerSet, blend: Blend) -> TrainedModel:
        """Returns the model as it is now; its version is known once it is written."""
        network = self.network.eval()
        info = new_info(self.config, self.dataset, network)
        return TrainedModel(network, self.tokenizer, scorers, blend, self.membership, info)


def _tried(dropout: float, curve: Curve, loss: float, *, kept: bool) -> dict[str, Any]:
    """Returns what was found with a dropout: NDCG@10 of the bridge, and the loss of the blend."""
    found = curve[best_epoch(curve)]["ndcg@10"]
    return {"dropout": dropout, "ndcg@10": found, "blend_loss": round(loss, 4), "kept": kept}

"""Trains a model directory with a differentially private share in it of every user.

What is learned of users reaches the model through `noise.Noise` alone:

    counted users      item popularity, co-occurrence and what followed what, as noisy sums; then
                       the LSTM by noisy gradients, if it has a share of the budget
    fitting users      the weights of the blend, by gradient steps with noise

Each user is one or the other, by a hash of the id, so that both may spend the whole budget.
Everything else is made of the catalogue, which must be public, and of settings: words, interests
and the text model. Networks that are not trained stay as they were drawn, and weigh nothing.

Interrupted, a training leaves nothing behind: what was drawn is forgotten unread, and the next call
draws anew. To go on from the middle would need noisy sums on disk, which a second call could meet
again: then more would be released than is accounted for.
"""

from __future__ import annotations

import math
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any, Final

import numpy as np
import torch

from models.data.prepare import Dataset, catalogue_rows
from models.data.splits import held_out
from models.errors import ModelDataError
from models.model_directory import catalogue_of, membership_of, write_model
from models.progress import Progress, ignore_progress
from models.scorers.blend import Blend
from models.scorers.registry import SCORERS, ScorerSet
from models.serving.trained_model import TrainedModel
from models.training.config import TrainConfig
from models.training.epochs import Weights
from models.training.new_network import new_info, new_network
from models.training.private.account import Budget, Release, epsilon_of
from models.training.private.counts import counted
from models.training.private.network import UserHistories, deviation_for, start, train_network
from models.training.private.noise import Noise
from models.training.private.weights import LEARNED, WEIGHED, fitted
from models.training.stages import TextStage
from models.vocabulary import Tokenizer

Array = np.ndarray[Any, Any]

FITTING_SHARE: Final = 0.2
"""Users whose last events fit the weights; nothing else is learned of them."""


def train_private(
    dataset: Dataset,
    out: Path,
    config: TrainConfig,
    budget: Budget,
    progress: Progress = ignore_progress,
) -> dict[str, Any]:
    """Trains and writes a model directory; returns the report, which says what the promise is of.

    The catalogue and the interests of the data set must not depend on any user.
    """
    if dataset.report.get("items_added"):
        raise ModelDataError("items that users brought are no public catalogue; give --items")
    torch.set_num_threads(config.threads)
    torch.manual_seed(config.seed)
    model = _public(dataset, config, progress)
    rows = catalogue_rows(dataset.events["key"], dataset.item_ids).astype(np.int64)
    fits = held_out(dataset.users, FITTING_SHARE, config.seed + 1_000_003)

    # the counted users: tables, then the LSTM with what the tables left of the budget
    noise, learned = Noise(), budget.lstm_share > 0
    mu = budget.mu * math.sqrt(1 - budget.lstm_share)
    model = counted(model, dataset, rows, ~fits, mu, noise)
    progress("counts", 1, 1, {})
    if learned:
        start(model.network, model.blend.log_popularity)
        histories = UserHistories(dataset, rows, np.flatnonzero(~fits), config.length)
        deviation = deviation_for(budget, noise.releases)
        train_network(model.network, model.tokenizer, histories, deviation, noise, config, progress)

    # the fitting users
    steps = Noise()
    weighed = (*LEARNED, *WEIGHED) if learned else WEIGHED
    model = replace(model, blend=fitted(model, dataset, (rows, fits), weighed, budget.mu, steps))
    progress("blend", 1, 1, {})
    groups = {"counted users": noise.releases, "fitting users": steps.releases}
    report = {
        "config": asdict(config),
        "network": asdict(model.network.config),
        "privacy": _promise(budget, groups),
    }
    write_model(out, model, catalogue=catalogue_of(dataset), report=report)
    return report


def _promise(budget: Budget, groups: dict[str, list[Release]]) -> dict[str, Any]:
    """Returns what the promise is of, and all that a third person needs to recompute it."""
    return {
        "epsilon": budget.epsilon,
        "delta": budget.delta,
        "unit": "all events of one user, added or removed",
        "account": {
            group: {
                "epsilon": round(epsilon_of(releases, budget.delta), 4),
                "releases": [each._asdict() for each in releases],
            }
            for group, releases in groups.items()
        },
        "releases": [
            f"{group}, {_in_words(each)}" for group, releases in groups.items() for each in releases
        ],
        "not_trained": [
            f"the {'language model' if budget.lstm_share else 'networks'} over users: no weight",
            "the attention, EASE and recent popularity",
        ],
        "outside": [
            "the catalogue, a taxonomy and all options: they are taken as public",
            "accuracy that is printed, and what evaluate says: computed from the events",
            "attacks on floating-point numbers, and on the generator of the noise (PCG64)",
        ],
    }


def _in_words(release: Release) -> str:
    """Returns a release for people."""
    drawn = f", users drawn with chance {release.rate:g}" * (release.rate < 1)
    times = f"{release.times} times " * (release.times > 1)
    return f"{release.what}: {times}noise {release.noise:.4f}{drawn}"


def _public(dataset: Dataset, config: TrainConfig, progress: Progress) -> TrainedModel:
    """Returns a model of the catalogue alone."""
    texts = [
        " ".join([title, *categories])
        for title, categories in zip(dataset.titles, dataset.categories, strict=True)
    ]
    tokenizer = Tokenizer.learn([*dataset.titles, *dataset.interests])
    network = new_network(replace(config, attention_epochs=0), dataset, tokenizer)
    stage = TextStage(network, tokenizer, texts)
    weights = Weights(network, stage.parameters(), config)
    for number in range(config.text_epochs):
        generator = torch.Generator().manual_seed(config.seed * 1_000_003 + number)
        progress("text", number + 1, config.text_epochs, stage.epoch(weights, generator, number))
    network.eval()
    with torch.no_grad():
        for some, into in ((texts, network.text[1:]), (dataset.interests, network.interest_text)):
            tokens = torch.from_numpy(tokenizer.encode(some))
            parts = [network.text_model.encode_text(each) for each in torch.split(tokens, 1_024)]
            into.copy_(torch.cat(parts))
        for item, (item_id, text) in enumerate(zip(dataset.item_ids, texts, strict=True)):
            if text.strip() == item_id:
                network.text[item + 1] = 0  # a bare id says nothing
    membership = membership_of(catalogue_of(dataset), len(dataset.interests))
    info = new_info(config, dataset, network)
    nothing = torch.zeros(len(dataset.item_ids) + 1)
    blend = Blend.start(torch.full((len(dataset.interests),), 0.5), nothing)
    scorers = ScorerSet(tuple(None if each.tensors_prefix else each() for each in SCORERS))
    return TrainedModel(network, tokenizer, scorers, blend, membership, info)

"""Trains the LSTM over users by noisy gradients in which every user has a bounded share (DP-SGD).

At each step every user is drawn with the same chance on its own. The gradient of each drawn user is
shortened to a norm, noise is added to their sum, and the weights move by that [1]. Items are read
and found by their texts, which are public: a vector for each item would be a noisy cell for each.
Biases are the noisy popularity, and stay. What is learned of a step is a mean over the last steps,
which costs nothing of the budget.

[1] Abadi et al.: Deep Learning with Differential Privacy (2016), algorithm 1.

Glossary: U users, B users of a batch, T positions, N events, V items (row 0: unknown), D width.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, Final, cast

import numpy as np
import torch
from torch import Tensor

from models.compact import WORDS, text_of
from models.data.prepare import Dataset, previous_times
from models.network.interest_network import InterestNetwork
from models.network.losses import Negatives
from models.progress import Progress
from models.training.averaging import averaged
from models.training.config import TrainConfig
from models.training.private.account import Budget, Release, noise_for
from models.training.private.noise import Noise
from models.training.private.user_gradients import (
    Batch,
    Candidates,
    UserGradients,
    trained_parameters,
)
from models.vocabulary import Tokenizer, gap_buckets

Array = np.ndarray[Any, Any]

RATE: Final = 0.25
"""Chance of each user to take part in a step."""
STEPS: Final = 25
NORM: Final = 1.0
"""Largest norm of a user's gradient."""
LEARNING_RATE: Final = 3e-3
"""Of Adam; higher ones lost, without noise too (docs/measured/logs/private-lstm.md)."""
POSITIONS: Final = 4_096
"""Positions of a batch: 16 MB of scores of a thousand candidates."""
USERS: Final = 256
"""Users of a batch, at most: 17 MB of the gradients of the largest layer."""


class UserHistories:
    """Holds what is learned of each of some users: pieces of a history.

    rows: of the data set's events, int64 [N]; users: int64 [U], as numbered in the data set;
    length: most events of a piece.
    """

    def __init__(self, dataset: Dataset, rows: Array, users: Array, length: int) -> None:
        self.users, self._events, self._length = users, dataset.events, length
        self._rows, self._actions = rows, dataset.events["action"].astype(np.int64)
        times, before = dataset.events["time_ms"], previous_times(dataset)
        self._gaps = gap_buckets(np.where(before < 0, -1, np.maximum(times - before, 0)))
        self._starts = dataset.user_start[users]
        self._targets = dataset.user_start[users + 1] - 1 - self._starts

    def batches(
        self, drawn: Array, turn: int, network: InterestNetwork, tokenizer: Tokenizer
    ) -> Iterator[Batch]:
        """Yields the drawn users, bool [U], with a piece of each, another one each turn.

        Users with pieces of the same length come together. What comes of a user depends on nobody
        else.
        """
        drawn = drawn & (self._targets > 0)
        starts, targets = self._starts[drawn], self._targets[drawn]
        piece = turn % -(-targets // self._length)
        sizes = np.minimum(targets - piece * self._length, self._length)
        starts = starts + piece * self._length
        order = np.argsort(sizes, kind="stable")
        begin = 0
        while begin < len(order):
            # as many as keep to both bounds; sizes only grow
            end = begin + 1
            while (
                end < len(order)
                and end - begin < USERS
                and (end + 1 - begin) * sizes[order[end]] <= POSITIONS
            ):
                end += 1
            chosen = order[begin:end]
            yield self._batch(starts[chosen], sizes[chosen], network, tokenizer)
            begin = end

    def _batch(
        self, starts: Array, sizes: Array, network: InterestNetwork, tokenizer: Tokenizer
    ) -> Batch:
        """Returns the pieces that start at some events, with so many positions each."""
        steps = np.arange(sizes.max())
        there = steps < sizes[:, None]
        place = np.where(there, starts[:, None] + steps, starts[:, None])
        rows = torch.from_numpy(self._rows[place])
        text = network.text[rows]
        # searches, and titles that the catalogue lacks
        events = self._events[place]
        said = there & (self._rows[place] == 0) & np.isin(events["kind"], WORDS)
        if said.any():
            texts = [text_of(raw) for raw in events["text"][said].tolist()]
            with torch.no_grad():
                tokens = torch.from_numpy(tokenizer.encode(texts))
                text[torch.from_numpy(said)] = network.text_model.encode_text(tokens)
        targets = np.where(there, self._rows[np.where(there, place + 1, place)], 0)
        columns = (self._actions[place], self._gaps[place], targets)
        return Batch(text, *(torch.from_numpy(each) for each in columns))


def start(network: InterestNetwork, log_popularity: Tensor) -> None:
    """Has a network say the popularity, [V + 1] noisy logarithms, until it has learned.

    Items have no vectors of their own.
    """
    met = torch.ones(len(log_popularity), dtype=torch.bool)
    met[0] = False
    network.start_items(log_popularity, met)
    with torch.no_grad():
        network.item.weight.zero_()
        network.text_out.weight.zero_()


def train_network(
    network: InterestNetwork,
    tokenizer: Tokenizer,
    histories: UserHistories,
    deviation: float,
    noise: Noise,
    config: TrainConfig,
    progress: Progress,
) -> None:
    """Trains the LSTM and what reads and finds items by their texts, in STEPS noisy steps.

    deviation: of the noise, in units of NORM. No figure is reported: losses would tell of users.
    """
    network.eval()
    trained = trained_parameters(network)
    optimiser = torch.optim.Adam(trained.values(), lr=LEARNING_RATE)
    means = averaged(network)
    popularity = network.item_bias.detach().exp()
    popularity[0] = 0
    negatives = Negatives.of_counts(popularity, config.negatives)
    for step in range(STEPS):
        drawn = noise.drawn(len(histories.users), RATE)
        candidates = (
            Candidates(*negatives.draw())
            if negatives.drawn
            else Candidates(negatives.head, torch.zeros(len(negatives.head)))
        )
        sums = _bounded_sum(
            network, histories.batches(drawn, step, network, tokenizer), candidates, trained
        )
        noisy, _ = noise.dense("steps of the LSTM", sums, NORM, deviation, RATE)
        sizes = [each.numel() for each in trained.values()]
        parts = torch.split(torch.from_numpy(noisy).float(), sizes)
        for each, part in zip(trained.values(), parts, strict=True):
            each.grad = part.view_as(each)
        optimiser.step()
        means.update_parameters(network)
        progress("lstm", step + 1, STEPS, {})
    network.load_state_dict(cast(InterestNetwork, means.module).state_dict())


def _bounded_sum(
    network: InterestNetwork,
    batches: Iterator[Batch],
    candidates: Candidates,
    trained: dict[str, torch.nn.Parameter],
) -> Array:
    """Returns the sum of gradients, each shortened to NORM, as one vector float64."""
    total = {name: torch.zeros_like(each, dtype=torch.float64) for name, each in trained.items()}
    for batch in batches:
        gradients = UserGradients(network, batch, candidates)
        scale = NORM / gradients.norms().clamp(min=NORM)
        for name, part in gradients.sums(scale).items():
            total[name] += part
    return torch.cat([each.flatten() for each in total.values()]).numpy()


def deviation_for(budget: Budget, others: list[Release]) -> float:
    """Returns the noise of the steps with which they and others keep to a budget together."""
    return noise_for(budget, others, RATE, STEPS)

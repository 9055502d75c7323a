"""Measures how soon attention over the last 50 events names a changed interest.

    python -m tests.benchmarks.drift_attention [--users 300] [--seeds 3]

It prints rows for the table of drift, on the same simulated users, with the shipped demo model next
to it. A causal transformer over item ids (the shape of SASRec, Kang and McAuley 2018: width 64, two
blocks, two heads, learned places) is trained on the population that `make demo-model` simulates,
softmax over all items, the epoch picked by the loss of each user's last event. An interest has the
probability of its items.

Glossary: U users, T events, V items, C interests.
"""

from __future__ import annotations

import argparse
import copy
import sys
from typing import Any, Final

import numpy as np
import torch
from torch import Tensor, nn

from models.contract import InterestScores, ModelInfo
from models.data.interests import InterestConfig
from models.data.prepare import Dataset, PrepareConfig
from models.evaluation.interest_baselines import touched_rows
from models.predict import load_predictor
from models.serving.predictor import Predictor
from models.training.sequences import Sequences, TrainingData
from stream.offline.dataset import simulated_dataset, with_found_interests
from stream.offline.drift import measure_drift

Array = np.ndarray[Any, Any]

READ: Final = 50
WIDTH: Final = 64
USERS, SEED = 2_000, 7  # of `make demo-model`
EPOCHS, PATIENCE, BATCH, RATE = 60, 3, 64, 1e-3
NOTHING, UNKNOWN = 0, 1  # tokens: no event, one that is about no item; item v is token v + 2


class Attention(nn.Module):
    """Maps tokens int64 [U, T], right-padded, to logits [U, T, V]."""

    def __init__(self, items: int) -> None:
        super().__init__()
        self.item = nn.Embedding(items + 2, WIDTH)
        self.place = nn.Parameter(0.02 * torch.randn(READ, WIDTH))
        block = nn.TransformerEncoderLayer(
            WIDTH, 2, 4 * WIDTH, 0.2, batch_first=True, norm_first=True
        )
        self.blocks = nn.TransformerEncoder(
            block, 2, nn.LayerNorm(WIDTH), enable_nested_tensor=False
        )
        self.bias = nn.Parameter(torch.zeros(items))
        nn.init.normal_(self.item.weight, std=0.02)

    def forward(self, tokens: Tensor) -> Tensor:
        """Returns logits [U, T, V]."""
        length = tokens.shape[1]
        ahead = nn.Transformer.generate_square_subsequent_mask(length)
        hidden = self.blocks(
            self.item(tokens) * WIDTH**0.5 + self.place[:length], mask=ahead, is_causal=True
        )
        found: Tensor = hidden @ self.item.weight[UNKNOWN + 1 :].t() + self.bias
        return found


class AttentionModel:
    """Serves the network as an evaluation needs it (models.evaluation.EvaluatedModel).

    The state of a user is the last READ tokens, newest last.
    """

    def __init__(self, network: Attention, dataset: Dataset, belongs: Array) -> None:
        names = tuple(dataset.interests), tuple(dataset.item_ids), tuple(dataset.titles)
        self.info = ModelInfo("attention", "", 0, *names, READ)
        self._network, self._belongs = network.eval(), torch.from_numpy(belongs.astype(np.float32))
        self._index = self.info.index

    def step(self, state: Array, events: Array, sizes: Array, previous_ms: Array) -> Array:
        """Returns the state float32 [U, READ] after the events, round after round."""
        tokens, start = self._index.rows(events["key"]) + UNKNOWN, 0
        for size in sizes.tolist():
            state[:size, :-1] = state[:size, 1:].copy()
            state[:size, -1] = tokens[start : start + size]
            start += size
        return state

    def score_all(self, state: Array, recent: Array) -> Array:
        """Returns the log-probabilities of the next item, float32 [U, V]."""
        tokens = torch.from_numpy(state).long()
        count = (tokens != NOTHING).sum(1)
        first = (
            torch.arange(READ)[None] + READ - count[:, None]
        ) % READ  # the oldest event at place 0
        with torch.inference_mode():
            logits = self._network(tokens.gather(1, first))[
                torch.arange(len(state)), (count - 1).clamp(min=0)
            ]
            return torch.log_softmax(logits, 1).numpy()

    def interest_scores(self, state: Array, recent: Array) -> InterestScores:
        """Returns the probability of each interest; it knows no trends."""
        found = np.asarray(np.exp(self.score_all(state, recent)) @ self._belongs.numpy())
        return InterestScores(found, 0 * found, np.zeros(found.shape, np.uint8))


def trained(dataset: Dataset) -> tuple[Attention, int, float]:
    """Returns the network of the best epoch, which one it was, and its validation loss in nats."""
    torch.manual_seed(0)
    data, network = TrainingData(dataset, READ), Attention(len(dataset.item_ids))
    pieces, (_, validation) = data.pieces(data.ends - 1), data.validation(USERS, seed=0)
    optimiser = torch.optim.AdamW(network.parameters(), lr=RATE)
    best, kept, which = np.inf, copy.deepcopy(network), 0
    for epoch in range(EPOCHS):
        network.train()
        for batch in pieces.batches(BATCH, torch.Generator().manual_seed(epoch)):
            optimiser.zero_grad()
            loss = _loss(network, batch.rows, batch.targets) * batch.share
            loss.backward()  # type: ignore[no-untyped-call]
            optimiser.step()
        value = _validated(network, validation)
        sys.stderr.write(f"epoch {epoch + 1}: loss of validation {value:.4f}\n")
        if value < best:
            best, kept, which = value, copy.deepcopy(network), epoch
        if epoch - which >= PATIENCE:
            break
    return kept, which + 1, best


def _loss(network: Attention, rows: Tensor, targets: Tensor) -> Tensor:
    """Returns the loss of a batch."""
    there = targets > 0
    rows = rows.masked_fill(rows >= len(network.item.weight) - UNKNOWN, 0)  # texts of searches
    return nn.functional.cross_entropy(network(rows + UNKNOWN)[there], targets[there] - 1)


def _validated(network: Attention, asked: Sequences) -> float:
    """Returns the mean loss of the users' last events."""
    network.eval()
    with torch.inference_mode():
        return float(_loss(network, asked.rows, asked.targets))


def _table(named: list[tuple[str, list[dict[str, Any]]]]) -> str:
    """Returns Markdown of the middle of the seeds; each: what measure_drift returned, by seed."""
    lines = [
        "| noise | tracker | median | p90 | noticed | named right | false switches in 100 events |"
    ]
    lines += ["|---|---|---|---|---|---|---|"]
    for place, level in enumerate(named[0][1][0]["levels"]):
        noise = "of each user another" if level["noise"] is None else f"{level['noise']:.0%}"
        for name, reports in named:
            of = [report["levels"][place]["model"] for report in reports]
            median, p90, noticed, right, wrong = (
                _middle([each[what] for each in of])
                for what in ("median", "p90", "noticed", "right", "false per 100")
            )
            lines.append(
                f"| {noise} | {name} | {median:g} | {p90:g} | {noticed:.1%} | {right:.1%} "
                f"| {wrong:.1f} |"
            )
    return "\n".join(lines)


def _middle(values: list[float | None]) -> float:
    """Returns the middle of the seeds' figures."""
    return float(np.median([np.inf if each is None else each for each in values]))


def main() -> None:
    """Trains and measures each seed, and prints the table."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else "")
    parser.add_argument("--users", type=int, default=300)
    parser.add_argument("--seeds", type=int, default=3)
    asked = parser.parse_args()
    torch.set_num_threads(1)
    dataset = simulated_dataset(USERS, SEED, PrepareConfig())
    dataset = with_found_interests(dataset, InterestConfig(), None, SEED)
    belongs = touched_rows(dataset)[1:]
    network, epoch, loss = trained(dataset)
    attention, demo = AttentionModel(network, dataset, belongs), load_predictor()
    assert isinstance(demo, Predictor)
    seeds = range(asked.seeds)
    of_attention = [measure_drift(attention, belongs, asked.users, seed) for seed in seeds]
    of_demo = [measure_drift(demo, demo.membership, asked.users, seed) for seed in seeds]
    sys.stdout.write(f"attention: best epoch {epoch}, loss of validation {loss:.4f}\n")
    sys.stdout.write(
        _table([("attention over the last 50", of_attention), ("demo model", of_demo)]) + "\n"
    )


if __name__ == "__main__":
    main()

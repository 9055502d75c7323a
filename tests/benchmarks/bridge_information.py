"""Measures whether the soft tokens carry information about the user to the language model.

    python -m tests.benchmarks.bridge_information [--users 2000] [--seed 0]

It prints JSON: loss and HR@10 with the user's own soft tokens, with somebody else's, and with none,
and what a linear probe reads from them. The demo model scores simulated users it was not trained
on. The target is the item of the last event, from the events before it, by the language model's
answer alone (no LSTM score, no co-occurrence, no blend).

Glossary: U users, D width, k soft tokens, n events read.
"""

from __future__ import annotations

import argparse
import json
from typing import Any

import numpy as np
import torch
from torch import Tensor

from models.evaluation import metrics
from models.evaluation.explanations import remembered
from models.predict import load_predictor
from models.serving.predictor import Predictor
from stream.offline.explanations import simulated_histories

Array = np.ndarray[Any, Any]


def measure(model: Predictor, histories: list[Array], seed: int) -> dict[str, Any]:
    """Returns loss and HR@10 of each way to fill the soft tokens, and the probe.

    Intervals are paired against the user's own soft tokens.
    """
    # Cases: the last event of each user, about a known item, after the others.
    target = model.info.index.rows(np.array([events["key"][-1] for events in histories]))
    asked = [events[:-1] for events, row in zip(histories, target.tolist(), strict=True) if row]
    wanted = torch.from_numpy(target[target > 0])
    state, recent = remembered(model, asked)

    # The language model's answer with each way to fill its input.
    with torch.inference_mode():
        x, there, soft = _inputs(model, state, recent)
        others = soft[torch.from_numpy(_derangement(len(soft), seed))]
        nothing = torch.zeros_like(there)
        ways = {
            "own soft tokens": (there, soft),
            "soft tokens of another user": (there, others),
            "soft tokens zeroed": (there, torch.zeros_like(soft)),
            "own soft tokens, no recent events": (nothing, soft),
            "soft tokens of another user, no recent events": (nothing, others),
        }
        found = {
            name: _asked(model, x, seen, tokens, wanted) for name, (seen, tokens) in ways.items()
        }
    own, users = found["own soft tokens"][0], np.arange(len(wanted))
    report: dict[str, Any] = {
        name: {
            "loss": float(loss.mean()),
            "HR@10": float(hits.mean()),
            "loss minus own": metrics.interval(loss - own, users, seed),
        }
        for name, (loss, hits) in found.items()
    }

    # What a linear layer reads from the soft tokens.
    newest = model.membership[wanted.numpy() - 1]
    main = np.array([int(row.argmax()) if row.any() else -1 for row in newest])
    return {
        "users": len(wanted),
        **report,
        "probe": _probe(soft.flatten(1)[main >= 0].clone(), main[main >= 0], seed),
    }


def _inputs(model: Predictor, state: Array, recent: Array) -> tuple[Tensor, Tensor, Tensor]:
    """Returns event vectors [U, n, D] oldest first, which exist, bool [U, n], and soft tokens.

    Soft tokens are [U, k, D].
    """
    n = model.network.config.recent
    newest = np.ascontiguousarray(recent[:, :n][:, ::-1])
    times = recent["time_ms"]
    before = np.where(recent["key"][:, 1 : n + 1] != 0, times[:, 1 : n + 1], -1)[:, ::-1]
    x = model.vectors(newest.reshape(-1), np.ascontiguousarray(before).reshape(-1)).view(
        len(state), n, -1
    )
    feature = model.network.lstm.feature(x[:, -1], torch.from_numpy(state))
    return x, torch.from_numpy(newest["key"] != 0), model.network.soft_tokens(feature)


def _asked(
    model: Predictor, x: Tensor, there: Tensor, soft: Tensor, wanted: Tensor
) -> tuple[Array, Array]:
    """Returns cross-entropy and hit among the first ten of the target rows, float64 [U] each."""
    network = model.network
    tokens, bias = network.serving_tokens(x, there, torch.zeros(len(x), x.shape[2]))
    tokens[:, x.shape[1] :] = soft
    answer = network.language_model.last_hidden(tokens, bias)
    logits = torch.nn.functional.linear(answer, network.item_candidates(), network.item_bias)[:, 1:]
    loss = torch.nn.functional.cross_entropy(logits, wanted - 1, reduction="none")
    rank = metrics.ranks(logits.numpy(), wanted.numpy() - 1)
    return loss.numpy().astype(np.float64), metrics.hits(rank, 10)


def _probe(inputs: Tensor, interest: Array, seed: int) -> dict[str, float]:
    """Returns the share of held-out users whose next event's interest a linear layer names.

    The second figure is the same with interests shuffled.
    """
    order = np.random.default_rng(seed).permutation(len(interest))
    inputs, labels = (
        (inputs - inputs.mean(0)) / inputs.std(0).clamp(min=1e-6),
        torch.from_numpy(interest),
    )
    split = len(order) * 2 // 3
    train, test = torch.from_numpy(order[:split]), torch.from_numpy(order[split:])
    shuffled = labels[torch.from_numpy(np.random.default_rng(seed + 1).permutation(len(labels)))]
    return {
        "right": _fitted(inputs[train], labels[train], inputs[test], labels[test], seed),
        "shuffled": _fitted(inputs[train], shuffled[train], inputs[test], labels[test], seed),
        "most frequent": float((labels[test] == labels[train].mode().values).float().mean()),
    }


def _fitted(x: Tensor, y: Tensor, test_x: Tensor, test_y: Tensor, seed: int) -> float:
    """Returns the share of test rows that a linear layer names right, fitted to other rows."""
    torch.manual_seed(seed)
    layer = torch.nn.Linear(x.shape[1], int(max(y.max(), test_y.max())) + 1)
    optimiser = torch.optim.AdamW(layer.parameters(), lr=0.02, weight_decay=0.1)
    for _ in range(150):
        optimiser.zero_grad()
        loss = torch.nn.functional.cross_entropy(layer(x), y)
        loss.backward()  # type: ignore[no-untyped-call]
        optimiser.step()
    return float((layer(test_x).argmax(1) == test_y).float().mean())


def _derangement(users: int, seed: int) -> Array:
    """Returns somebody else's place for everybody."""
    order = np.random.default_rng(seed).permutation(users)
    places = np.empty(users, np.int64)
    places[order] = np.roll(order, 1)
    return places


def main() -> None:
    """Prints the report as JSON."""
    words = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    words.add_argument("--users", type=int, default=2_000)
    words.add_argument("--seed", type=int, default=0)
    given = words.parse_args()
    report = measure(
        load_predictor(), simulated_histories(given.users, given.seed + 1_000), given.seed
    )
    print(json.dumps(report, indent=1))  # noqa: T201


if __name__ == "__main__":
    main()

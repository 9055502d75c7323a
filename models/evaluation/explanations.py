"""Measures whether the events that an explanation names are those that the scores rest on.

Two ways to say what an event contributed are compared with the `because` that a worker publishes:

- The additive ledger of an LSTM cell: what each event put into the cell, and what of it is still
  there. c_t is a sum over events,
      c_t = sum_k (prod_{j > k} f_j) * i_k * g_k,
  so the rows of the ledger add up to the cell. Its limit: the gates of later events depend on
  earlier ones, which it does not count.
- Leave one out: the history is replayed without an event, as if it had never happened. It is exact
  and costs one replay an event, so it is the yardstick for everything cheaper.

Glossary: U users, T events of a history, S floats of state, D width, B events named by an
explanation.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Final

import numpy as np
import torch
from torch import Tensor

from models.compact import COMPACT, RECENT
from models.evaluation import metrics
from models.network.lstm import input_gates
from models.serving.predictor import Predictor

Array = np.ndarray[Any, Any]

REPLAYS: Final = 4_096
"""Histories that are stepped together; it bounds memory."""


def ledger(lstm: Any, x: Tensor) -> tuple[Tensor, Tensor]:
    """Returns what each event left in the cell, and the output gate [D] of the last event.

    The first result has a row an event, [T, D], and its rows sum to c_T. lstm: nn.LSTM of
    one layer, from zero states; x: its inputs [T, D].
    """
    h = output = torch.zeros(lstm.hidden_size)
    rows = torch.zeros(len(x), lstm.hidden_size)
    for place, gates_x in enumerate(input_gates(lstm, x)):
        i, f, g, o = (gates_x + lstm.weight_hh_l0 @ h).chunk(4)
        rows = torch.sigmoid(f) * rows
        rows[place] = torch.sigmoid(i) * torch.tanh(g)
        output = torch.sigmoid(o)
        h = output * torch.tanh(rows.sum(0))
    return rows, output


def remembered(model: Predictor, histories: Sequence[Array]) -> tuple[Array, Array]:
    """Returns what a worker would hold after some histories of COMPACT events, oldest first.

    It is the memory float32 [U, S] and the recent events COMPACT [U, 32], newest first.
    """
    # Histories in order of length, so that each round of events is that of the first few users.
    length = np.array([len(each) for each in histories])
    order = np.argsort(-length, kind="stable")
    laid = np.zeros((len(histories), int(length.max(initial=0))), COMPACT)
    recent = np.zeros((len(histories), RECENT), COMPACT)
    for row, place in enumerate(order.tolist()):
        laid[row, : length[place]] = histories[place]
        last = histories[place][::-1][:RECENT]
        recent[place, : len(last)] = last
    sizes = (length[None, :] > np.arange(laid.shape[1])[:, None]).sum(1)
    rounds = [laid[:size, place] for place, size in enumerate(sizes.tolist())]
    state = np.zeros((len(histories), model.info.state_size), np.float32)
    before = np.full(len(histories), -1, np.int64)
    if rounds:
        state[order] = model.step(state.copy(), np.concatenate(rounds), sizes, before)
    return state, recent


def log_odds(model: Predictor, histories: Sequence[Array], interest: Array) -> Array:
    """Returns the log-odds of one interest, int [U], after each history, float64 [U]."""
    found = np.empty(len(histories))
    for begin in range(0, len(histories), REPLAYS):
        part = slice(begin, begin + REPLAYS)
        probability = model.interest_probabilities(*remembered(model, histories[part]))
        found[part] = _logit(probability[np.arange(len(probability)), interest[part]])
    return found


def without(history: Array, slots: Sequence[int]) -> Array:
    """Returns a history as if the events in some recent slots (0: the newest) never happened."""
    return np.delete(history, [len(history) - 1 - slot for slot in slots])


def leave_one_out(model: Predictor, histories: Sequence[Array], interest: Array) -> Array:
    """Returns how far the log-odds of an interest, int [U], fall without each recent event.

    It is float64 [U, 32], a column a recent slot; NaN where there is no event.
    """
    held = np.array([min(len(each), RECENT) for each in histories])
    user, slot = np.nonzero(np.arange(RECENT)[None, :] < held[:, None])
    shorter = [
        without(histories[u], [s]) for u, s in zip(user.tolist(), slot.tolist(), strict=True)
    ]
    drops = np.full((len(histories), RECENT), np.nan)
    drops[user, slot] = log_odds(model, histories, interest)[user] - log_odds(
        model, shorter, interest[user]
    )
    return drops


def ledger_drops(model: Predictor, histories: Sequence[Array], interest: Array) -> Array:
    """Returns the same as `leave_one_out`, float64 [U, 32], by the ledger instead of replays.

    The event's row is taken out of the first layer's cell, and all else stays; NaN: no event.
    """
    lstm, width = model.network.lstm.blocks[0].lstm, model.network.lstm.width
    state, recent = remembered(model, histories)
    drops = np.full((len(histories), RECENT), np.nan)
    for user, events in enumerate(histories):
        before = np.concatenate(([-1], events["time_ms"][:-1]))
        with torch.inference_mode():
            rows, output = ledger(lstm, model.vectors(events, before))
            newest = rows.flip(0)[:RECENT]
            states = torch.from_numpy(state[user]).repeat(1 + len(newest), 1)
            states[1:, :width] = output * torch.tanh(rows.sum(0) - newest)
        probability = model.interest_probabilities(
            states.numpy(), np.repeat(recent[[user]], len(states), 0)
        )
        found = _logit(probability[:, interest[user]])
        drops[user, : len(newest)] = found[0] - found[1:]
    return drops


def measure_faithfulness(
    model: Predictor, histories: Sequence[Array], seed: int = 0
) -> dict[str, Any]:
    """Returns how well explanations of each user's first interest agree with replays.

    Histories have 2 events or more. A row of the table has the share of users of whom an event is
    named, the mean fall of the log-odds when the event named first is removed, and 95 % intervals,
    paired over users: that fall minus what removing a random recent event does, or a random one of
    the last n; and the fall by the published explanation minus that by this one.
    """
    # The published explanation of the model, and of one with random weights, which should differ.
    state, recent = remembered(model, histories)
    scores = model.score(state, recent, interests=1, items=0, because=RECENT)
    interest = scores.interest[:, 0].astype(np.int64)
    drops = leave_one_out(model, histories, interest)
    random = model.randomised(seed)
    blind = random.score(*remembered(random, histories), interests=1, items=0, because=RECENT)
    published, read = scores.because[:, 0].astype(np.int64), model.network.config.recent

    # The recent slot that each explanation names first.
    first = {
        "because, as published": published,
        "because, weights randomised": blind.because[:, 0],
        "ledger of the LSTM cell": _best(ledger_drops(model, histories, interest)),
        "latest event": np.zeros(len(histories), np.int64),
        "latest event of that interest": _latest_of(model, recent, interest),
        "best, found by replaying": _best(drops),
    }
    return {
        "users": len(histories),
        "read": read,
        "table": [
            _row(name, slot.astype(np.int64), published, drops, read, seed)
            for name, slot in first.items()
        ],
        "random event": float(np.nanmean(drops, 1).mean()),
        "three named": _three(model, histories, interest, scores.because, seed),
        "rank correlation with replaying": _agreement(weights_by_slot(scores), drops),
        "rank correlation with randomised weights": _agreement(
            weights_by_slot(scores), weights_by_slot(blind)
        ),
    }


def weights_by_slot(scores: Any) -> Array:
    """Returns because_weight at the recent slots it belongs to, float64 [U, 32]; 0: not named."""
    weights = np.zeros((len(scores.because), RECENT))
    user, place = np.nonzero(scores.because >= 0)
    weights[user, scores.because[user, place].astype(np.int64)] = scores.because_weight[user, place]
    return weights


def _row(
    name: str, slot: Array, published: Array, drops: Array, read: int, seed: int
) -> dict[str, Any]:
    """Returns a row of the table of `measure_faithfulness`; slot: int64 [U] named first."""
    users = np.flatnonzero(slot >= 0)
    both = np.flatnonzero((slot >= 0) & (published >= 0))
    fall, others = drops[users, slot[users]], drops[users]
    ahead = drops[both, published[both]] - drops[both, slot[both]]
    return {
        "explanation": name,
        "named": len(users) / len(slot),
        "fall": float(fall.mean()),
        "minus random": metrics.interval(fall - np.nanmean(others, 1), users, seed),
        f"minus random of last {read}": metrics.interval(
            fall - np.nanmean(others[:, :read], 1), users, seed
        ),
        "published minus this": metrics.interval(ahead, both, seed),
    }


def _three(
    model: Predictor, histories: Sequence[Array], interest: Array, slots: Array, seed: int
) -> dict[str, Any]:
    """Returns the fall without the first three named events, and without as many random ones."""
    random = np.random.default_rng(seed)
    named = [[slot for slot in row if slot >= 0] for row in slots[:, :3].tolist()]
    drawn = [
        random.choice(min(len(each), RECENT), len(some), replace=False).tolist()
        for each, some in zip(histories, named, strict=True)
    ]
    whole = log_odds(model, histories, interest)
    falls = [
        whole
        - log_odds(model, [without(*each) for each in zip(histories, some, strict=True)], interest)
        for some in (named, drawn)
    ]
    return {
        "fall": float(falls[0].mean()),
        "fall of random ones": float(falls[1].mean()),
        "minus random ones": metrics.interval(falls[0] - falls[1], np.arange(len(whole)), seed),
    }


def _agreement(mine: Array, theirs: Array) -> float:
    """Returns the Spearman correlation over slots that hold an event in both, mean over users."""
    found: list[float] = []
    for weights, replayed in zip(mine, theirs, strict=True):
        there = np.isfinite(replayed)
        ours, other = _places(weights[there]), _places(replayed[there])
        if ours.std() > 0 and other.std() > 0:  # else there is no order
            found.append(float(np.corrcoef(ours, other)[0, 1]))
    return float(np.mean(found)) if found else 0.0


def _places(values: Array) -> Array:
    """Returns the ranks of values, float64 [N]; equal values share the middle of theirs."""
    places: Array = (values[:, None] > values).sum(1) + (values[:, None] == values).sum(1) / 2
    return places


def _latest_of(model: Predictor, recent: Array, interest: Array) -> Array:
    """Returns the slot of the newest event about an item of the interest, int64 [U]; -1: none."""
    belongs = np.concatenate((np.zeros((1, model.membership.shape[1]), bool), model.membership))
    touched = belongs[model.info.index.rows(recent["key"]), interest[:, None]]
    return np.where(touched.any(1), touched.argmax(1), -1)


def _best(drops: Array) -> Array:
    """Returns the slot of the largest fall, int64 [U]."""
    slots: Array = np.nanargmax(drops, 1)
    return slots


def _logit(probability: Array) -> Array:
    """Returns the log-odds of probabilities, float64; those next to 0 and 1 are cut off."""
    sure = probability.astype(np.float64).clip(1e-7, 1 - 1e-7)
    odds: Array = np.log(sure / (1 - sure))
    return odds

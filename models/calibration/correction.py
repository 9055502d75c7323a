"""Asks a rehearsed model what it says of later events, and fits what corrects it.

The correction is kept if it takes something from the loss of users that it was not fitted to: each
half of the users is judged by weights of the other half. What is reported of it is of these users
too, so no figure is of the events that it was fitted to.

Glossary: T cases, K first interests of each, V items (row 0: unknown), C interests.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any, NamedTuple

import numpy as np
import torch
from torch import Tensor

from models.calibration.later_events import LaterEvents
from models.data.prepare import Dataset
from models.data.replay import replay
from models.data.splits import Cases
from models.scorers.blend import Blend
from models.scorers.calibration import PLACES, Lengths, moved
from models.scorers.fit_weights import fit_calibration
from models.serving.predictor import Predictor, users_a_pass

Array = np.ndarray[Any, Any]
Figures = dict[str, Any]
Popularity = Callable[[Array], Tensor]
"""Returns the recent popularity [T, V + 1] of moments int64 [T] in ms."""


class Said(NamedTuple):
    """Holds what a model says of the first interests before each case, and what happened."""

    first: Tensor  # [T, K] log-odds, the highest first
    lengths: Lengths  # [T]
    happened: Tensor  # 0/1 [T, K] whether the event touched them
    user: Tensor  # int64 [T]

    def of(self, some: Tensor) -> Said:
        """Returns some of the cases, bool [T]."""
        lengths = Lengths(*(each[some] for each in self.lengths))
        return Said(self.first[some], lengths, self.happened[some], self.user[some])


def calibrated(rehearsed: Predictor, blend: Blend, later: LaterEvents) -> tuple[Blend, Figures]:
    """Returns the blend with what corrects its first interests, and figures for a report.

    Where events have times it is fitted twice: to the popularity of the training, and to live.
    rehearsed: the model that learned what came before the later events, with the same weights.
    """
    given = later.dataset, later.cases
    weights, figures = correction(asked(rehearsed, *given))
    found = replace(blend, calibration=weights)
    if blend.live() is not None:
        live = later.live_popularity(rehearsed.log_popularity)
        weights, figures["live"] = correction(asked(rehearsed, *given, live.at))
        found = replace(found, live_calibration=weights)
    return found, figures


def asked(
    predictor: Predictor, dataset: Dataset, cases: Cases, popularity: Popularity | None = None
) -> Said:
    """Returns what a predictor says before each case, in the order of a replay.

    popularity: a live one that it is given before each batch; None: that of its training.
    """
    touched = torch.from_numpy(predictor.membership.astype(np.float32))
    parts = []
    with torch.no_grad():
        for places, state, recent in replay(
            predictor,
            predictor.info.state_size,
            dataset,
            cases,
            users_a_pass(len(predictor.info.items)),
        ):
            if popularity is not None:
                predictor.use_popularity(popularity(cases.time_ms[places]))
            reading = predictor.read(state, recent)
            log_odds, _ = predictor.interest_log_odds(reading)
            first, which = log_odds.topk(min(PLACES, log_odds.shape[1]), dim=1)
            target = torch.from_numpy(cases.target[places].astype(np.int64))
            parts.append(
                (
                    first,
                    *Lengths.of(reading.recent),
                    touched[target].gather(1, which),
                    torch.from_numpy(cases.user[places]),
                )
            )
    first, history, session, happened, user = (torch.cat(each) for each in zip(*parts, strict=True))
    return Said(first, Lengths(history, session), happened, user)


def correction(said: Said) -> tuple[Tensor | None, Figures]:
    """Returns the weights [calibration.SIZE] that correct what was said, and figures of them.

    None: users that they were not fitted to lose nothing by it.
    """
    crossed = torch.empty_like(said.first)
    users, number = np.unique(said.user.numpy(), return_inverse=True)
    half = torch.from_numpy(number % 2 == 0)
    for mine in (half, ~half):
        weights = fit_calibration(*said.of(~mine)[:3])
        crossed[mine] = moved(said.first[mine], said.of(mine).lengths, weights)
    before, after = (_loss(each, said.happened) for each in (said.first, crossed))
    kept = after < before
    figures = {
        "cases": len(said.user),
        "users": len(users),
        "happened": round(said.happened[:, 0].mean().item(), 4),
        "said_before": round(said.first[:, 0].sigmoid().mean().item(), 4),
        "said_after": round(crossed[:, 0].sigmoid().mean().item(), 4),
        "loss_before": round(before, 5),
        "loss_after": round(after, 5),
        "kept": kept,
    }
    return (fit_calibration(*said[:3]) if kept else None), figures


def _loss(log_odds: Tensor, happened: Tensor) -> float:
    """Returns the mean cross-entropy of the first interests [T, K], in nats."""
    return torch.nn.functional.binary_cross_entropy_with_logits(log_odds, happened).item()

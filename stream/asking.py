"""How hop 5 asks a model for scores: all of them, or within a budget those that it can afford and its cheaper form for the rest."""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import dataclass, fields
from typing import Any, Protocol

import numpy as np

from models.predict import ModelInfo, Scores
from stream.budget import Budget, BudgetPolicy

Array = np.ndarray[Any, Any]


class Predictor(Protocol):
    """What hop 5 needs of models.predict.Predictor (or of its null stand-in)."""

    info: ModelInfo

    def step(self, state: Array, events: Array, sizes: Array, previous_ms: Array) -> Array: ...

    def score(self, state: Array, recent: Array, *, interests: int, items: int, because: int) -> Scores: ...

    def rebuild(self, recent: Array) -> Array: ...


@dataclass(frozen=True, slots=True)
class UpdateSize:
    """How much an update says."""

    interests: int = 5
    items: int = 5
    because: int = 3


class Asking:
    """Keeps the budget. Only a model with a cheaper form, a language model of the user's own, has one."""

    def __init__(self, predictor: Predictor, policy: BudgetPolicy | None) -> None:
        self._predictor = predictor
        self._cheaper: Predictor | None = getattr(predictor, "cheaper", None)
        self._budget = Budget(policy) if policy is not None and self._cheaper is not None else None

    @property
    def level(self) -> int:
        """Of the budget, in the last batch."""
        return self._budget.level if self._budget is not None else 0

    def score(
        self, users: Sequence[bytes], memory: Array, recent: Array, size: UpdateSize, now_ms: int
    ) -> tuple[Scores, Array]:
        """Scores of all users, and which of them the model made itself, bool [U]."""
        wanted = {"interests": size.interests, "items": size.items, "because": size.because}
        if self._budget is None or self._cheaper is None:
            return self._predictor.score(memory, recent, **wanted), np.ones(len(users), bool)
        chosen = self._budget.choose(users, now_ms)
        parts: list[tuple[Array, Scores]] = []
        if chosen.any():
            started = time.perf_counter()
            parts.append((chosen, self._predictor.score(memory[chosen], recent[chosen], **wanted)))
            mine = [users[place] for place in np.flatnonzero(chosen).tolist()]
            self._budget.spent(mine, time.perf_counter() - started, now_ms)
        if not chosen.all():
            parts.append((~chosen, self._cheaper.score(memory[~chosen], recent[~chosen], **wanted)))
        return _together(parts), chosen


def mark_lstm_only(updates: list[bytes], by_model: Array) -> list[bytes]:
    """The updates, with `"scored_by": "lstm"` in those that the budget left to the LSTM."""
    if by_model.all():
        return updates
    marked = list(updates)
    for place in np.flatnonzero(~by_model).tolist():
        marked[place] = marked[place][:-1] + b',"scored_by":"lstm"}'
    return marked


def _together(parts: list[tuple[Array, Scores]]) -> Scores:
    """Rows back in the order of the users."""
    if len(parts) == 1:
        return parts[0][1]
    columns = []
    for each in fields(Scores):
        first = getattr(parts[0][1], each.name)
        column = np.empty((len(parts[0][0]), *first.shape[1:]), first.dtype)
        for mask, scores in parts:
            column[mask] = getattr(scores, each.name)
        columns.append(column)
    return Scores(*columns)

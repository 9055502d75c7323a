"""How hop 5 asks a model for scores: all of them, or within a budget those that it can afford and its cheaper form for the rest."""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import dataclass, fields
from typing import Any, Final, Protocol

import numpy as np
import orjson

from models.predict import ModelInfo, Scores
from stream.budget import Budget, BudgetPolicy
from stream.config import Settings

Array = np.ndarray[Any, Any]

PHRASES: Final = 5
"""Zero-shot interests in an update, the most probable ones."""


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

    @classmethod
    def of(cls, settings: Settings) -> UpdateSize:
        """As a worker is told."""
        return cls(settings.interests_per_update, settings.items_per_update, settings.because_per_update)


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


def with_extras(
    updates: list[bytes],
    scores: Scores,
    phrases: Sequence[str],
    by_model: Array,
    popularity_as_of: int | None = None,
) -> list[bytes]:
    """The updates with what most do not have.

    `popularity_as_of` with live popularity, `scored_by` where the budget left them to the LSTM, `zero_shot` with the best phrases.
    """
    if popularity_as_of is not None:
        end = b',"popularity_as_of":%d}' % popularity_as_of
        updates = [update[:-1] + end for update in updates]
    if by_model.all() and not phrases:
        return updates
    found = []
    best = np.argsort(-scores.phrases, axis=1, kind="stable")[:, :PHRASES] if phrases else None
    for place, update in enumerate(updates):
        extra: dict[str, Any] = {} if by_model[place] else {"scored_by": "lstm"}
        if best is not None:
            named = [(phrases[which], float(scores.phrases[place, which])) for which in best[place].tolist()]
            interests = [{"interest": name, "probability": round(chance, 5)} for name, chance in named]
            extra["zero_shot"] = {"calibrated": False, "interests": interests}
        found.append(update[:-1] + b"," + orjson.dumps(extra)[1:] if extra else update)
    return found


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

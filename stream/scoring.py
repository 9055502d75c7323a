"""Hop 5. A decoded batch through the model: rules, LSTM steps, one score a touched user, the updates and states to write.

Called in the model thread, one batch of a partition at a time. `rank` calls it too, so offline and live scores are the same.
"""

from __future__ import annotations

import dataclasses
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from stream.asking import Asking, Predictor, UpdateSize, with_extras
from stream.budget import BudgetPolicy
from stream.errors import ModelError
from stream.events import EventBatch, Reject
from stream.state import Arena, encode_rows
from stream.step import Plan, fold, plan
from stream.updates import UpdateBuilder

Array = np.ndarray[Any, Any]


@dataclass(slots=True)
class Outcome:
    """What one batch leads to; nothing of it is visible yet. Lists run parallel, a user may stand in them twice."""

    users: list[bytes] = field(default_factory=list)
    updates: list[bytes] = field(default_factory=list)
    states: list[bytes] = field(default_factory=list)
    rejects: list[Reject] = field(default_factory=list)
    applied: int = 0
    replayed: int = 0
    repeated: int = 0
    step_seconds: float = 0.0
    score_seconds: float = 0.0
    lstm_only: int = 0  # updates that the scoring budget left to the LSTM
    level: int = 0  # of the scoring budget

    def add(self, other: Outcome) -> None:
        """Append what a later part of the same batch leads to."""
        for each in dataclasses.fields(self):
            mine, theirs = getattr(self, each.name), getattr(other, each.name)
            if isinstance(mine, list):
                mine.extend(theirs)
            elif each.name == "level":
                self.level = max(mine, theirs)
            else:
                setattr(self, each.name, mine + theirs)


class Scoring:
    """The model, and how to ask it."""

    def __init__(
        self,
        predictor: Predictor,
        size: UpdateSize,
        failpoint: Callable[[str], None] = lambda name: None,
        budget: BudgetPolicy | None = None,
    ) -> None:
        self.predictor = predictor
        self._ask = Asking(predictor, budget)
        self._phrases: tuple[str, ...] = getattr(predictor, "phrases", ())
        self.size = size
        self._failpoint = failpoint
        self._builder = UpdateBuilder(predictor.info)

    def process(self, batch: EventBatch, arena: Arena, published_at_ms: int) -> Outcome:
        """Apply a batch to an arena. An event on which the model fails becomes a reject; its neighbours do not."""
        outcome = Outcome(rejects=list(batch.rejects))
        outcome.add(self._process(batch, arena, published_at_ms))
        return outcome

    def _process(self, batch: EventBatch, arena: Arena, published_at_ms: int) -> Outcome:
        if not batch.users:
            return Outcome()
        try:
            return self._apply(plan(batch, arena), batch, arena, published_at_ms)
        except (ArithmeticError, ValueError, IndexError, RuntimeError, ModelError) as error:
            if len(batch.users) == 1:
                return Outcome(rejects=[_reject(batch, error)])
        middle = len(batch.users) // 2
        outcome = self._process(_part(batch, slice(None, middle)), arena, published_at_ms)
        outcome.add(self._process(_part(batch, slice(middle, None)), arena, published_at_ms))
        return outcome

    def _apply(self, work: Plan, batch: EventBatch, arena: Arena, published_at_ms: int) -> Outcome:
        outcome = Outcome(replayed=work.replayed, repeated=work.repeated, applied=len(work.events))
        if not work.users:
            return outcome
        started = time.perf_counter()
        memory = self.predictor.step(work.states["memory"], work.events, work.sizes, work.states["time_ms"])
        if not np.isfinite(memory).all():
            raise ModelError("the model's memory of a user is not finite after this event")
        rows = fold(work, memory)
        stepped = time.perf_counter()
        self._failpoint("mid_batch")
        size = self.size
        scores, by_model = self._ask.score(work.users, memory, rows["recent"], size, published_at_ms)
        outcome.step_seconds, outcome.score_seconds = stepped - started, time.perf_counter() - stepped
        outcome.users = work.users
        outcome.updates = self._builder.build(
            work.users,
            scores,
            source=(batch.topic, batch.partition),
            offsets=rows["offset"],
            times_ms=rows["time_ms"],
            counts=rows["count"],
            recent=rows["recent"],
            published_at_ms=published_at_ms,
        )
        outcome.updates = with_extras(outcome.updates, scores, self._phrases, by_model)
        outcome.level, outcome.lstm_only = self._ask.level, int((~by_model).sum())
        outcome.states = encode_rows(rows)
        arena.put(work.rows, rows)
        return outcome


def _part(batch: EventBatch, part: slice) -> EventBatch:
    return dataclasses.replace(
        batch,
        users=batch.users[part],
        offsets=batch.offsets[part],
        checksums=batch.checksums[part],
        compact=batch.compact[part],
        timestamps_ms=batch.timestamps_ms[part],
        rejects=[],
    )


def _reject(batch: EventBatch, error: Exception) -> Reject:
    return Reject(
        offset=int(batch.offsets[0]),
        reason="unprocessable",
        error=type(error).__name__,
        message=str(error),
        record=None,
    )

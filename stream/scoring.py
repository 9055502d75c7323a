"""Hop 5. Decoded batches through the model: rules, LSTM steps, one score a touched user; then the updates and states to write.

Batches of several partitions share one call of the model. `score` runs in the model thread, `write` beside it; `process` is both
for one batch, and `rank` calls it, so offline and live scores are the same.
"""

from __future__ import annotations

import dataclasses
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from models.predict import Scores
from stream.asking import Asking, Predictor, UpdateSize, with_extras
from stream.budget import BudgetPolicy
from stream.errors import ModelError
from stream.events import EventBatch, Reject
from stream.state import Arena, encode_rows
from stream.step import Part, Plan, fold, plan
from stream.updates import UpdateBuilder, ensure_publishable

Array = np.ndarray[Any, Any]


@dataclass(frozen=True, slots=True)
class Scored:
    """Users of one partition after a call of the model: all that their updates and states are made from."""

    source: tuple[str, int]  # topic and partition
    users: list[bytes]  # [U]
    rows: Array  # row dtype [U]
    arena: Arena
    places: Array  # int64 [U] of the rows in it
    scores: Scores
    by_model: Array  # bool [U]; False: the scoring budget left the user to the LSTM
    published_at_ms: int
    popularity_as_of: int | None = None  # time of the snapshot that they were scored with


@dataclass(slots=True)
class Outcome:
    """What one batch leads to; nothing of it is visible yet. Lists run parallel, a user may stand in them twice."""

    scored: list[Scored] = field(default_factory=list)  # empty once written
    users: list[bytes] = field(default_factory=list)
    updates: list[bytes] = field(default_factory=list)
    states: list[bytes] = field(default_factory=list)
    rejects: list[Reject] = field(default_factory=list)
    applied: int = 0
    replayed: int = 0
    repeated: int = 0
    step_seconds: float = 0.0  # of a call that served several batches, each has its share by users
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
        """Apply one batch, and what it leads to as it will be written."""
        (outcome,) = self.score([(batch, arena)], published_at_ms)
        self.write(outcome)
        return outcome

    def score(self, parts: Sequence[Part], published_at_ms: int) -> list[Outcome]:
        """Apply batches of different partitions to their arenas; an outcome each.

        An event on which the model fails becomes a reject; its neighbours do not.
        """
        outcomes = [Outcome(rejects=list(batch.rejects)) for batch, _ in parts]
        for outcome, more in zip(outcomes, self._score(parts, published_at_ms), strict=True):
            outcome.add(more)
        return outcomes

    def write(self, outcome: Outcome) -> None:
        """Fill in the updates and states of an outcome."""
        for scored in outcome.scored:
            rows = scored.rows
            updates = self._builder.build(
                scored.users,
                scored.scores,
                source=scored.source,
                offsets=rows["offset"],
                times_ms=rows["time_ms"],
                counts=rows["count"],
                recent=rows["recent"],
                published_at_ms=scored.published_at_ms,
            )
            outcome.users += scored.users
            outcome.updates += with_extras(
                updates, scored.scores, self._phrases, scored.by_model, scored.popularity_as_of
            )
            outcome.states += encode_rows(rows)
        outcome.scored = []

    def _score(self, parts: Sequence[Part], published_at_ms: int) -> list[Outcome]:
        if not any(batch.users for batch, _ in parts):
            return [Outcome() for _ in parts]
        try:
            return self._apply(plan(parts), parts, published_at_ms)
        except (ArithmeticError, ValueError, IndexError, RuntimeError, ModelError) as error:
            if len(parts) > 1:
                return [outcome for part in parts for outcome in self._score([part], published_at_ms)]
            batch, arena = parts[0]
            if len(batch.users) == 1:
                if _of_memory(error):
                    raise MemoryError(str(error)) from error
                return [Outcome(rejects=[_reject(batch, error)])]
        middle = len(batch.users) // 2
        (outcome,) = self._score([(_part(batch, slice(None, middle)), arena)], published_at_ms)
        outcome.add(*self._score([(_part(batch, slice(middle, None)), arena)], published_at_ms))
        return [outcome]

    def _apply(self, work: Plan, parts: Sequence[Part], published_at_ms: int) -> list[Outcome]:
        outcomes = [
            Outcome(applied=applied, replayed=replayed, repeated=repeated)
            for applied, replayed, repeated in zip(work.applied, work.replayed, work.repeated, strict=True)
        ]
        if not work.users:
            return outcomes
        started = time.perf_counter()
        memory = self.predictor.step(work.states["memory"], work.events, work.sizes, work.states["time_ms"])
        if not np.isfinite(memory).all():
            raise ModelError("the model's memory of a user is not finite after this event")
        rows = fold(work, memory)
        stepped = time.perf_counter()
        self._failpoint("mid_batch")
        scores, by_model = self._ask.score(work.users, memory, rows["recent"], self.size, published_at_ms)
        popularity_as_of = getattr(self.predictor, "popularity_as_of", None)  # set in this thread, so not since
        ensure_publishable(scores)
        seconds = (stepped - started, time.perf_counter() - stepped)
        for number, ((batch, arena), outcome) in enumerate(zip(parts, outcomes, strict=True)):
            mine = np.flatnonzero(work.part == number) if len(parts) > 1 else slice(None)
            users = work.users if len(parts) == 1 else [work.users[place] for place in mine.tolist()]  # type: ignore[union-attr]
            if not users:
                continue
            scored = Scored(
                source=(batch.topic, batch.partition),
                users=users,
                rows=rows[mine],
                arena=arena,
                places=work.rows[mine],
                scores=scores.of(mine),
                by_model=by_model[mine],
                published_at_ms=published_at_ms,
                popularity_as_of=popularity_as_of,
            )
            arena.put(scored.places, scored.rows)
            share = len(users) / len(work.users)
            outcome.scored = [scored]
            outcome.step_seconds, outcome.score_seconds = (each * share for each in seconds)
            outcome.level, outcome.lstm_only = self._ask.level, int((~scored.by_model).sum())
        return outcomes


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


def _of_memory(error: Exception) -> bool:
    """Whether PyTorch got no memory, which says nothing about an event."""
    return isinstance(error, RuntimeError) and any(word in str(error) for word in ("memory", "ALLOC_FAILED"))


def _reject(batch: EventBatch, error: Exception) -> Reject:
    return Reject(
        offset=int(batch.offsets[0]),
        reason="unprocessable",
        error=type(error).__name__,
        message=str(error),
        record=None,
    )

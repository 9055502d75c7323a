"""Takes batches through the model: a step an event, a score a touched user (hop 5).

Batches of several partitions share one call of the model. `score` runs in the model thread, `write`
in the packing thread; `process` is both for one batch, and `rank` calls it, so offline and live
scores are the same.
"""

from __future__ import annotations

import dataclasses
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from itertools import zip_longest
from typing import Any

import numpy as np

from models.contract import Predictor, Scores
from stream.contracts.control import PlacedControl
from stream.contracts.event_batch import MOST_EVENTS, EventBatch, halves, rounds
from stream.contracts.faults import Reject
from stream.contracts.state_record import encode_rows
from stream.contracts.update import UpdateSize, UpdateWriter, ensure_publishable
from stream.errors import ModelError
from stream.pipeline.state import Arena
from stream.pipeline.step import PartitionBatch, Plan, plan, rows_after
from stream.pipeline.updates import Scored
from stream.policies.erasure import Cleared, Remembering, carry_out, waves
from stream.policies.score_budget import BudgetedPredictor, BudgetPolicy

Array = np.ndarray[Any, Any]


@dataclass(slots=True)
class Outcome:
    """Holds what one batch leads to; nothing of it is visible yet.

    Lists run parallel, and a user may stand in them twice.
    """

    scored: list[Scored | Cleared] = field(default_factory=list)  # empty once written
    users: list[bytes] = field(default_factory=list)
    updates: list[bytes | None] = field(default_factory=list)  # None: the profile goes
    states: list[bytes | None] = field(default_factory=list)  # None: a tombstone
    rejects: list[Reject] = field(default_factory=list)
    controls: list[str] = field(default_factory=list)  # what was carried out
    applied: int = 0
    replayed: int = 0
    repeated: int = 0
    erased: int = 0  # events that came late, after their user was erased
    suppressed: int = 0
    step_seconds: float = 0.0  # of a call that served several batches, each has its share by users
    score_seconds: float = 0.0
    lstm_only: int = 0  # updates that the scoring budget left to the LSTM
    level: int = 0  # of the scoring budget

    def add(self, other: Outcome) -> None:
        """Appends what a later stretch of the same batch leads to."""
        for each in dataclasses.fields(self):
            mine, theirs = getattr(self, each.name), getattr(other, each.name)
            if isinstance(mine, list):
                mine.extend(theirs)
            elif each.name == "level":
                self.level = max(mine, theirs)
            else:
                setattr(self, each.name, mine + theirs)


class Scoring:
    """Calls the model, and keeps a batch whole when the model fails on one of its events."""

    def __init__(
        self,
        predictor: Predictor,
        size: UpdateSize,
        failpoint: Callable[[str], None] = lambda name: None,
        budget: BudgetPolicy | None = None,
        rules: Remembering | None = None,
        most_events: int = MOST_EVENTS,
    ) -> None:
        self.predictor = predictor
        self._rules, self._most_events = rules or Remembering(), most_events
        self.size = size
        self._wanted = dataclasses.asdict(size)
        self._budgeted = BudgetedPredictor(predictor, budget)
        self._failpoint = failpoint
        self._writer = UpdateWriter(predictor.info, getattr(predictor, "phrases", ()))

    def process(self, batch: EventBatch, arena: Arena, published_at_ms: int) -> Outcome:
        """Applies one batch and returns what it leads to, as it will be written."""
        (outcome,) = self.score([(batch, arena)], published_at_ms)
        self.write(outcome)
        return outcome

    def score(self, batches: Sequence[PartitionBatch], published_at_ms: int) -> list[Outcome]:
        """Applies batches of different partitions to their arenas and returns an outcome of each.

        An event on which the model fails becomes a reject; its neighbours do not.
        """
        outcomes = [Outcome(rejects=list(batch.rejects)) for batch, _ in batches]
        cut = [waves(batch, arena, self._rules) for batch, arena in batches]
        for found in zip_longest(*cut):  # once, unless there are controls
            left = [number for number, wave in enumerate(found) if wave is not None]
            given = [(found[number][0], batches[number][1]) for number in left]
            for places, pieces in rounds(given, self._most_events):
                for place, outcome in zip(
                    places, self._score(pieces, published_at_ms), strict=True
                ):
                    outcomes[left[place]].add(outcome)
            for each in (number for number in left if found[number][1]):
                outcomes[each].add(self._obey(*batches[each], found[each][1], published_at_ms))
        return outcomes

    def write(self, outcome: Outcome) -> None:
        """Fills in the updates and states of an outcome."""
        for scored in outcome.scored:
            outcome.users += scored.users
            if isinstance(scored, Cleared):
                outcome.updates += [None] * len(scored.users)
                outcome.states += scored.states()
                self._budgeted.forget(scored.users)
            else:
                outcome.updates += self._writer.write(scored)
                outcome.states += encode_rows(scored.rows)
        outcome.scored = []

    def _score(self, batches: Sequence[PartitionBatch], published_at_ms: int) -> list[Outcome]:
        """Scores all together, or halves until a record that is to blame is alone."""
        if not any(batch.users for batch, _ in batches):
            return [Outcome() for _ in batches]
        try:
            return self._apply(plan(batches, self._rules), batches, published_at_ms)
        except (ArithmeticError, ValueError, IndexError, RuntimeError, ModelError) as error:
            if len(batches) > 1:
                return [each for one in batches for each in self._score([one], published_at_ms)]
            batch, arena = batches[0]
            if batch.offsets[0] == batch.offsets[-1]:  # one record
                if _out_of_memory(error):
                    raise MemoryError(str(error)) from error
                return [Outcome(rejects=[_reject(batch, error)])]
        first, second = halves(batch)
        (outcome,) = self._score([(first, arena)], published_at_ms)
        outcome.add(*self._score([(second, arena)], published_at_ms))
        return [outcome]

    def _apply(
        self, work: Plan, batches: Sequence[PartitionBatch], published_at_ms: int
    ) -> list[Outcome]:
        names = ("applied", "replayed", "repeated", "erased", "suppressed")
        results = zip(*(getattr(work, name) for name in names), strict=True)
        outcomes = [Outcome(**dict(zip(names, each, strict=True))) for each in results]
        if not work.users:
            return outcomes

        # the LSTM takes a step for each event; nothing of the worker's memory has changed so far
        started, states = time.perf_counter(), work.states
        memory = self.predictor.step(states["memory"], work.events, work.sizes, states["time_ms"])
        if not np.isfinite(memory).all():
            raise ModelError("the model's memory of a user is not finite after this event")
        rows = rows_after(work, memory)
        stepped = time.perf_counter()
        self._failpoint("mid_batch")

        # each touched user is scored once, whatever the number of its events
        scores, by_model = self._ask(work.users, rows, published_at_ms)
        seconds = (stepped - started, time.perf_counter() - stepped)

        # what was computed together is split again by partition, and only now do arenas change
        for number, ((batch, arena), outcome) in enumerate(zip(batches, outcomes, strict=True)):
            mine: Array | slice = slice(None)
            users = work.users
            if len(batches) > 1:
                mine = np.flatnonzero(work.batch == number)
                users = [work.users[place] for place in mine.tolist()]
            if not users:
                continue
            scored = Scored(
                source=(batch.topic, batch.partition),
                users=users,
                rows=rows[mine],
                arena=arena.naming,
                places=work.rows[mine],
                scores=scores.of(mine),
                by_model=by_model[mine],
                published_at_ms=published_at_ms,
                popularity_as_of=self._popularity_as_of,
            )
            arena.put(scored.places, scored.rows)
            outcome.scored, share = [scored], len(users) / len(work.users)
            outcome.step_seconds, outcome.score_seconds = (each * share for each in seconds)
            outcome.level, outcome.lstm_only = self._budgeted.level, int((~scored.by_model).sum())
        return outcomes

    def _obey(
        self, batch: EventBatch, arena: Arena, controls: Sequence[PlacedControl], now_ms: int
    ) -> Outcome:
        """Carries out controls of different users and returns what they lead to."""
        done = carry_out(batch, arena, controls, self._rules, self.predictor.rebuild)
        outcome = Outcome(scored=list(done.cleared), controls=done.controls)
        if done.left is not None:
            users, rows, places = done.left
            scores, by_model = self._ask(users, rows, now_ms)
            outcome.scored.append(
                Scored(
                    source=(batch.topic, batch.partition),
                    users=users,
                    rows=rows,
                    arena=arena.naming,
                    places=places,
                    scores=scores,
                    by_model=by_model,
                    published_at_ms=now_ms,
                    popularity_as_of=self._popularity_as_of,
                )
            )
        return outcome

    @property
    def _popularity_as_of(self) -> int | None:
        return getattr(self.predictor, "popularity_as_of", None)  # set in this thread

    def _ask(self, users: list[bytes], rows: Array, now_ms: int) -> tuple[Scores, Array]:
        """Returns the scores of users, and which of them the model itself made, bool [U]."""
        memory, recent = rows["memory"], rows["recent"]
        scores, by_model = self._budgeted.score(users, memory, recent, self._wanted, now_ms)
        ensure_publishable(scores)
        return scores, by_model


def _out_of_memory(error: Exception) -> bool:
    """Returns whether PyTorch got no memory, which says nothing about an event."""
    said = str(error) if isinstance(error, RuntimeError) else ""
    return "memory" in said or "ALLOC_FAILED" in said


def _reject(batch: EventBatch, error: Exception) -> Reject:
    return Reject(int(batch.offsets[0]), "unprocessable", type(error).__name__, str(error), None)

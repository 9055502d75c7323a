"""Decides how much of a batch a costly language model may score when it cannot follow the events.

Every touched user gets an update, whatever happens. What gives way is which model made it, in this
order:

    0 full            the language model scores every touched user, with time to spare
    1 larger batches  the same, but a batch takes over half of its time: events wait, the next batch
                      holds more of each user's, and a user is still scored once a batch
    2 spaced          a user whom it scored within the last `spacing_s` seconds gets scores of the
                      LSTM alone
    3 lstm            only those it has not scored for longest still get its scores, as many as the
                      time allows

Scores of the LSTM alone are marked in the update. So the time of a batch, the lag and the memory
stay bounded. U: users of a batch.
"""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, fields
from typing import Any, Final

import numpy as np

from models.contract import Predictor, Scores
from stream.errors import SettingsError

Array = np.ndarray[Any, Any]

LEVELS: Final = ("full", "larger_batches", "spaced", "lstm")

PROBE: Final = 32
"""Users of the first batch, when nothing is known of the cost yet."""

REMEMBERED: Final = 100_000
"""Users whose last scoring is kept, some 20 MB; one that is forgotten counts as never scored."""

NEVER: Final = -(1 << 60)

NEWEST: Final = 0.3
"""Weight of the last batch in the running cost a user."""


@dataclass(frozen=True)
class BudgetPolicy:
    """Holds how much time the language model may take, and how often it may score a user."""

    batch_s: float = 5.0  # of language-model time a batch; well under the stall timeout
    spacing_s: float = 30.0

    def __post_init__(self) -> None:
        if self.batch_s <= 0 or self.spacing_s < 0:
            raise SettingsError("score_budget_s must be above 0 and score_spacing_s not below")


class Budget:
    """Applies the policy: remembers what a user has cost lately, and when each was scored."""

    def __init__(self, policy: BudgetPolicy) -> None:
        self._policy = policy
        self._cost_s: float | None = None
        self._scored_ms: dict[bytes, int] = {}
        self._leaving: deque[bytes] = deque()
        self.level = 0

    def select(self, users: Sequence[bytes], now_ms: int) -> Array:
        """Returns whom the language model scores, bool [U], and sets `level`."""
        while self._leaving:
            self._scored_ms.pop(self._leaving.popleft(), None)
        affordable = (
            PROBE if self._cost_s is None else max(1, int(self._policy.batch_s / self._cost_s))
        )
        if len(users) <= affordable:
            self.level = int(len(users) > affordable / 2)
            return np.ones(len(users), bool)
        scored = np.array([self._scored_ms.get(user, NEVER) for user in users], np.int64)
        due = now_ms - scored >= self._policy.spacing_s * 1000
        self.level = 2
        if due.sum() > affordable:
            self.level = 3
            longest = np.argsort(scored, kind="stable")[:affordable]
            due = np.zeros(len(users), bool)
            due[longest] = True
        return due

    def spent(self, users: Sequence[bytes], seconds: float, now_ms: int) -> None:
        """Notes that the language model scored these users in that time."""
        if not users:
            return
        cost = seconds / len(users)
        self._cost_s = cost if self._cost_s is None else NEWEST * cost + (1 - NEWEST) * self._cost_s
        for user in users:
            self._scored_ms.pop(user, None)
            self._scored_ms[user] = now_ms
        while len(self._scored_ms) > REMEMBERED:
            oldest = next(iter(self._scored_ms))  # they stand in the order of scoring
            del self._scored_ms[oldest]

    def forget(self, users: Sequence[bytes]) -> None:
        """Forgets, before the next batch, when these users were scored; any thread may call it."""
        self._leaving.extend(users)

    @property
    def remembered(self) -> int:
        """Returns of how many users the last scoring is kept."""
        return len(self._scored_ms)


class BudgetedPredictor:
    """Asks a model for scores, and within a budget its cheaper form where it has one.

    Only a language model of the user's own has a cheaper form.
    """

    def __init__(self, predictor: Predictor, policy: BudgetPolicy | None) -> None:
        self._predictor = predictor
        self._cheaper: Predictor | None = getattr(predictor, "cheaper", None)
        self._budget = Budget(policy) if policy is not None and self._cheaper is not None else None

    @property
    def level(self) -> int:
        """Returns the level of the budget in the last batch."""
        return self._budget.level if self._budget is not None else 0

    def forget(self, users: Sequence[bytes]) -> None:
        """Forgets what it remembers of users."""
        if self._budget is not None:
            self._budget.forget(users)

    def score(
        self,
        users: Sequence[bytes],
        memory: Array,
        recent: Array,
        wanted: Mapping[str, int],
        now_ms: int,
    ) -> tuple[Scores, Array]:
        """Returns the scores of all users, and which of them the model itself made, bool [U].

        wanted: how many interests, items and because (models.contract.Predictor.score).
        """
        if self._budget is None or self._cheaper is None:
            return self._predictor.score(memory, recent, **wanted), np.ones(len(users), bool)
        chosen = self._budget.select(users, now_ms)
        made: list[tuple[Array, Scores]] = []
        if chosen.any():
            started = time.perf_counter()
            made.append((chosen, self._predictor.score(memory[chosen], recent[chosen], **wanted)))
            mine = [users[place] for place in np.flatnonzero(chosen).tolist()]
            self._budget.spent(mine, time.perf_counter() - started, now_ms)
        if not chosen.all():
            made.append((~chosen, self._cheaper.score(memory[~chosen], recent[~chosen], **wanted)))
        return _in_order(made), chosen


def _in_order(made: list[tuple[Array, Scores]]) -> Scores:
    """Returns the rows of several scores in the order of the users."""
    if len(made) == 1:
        return made[0][1]
    columns = []
    for each in fields(Scores):
        first = getattr(made[0][1], each.name)
        column = np.empty((len(made[0][0]), *first.shape[1:]), first.dtype)
        for mask, scores in made:
            column[mask] = getattr(scores, each.name)
        columns.append(column)
    return Scores(*columns)

"""How much of a batch a costly language model may score, when it cannot follow the events. Pure: time is an argument.

Every touched user gets an update, whatever happens; what gives way is which model made it, in this order:

    0 full            the language model scores every touched user, with time to spare
    1 larger batches  the same, but a batch takes over half of its time: events wait, the next batch holds more of each user's, and a
                      user is still scored once a batch
    2 spaced          a user whom it scored within the last `spacing_s` seconds gets scores of the LSTM alone
    3 lstm            only those it has not scored for longest still get its scores, as many as the time allows

Scores of the LSTM alone are marked in the update. So the time of a batch, the lag and the memory stay bounded. U: users of a batch.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Final

import numpy as np

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
    """What is allowed."""

    batch_s: float = 5.0  # of language-model time a batch; well under the stall timeout
    spacing_s: float = 30.0

    def __post_init__(self) -> None:
        if self.batch_s <= 0 or self.spacing_s < 0:
            raise SettingsError("score_budget_s must be above 0 and score_spacing_s not below")


class Budget:
    """The policy, what a user has cost lately, and when each was scored; memory is bounded by what fits the time."""

    def __init__(self, policy: BudgetPolicy) -> None:
        self._policy = policy
        self._cost_s: float | None = None
        self._scored_ms: dict[bytes, int] = {}
        self.level = 0

    def choose(self, users: Sequence[bytes], now_ms: int) -> Array:
        """bool [U]: whom the language model scores; sets `level`."""
        affordable = PROBE if self._cost_s is None else max(1, int(self._policy.batch_s / self._cost_s))
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
        """The language model scored these users in that time."""
        if not users:
            return
        cost = seconds / len(users)
        self._cost_s = cost if self._cost_s is None else NEWEST * cost + (1 - NEWEST) * self._cost_s
        for user in users:
            self._scored_ms.pop(user, None)
            self._scored_ms[user] = now_ms
        while len(self._scored_ms) > REMEMBERED:
            del self._scored_ms[next(iter(self._scored_ms))]  # in the order of scoring, so the oldest

    @property
    def remembered(self) -> int:
        """Users whose last scoring is kept."""
        return len(self._scored_ms)

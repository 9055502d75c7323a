"""Says what a rehearsal of a training holds back: the last tenth of the events, as time goes by.

A worker meets events that come after everything that its model has learned. So a rehearsal learns
what came before a moment and is asked for what came then. Where events have no times it is asked
for the last tenth of each user's history instead.

Glossary: N events of a data set, U users, T cases.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Final

import numpy as np
from torch import Tensor

from models.data.prepare import Dataset
from models.data.splits import TIME_SPLIT_SHARE, Cases
from models.scorers.recent_popularity import LivePopularity, log_recent_shares
from models.scorers.scorer import Histories
from models.scorers.titles import titles_that_say

Array = np.ndarray[Any, Any]

MOST_CASES: Final = 10_000
"""The standard error of how often the first interest happens is then at most 0.005."""
LEAST_CASES: Final = 1_000
"""Of fewer it is more than 0.015, and a gap of 0.02 cannot be told from chance."""
LEAST_USERS: Final = 50
"""Events of one user are alike: a few users do not speak for the others."""


@dataclass(frozen=True)
class LaterEvents:
    """Holds what is learned in a rehearsal, and what is asked for afterwards."""

    dataset: Dataset
    rows: Array  # int64 [N] catalogue rows of its events
    learned: Array  # bool [N]
    ends: Array  # int64 [U] place of each user's first event that is not learned
    cut_ms: int | None  # the moment after which nothing is learned; None: events have no times
    cases: Cases

    @property
    def why_not(self) -> str:
        """Returns why these events cannot calibrate; empty if they can."""
        cases, users = len(self.cases), len(np.unique(self.cases.user))
        if cases < LEAST_CASES:
            return f"{cases:,} later events are too few, {LEAST_CASES:,} are needed"
        if users < LEAST_USERS:
            return f"the later events are of {users} users, {LEAST_USERS} are needed"
        if int(self.learned.sum()) < LEAST_CASES:
            return "too few events come before the later ones"
        return ""

    def histories(self, least_users: int) -> Histories:
        """Returns what scorers learn in a rehearsal."""
        counts = self.ends - self.dataset.user_start[:-1]
        start = np.concatenate(([0], np.cumsum(counts))).astype(np.int64)
        titles = titles_that_say(self.dataset.titles, self.dataset.item_ids)
        return Histories(
            self.rows[self.learned], start, len(self.dataset.item_ids), least_users, titles
        )

    def log_recent(self, log_popularity: Tensor) -> Tensor:
        """Returns the recent popularity at the end of a rehearsal, log shares [V + 1].

        log_popularity: that of all it learned, which it is where events have no times.
        """
        if self.cut_ms is None:
            return log_popularity.clone()
        times, items = self.dataset.events["time_ms"], len(self.dataset.item_ids)
        return log_recent_shares(self.rows, times, self.cut_ms, items)

    def live_popularity(self, log_popularity: Tensor) -> LivePopularity:
        """Returns a live count of all events, those that are not learned too."""
        return LivePopularity(self.rows, self.dataset.events["time_ms"], log_popularity)


def later_events(dataset: Dataset, rows: Array, seed: int) -> LaterEvents:
    """Returns what a rehearsal of a training on a data set holds back; `seed` draws the cases.

    rows: int64 [N] catalogue rows of the events; those of no item are not asked for.
    """
    start, end = dataset.user_start[:-1], dataset.user_start[1:]
    times, place = dataset.events["time_ms"], np.arange(len(rows))
    cut_ms = None
    if dataset.report.get("events_without_time"):
        ends = end - np.ceil((1 - TIME_SPLIT_SHARE) * (end - start)).astype(np.int64)
    else:
        cut_ms = int(np.quantile(times, TIME_SPLIT_SHARE, method="lower"))
        # the first that is not before the moment, also where a file's own order was kept
        late = np.where(times >= cut_ms, place, len(rows))
        ends = np.minimum(np.minimum.reduceat(late, start), end)
    owner = np.repeat(np.arange(len(start)), end - start)
    learned = place < ends[owner]
    asked = np.flatnonzero(~learned & (rows > 0))
    if len(asked) > MOST_CASES:
        drawn = np.random.default_rng(seed).choice(len(asked), MOST_CASES, replace=False)
        asked = asked[np.sort(drawn)]
    user = owner[asked]
    cases = Cases(asked, user, asked - start[user], rows[asked].astype(np.int32) - 1, times[asked])
    return LaterEvents(dataset, rows, learned, ends, cut_ms, cases)

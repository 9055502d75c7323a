"""Changes rows of states in place: makes them blank, puts events in front, takes events out.

A row is of `state_record.row_dtype`. Pure. U: users.
"""

from __future__ import annotations

from typing import Any, Final

import numpy as np

from models.compact import COMPACT, RECENT

Array = np.ndarray[Any, Any]

_OPAQUE: Final = np.dtype((np.void, COMPACT.itemsize))  # moved as one piece, not field by field


class Naming:
    """Stands for which place of an arena is whose, until places change."""


def blank(rows: Array) -> None:
    """Makes rows [U] hold no events, as those of users who were never seen.

    Where the last event or control lay, and what is known of erasures, stays.
    """
    for name in ("n_recent", "count", "digest", "memory"):
        rows[name] = 0
    rows["time_ms"] = -1
    rows["recent"] = np.zeros((), COMPACT)


def push_recent(recent: Array, events: Array, counts: Array, starts: Array) -> None:
    """Puts each user's new events before the ones held, newest first, in recent COMPACT [U, 32].

    events: COMPACT [N] round by round; counts: int64 [U] of each user, never growing; starts: where
    each round begins. Users with equally many new events lie side by side, so whole columns move at
    once.
    """
    recent, events = recent.view(_OPAQUE), events.view(_OPAQUE)
    most, first = np.unique(-counts, return_index=True)
    edges = [*first.tolist(), len(counts)]
    for count, low, high in zip((-most).tolist(), edges, edges[1:], strict=False):
        if count < RECENT:
            recent[low:high, count:] = recent[low:high, : RECENT - count].copy()
        for back in range(min(count, RECENT)):  # 0: the newest
            start = int(starts[count - 1 - back])
            recent[low:high, back] = events[start + low : start + high]


def drop_recent(row: Array, gone: Array) -> None:
    """Takes recent events out of one row [1], those that `gone` (bool [32]) names.

    The others keep their order; the row's last time is that of the newest one left.
    """
    kept = row["recent"][0][: int(row["n_recent"][0])]
    kept = kept[~gone[: len(kept)]]
    row["recent"], row["n_recent"] = np.zeros((), COMPACT), len(kept)
    row["recent"][0, : len(kept)] = kept
    row["time_ms"] = kept["time_ms"][0] if len(kept) else -1

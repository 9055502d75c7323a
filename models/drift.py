"""How fast a changed interest is noticed, and how often one is seen that is not there. Pure functions of arrays.

Of simulated users the true interest after each event is known. A tracker names one interest after each event: the most
probable one. Glossary: N events of all users, user after user; C interests.

- reaction: events from a switch (its own first event is 1) until the tracker names the new interest for the first time.
  A switch that the next one overtakes counts as never noticed.
- false switch: the tracker changes to an interest that is not the true one; counted per 100 events.

A tracker that changes its mind with every event reacts at once and is wrong all the time, so trackers are compared at an
equal rate of false switches: the best decay counter is the fastest of those that are wrong no more often than the model.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Final

import numpy as np

Array = np.ndarray[Any, Any]

HALF_LIVES: Final = (0.5, 1, 1.5, 2, 3, 4, 6, 8, 12, 16, 24, 32)
NEVER: Final = np.inf


@dataclass(frozen=True)
class Drift:
    """What a tracker did on some users."""

    reactions: Array  # float [switches], NEVER where the next switch came first
    false_per_100: float
    right: float  # share of events after which the true interest is named

    def summary(self) -> dict[str, float | None]:
        """Median and 90th percentile of the reaction in events (None: never), false switches, share named right."""
        return {
            "switches": len(self.reactions),
            "median": _finite(np.quantile(self.reactions, 0.5, method="higher")),
            "p90": _finite(np.quantile(self.reactions, 0.9, method="higher")),
            "noticed": float(np.isfinite(self.reactions).mean()),
            "false per 100": self.false_per_100,
            "right": self.right,
        }


def drift(named: Array, true: Array, user: Array) -> Drift:
    """named, true: int [N] interests after each event; user: int [N]. The first interest of a user is no switch."""
    start = np.ones(len(user), bool)
    start[1:] = user[1:] != user[:-1]
    switch = np.flatnonzero((true[1:] != true[:-1]) & ~start[1:]) + 1
    ends = np.sort(np.concatenate((switch, np.flatnonzero(start), [len(user)])))
    ends = ends[np.searchsorted(ends, switch, side="right")]  # where the next switch, or the next user, begins
    right = named == true
    next_right = np.full(len(user) + 1, len(user) + 1)
    for place in range(len(user) - 1, -1, -1):
        next_right[place] = place if right[place] else next_right[place + 1]
    when = next_right[switch]
    reactions = np.where(when < ends, when - switch + 1.0, NEVER)
    changed = np.zeros(len(user), bool)
    changed[1:] = (named[1:] != named[:-1]) & ~start[1:]
    return Drift(reactions, 100 * float((changed & ~right).sum()) / max(len(user), 1), float(right.mean()))


def counters(touched: Array, user: Array, half_life: float) -> Array:
    """float32 [N, C]: decayed counts of what a user's events touched, bool [N, C], after each event."""
    keep = 0.5 ** (1 / half_life)
    found = np.zeros(touched.shape, np.float32)
    for place in range(len(user)):
        before = found[place - 1] if place and user[place] == user[place - 1] else 0.0
        found[place] = keep * before + touched[place]
    return found


def last_seen(score: Array, touched: Array) -> Array:
    """int [N]: the interest with the highest score [N, C]; among equals one that the event itself touched."""
    return np.asarray((score + 1e-6 * touched).argmax(1))


def best_counter(found: dict[float, Drift], model: Drift) -> float | None:
    """Half-life of the counter that reacts fastest (90th percentile, then mean of what was noticed) without more false switches."""
    allowed = {half_life: each for half_life, each in found.items() if each.false_per_100 <= model.false_per_100}

    def slowness(half_life: float) -> tuple[float, float, float]:
        reactions = allowed[half_life].reactions
        some = reactions[np.isfinite(reactions)]
        median, p90 = (float(np.quantile(reactions, q, method="higher")) for q in (0.5, 0.9))
        return median, p90, float(some.mean()) if len(some) else NEVER

    return min(allowed, key=slowness, default=None)


def _finite(value: float) -> float | None:
    return float(value) if np.isfinite(value) else None

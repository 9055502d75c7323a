"""Measures how fast a changed interest is noticed, and how often one is seen that is not there.

Of simulated users the true interest after each event is known. A tracker names one interest after
each event: the most probable one.

- reaction: events from a switch (its own first event is 1) until the tracker names the new interest
  for the first time. A switch that the next one overtakes counts as never noticed.
- returning: a switch to an interest that was true of the user before.
- false switch: the tracker changes to an interest that is not the true one; counted per 100 events.

A tracker that changes its mind with every event reacts at once and is wrong all the time, so
trackers are compared at an equal rate of false switches: the best tracker is the fastest of those
that are wrong no more often than the model. All functions here are pure functions of arrays.

Glossary: N events of all users, user after user; C interests.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Final

import numpy as np

Array = np.ndarray[Any, Any]

COUNTER_HALF_LIVES: Final = (0.5, 1, 1.5, 2, 2.5, 3, 4, 6, 8, 12, 16, 24, 32)
"""In events, of the decayed counters that a model is compared with."""
COUNTER_WINDOWS: Final = (1, 3, 5, 10, 20, 50)
"""In events, of the counters of a user's last events that a model is compared with."""
NEVER: Final = np.inf
WITHIN: Final = 20
"""The longest reaction, in events, of which a summary has the share that was as fast."""


@dataclass(frozen=True)
class TrackerDrift:
    """Holds how a tracker did on some users."""

    reactions: Array  # float [switches], NEVER where the next switch came first
    returning: Array  # bool [switches]
    false_per_100: float
    right: float  # share of events after which the true interest is named

    def summary(self) -> dict[str, Any]:
        """Returns the figures of a report, as a JSON object.

        They are the median and 90th percentile of the reaction in events (None: never, or no such
        switch), false switches, and the share named right. `noticed within`: share of the switches
        that were noticed within 1, 2, .. WITHIN events.
        """
        return {
            "switches": len(self.reactions),
            "median": _quantile(self.reactions, 0.5),
            "p90": _quantile(self.reactions, 0.9),
            "returning median": _quantile(self.reactions[self.returning], 0.5),
            "returning p90": _quantile(self.reactions[self.returning], 0.9),
            "noticed": float(np.isfinite(self.reactions).mean()),
            "noticed within": [
                float((self.reactions <= events).mean()) for events in range(1, WITHIN + 1)
            ],
            "false per 100": self.false_per_100,
            "right": self.right,
        }


def measure_tracker(named: Array, true: Array, user: Array) -> TrackerDrift:
    """Returns how a tracker did that named one interest after each event.

    named, true: int [N] interests after each event; user: int [N]. The first interest of a user is
    no switch.
    """
    # Switches, and where the next switch, or the next user, begins.
    start = np.ones(len(user), bool)
    start[1:] = user[1:] != user[:-1]
    switch = np.flatnonzero((true[1:] != true[:-1]) & ~start[1:]) + 1
    ends = np.sort(np.concatenate((switch, np.flatnonzero(start), [len(user)])))
    ends = ends[np.searchsorted(ends, switch, side="right")]

    # The next event after each at which the tracker is right; it notices a switch if that comes
    # before the end.
    right = named == true
    next_right = np.full(len(user) + 1, len(user) + 1)
    for place in range(len(user) - 1, -1, -1):
        next_right[place] = place if right[place] else next_right[place + 1]
    when = next_right[switch]
    reactions = np.where(when < ends, when - switch + 1.0, NEVER)

    # Changes of the tracker, of which those to another interest than the true one are false.
    changed = np.zeros(len(user), bool)
    changed[1:] = (named[1:] != named[:-1]) & ~start[1:]
    return TrackerDrift(
        reactions,
        _returning(true, user)[switch],
        100 * float((changed & ~right).sum()) / max(len(user), 1),
        float(right.mean()),
    )


def _returning(true: Array, user: Array) -> Array:
    """Returns whether the interest of each event was true of its user before, bool [N]."""
    _, first = np.unique(np.stack((user, true)), axis=1, return_index=True)
    found = np.ones(len(user), bool)
    found[first] = False
    return found


def decayed_counters(touched: Array, user: Array, half_life: float) -> Array:
    """Returns decayed counts of what a user's events touched, float32 [N, C], after each event.

    touched: bool [N, C] interests of each event.
    """
    keep = 0.5 ** (1 / half_life)
    found = np.zeros(touched.shape, np.float32)
    for place in range(len(user)):
        before = found[place - 1] if place and user[place] == user[place - 1] else 0.0
        found[place] = keep * before + touched[place]
    return found


def window_counts(touched: Array, user: Array, last: int) -> Array:
    """Returns how many of a user's last events touched each interest, int64 [N, C].

    touched: bool [N, C] interests of each event.
    """
    total = np.concatenate((np.zeros((1, touched.shape[1]), np.int64), touched.cumsum(0)))
    place = np.arange(len(user))
    begun = np.concatenate(([True], user[1:] != user[:-1]))
    start = np.maximum.accumulate(np.where(begun, place, 0))
    found: Array = total[place + 1] - total[np.maximum(start, place + 1 - last)]
    return found


@dataclass(frozen=True)
class SimulationRates:
    """Holds how often a simulation switches interests, for a filter that knows it."""

    switch: float  # chance that an event is the first of another interest
    true: float  # share of events about the interest that is true; the rest is about any


def filtered_beliefs(touched: Array, user: Array, rates: SimulationRates) -> Array:
    """Returns how probable it is that each interest is the true one after each event.

    It is float64 [N, C], from the forward pass of a hidden Markov model (Rabiner 1989, equations 19
    and 20); an event that touches nothing changes nothing but by the passing of time. The filter
    knows the rates of the simulation, which no tracker of real users does, but not that a user has
    a few interests of its own: it shows how fast a change can be named at all.
    """
    count = touched.shape[1]
    background = (1 - rates.true) / count
    likelihood = np.where(
        touched, rates.true / np.maximum(touched.sum(1, keepdims=True), 1) + background, background
    )
    likelihood[~touched.any(1)] = 1.0
    found = np.empty(touched.shape)
    for place in range(len(user)):
        if place and user[place] == user[place - 1]:
            before = found[place - 1]
            now = (1 - rates.switch) * before + rates.switch * (1 - before) / (count - 1)
        else:
            now = np.full(count, 1 / count)
        now = now * likelihood[place]
        found[place] = now / now.sum()
    return found


def most_probable(score: Array, touched: Array) -> Array:
    """Returns the interest with the highest score [N, C] after each event, int [N].

    Among equals it is one that the event itself touched.
    """
    return np.asarray((score + 1e-6 * touched).argmax(1))


def best_tracker(found: dict[str, TrackerDrift], model: TrackerDrift) -> str | None:
    """Returns the name of the fastest tracker that has no more false switches than the model.

    The fastest is the one with the lowest median reaction, then 90th percentile, then mean of what
    was noticed. None if every tracker has more false switches.
    """
    allowed = {
        name: each for name, each in found.items() if each.false_per_100 <= model.false_per_100
    }

    def slowness(name: str) -> tuple[float, float, float]:
        reactions = allowed[name].reactions
        some = reactions[np.isfinite(reactions)]
        median, p90 = (float(np.quantile(reactions, q, method="higher")) for q in (0.5, 0.9))
        return median, p90, float(some.mean()) if len(some) else NEVER

    return min(allowed, key=slowness, default=None)


def _quantile(reactions: Array, share: float) -> float | None:
    """Returns a quantile of reactions; None if it is NEVER, or if there are no reactions."""
    value = np.quantile(reactions, share, method="higher") if len(reactions) else NEVER
    return float(value) if np.isfinite(value) else None

"""Scores items by decayed co-occurrence: which items go with which, counted without any training.

It is cheap, and a floor that a network must beat or gain from. A pair that fewer than `least_users`
users met is left out. Train: for every ordered pair within
a window of 10, co[a][b] += 1 / distance, and half of that backwards. Score: sum over the last 15
events of 0.7^age * co[i][j] / sqrt(count_j + 1). Each item keeps its strongest neighbours only.

Glossary: U users, N events, V items (row 0: unknown), K neighbours an item.
"""

from __future__ import annotations

from typing import Any, Final, NamedTuple, Self

import numpy as np

from models.scorers.pair_table import (
    PART,
    WINDOW,
    PairScorer,
    distinct_users,
    most_kept,
    strongest,
)
from models.scorers.scorer import Histories

Array = np.ndarray[Any, Any]

LOOK_BACK: Final = 15
DECAY: Final = 0.7


class Cooccurrence(PairScorer):
    """Scores items by how often they were met near the user's recent ones."""

    name = "cooccurrence"
    label = "co-occurrence"
    tensors_prefix = "cooccurrence."
    start_weight = 0.3
    explained = 4
    decay = DECAY
    look_back = LOOK_BACK
    named = 192

    @classmethod
    def learn(cls, histories: Histories) -> Self:
        """Returns the scorer as counted in histories."""
        return cls.of(*learn(*histories.met))


class _Pairs(NamedTuple):
    """Holds P pairs of items: the key of (a, b) is a * (items + 1) + b; keys are sorted, unique."""

    keys: Array  # int64 [P]
    totals: Array  # float32 [P] summed weights
    users: Array  # int64 [P] different users who met both


def learn(
    rows: Array, user_start: Array, items: int, least_users: int = 1, most: int = 0
) -> tuple[Array, Array]:
    """Returns each item's strongest neighbours and their weights, [V + 1, K] each.

    rows: int [N] item rows, the events of user u at user_start[u] : user_start[u + 1]. Each item
    keeps its `most` strongest neighbours; 0: as many as its catalogue allows. Users are counted
    PART events at a time and the sums merged, so memory follows the pairs that exist, not the
    events.
    """
    # sums over all users, a part of them at a time
    found = _Pairs(np.zeros(0, np.int64), np.zeros(0, np.float32), np.zeros(0, np.int64))
    first = 0
    while first < len(user_start) - 1:
        last = max(
            int(np.searchsorted(user_start, user_start[first] + PART, side="right")) - 1, first + 1
        )
        part, starts = (
            rows[user_start[first] : user_start[last]],
            user_start[first : last + 1] - user_start[first],
        )
        found = _merged(found, _pairs(part, starts, items, least_users > 1))
        first = last
    # common items are divided down, so that they do not go with everything
    kept = found.users >= least_users
    keys, totals = found.keys[kept], found.totals[kept]
    item, other = keys // (items + 1), keys % (items + 1)
    counts = np.bincount(rows, minlength=items + 1)
    strength = totals / np.sqrt(counts[other] + 1.0)
    return strongest(item, other, strength, items, most or most_kept(items))


def _pairs(rows: Array, user_start: Array, items: int, count_users: bool) -> _Pairs:
    """Returns the pairs of some users; unless they are counted, each pair is of one user."""
    owner = np.repeat(np.arange(len(user_start) - 1), np.diff(user_start))
    pairs, weights, users = [], [], []
    for distance in range(1, WINDOW + 1):
        first, second = rows[:-distance], rows[distance:]
        good = (
            (owner[:-distance] == owner[distance:]) & (first > 0) & (second > 0) & (first != second)
        )
        ahead = first[good].astype(np.int64) * (items + 1) + second[good]
        back = second[good].astype(np.int64) * (items + 1) + first[good]
        pairs += [ahead, back]
        weights += [np.full(len(ahead), 1.0 / distance), np.full(len(back), 0.5 / distance)]
        users += [owner[:-distance][good]] * 2
    keys, places = np.unique(np.concatenate(pairs), return_inverse=True)
    totals = np.bincount(places, np.concatenate(weights), minlength=len(keys)).astype(np.float32)
    met = np.ones(len(keys), np.int64)
    if count_users:
        met = distinct_users(places, np.concatenate(users), len(keys))
    return _Pairs(keys, totals, met)


def _merged(first: _Pairs, second: _Pairs) -> _Pairs:
    """Returns the union of two tables with the sums of both, which are of different users."""
    if not len(first.keys):
        return second
    keys, places = np.unique(np.concatenate((first.keys, second.keys)), return_inverse=True)
    totals, users = (
        np.bincount(places, np.concatenate(both), minlength=len(keys))
        for both in ((first.totals, second.totals), (first.users, second.users))
    )
    return _Pairs(keys, totals.astype(np.float32), users.astype(np.int64))

"""Decayed co-occurrence: which items follow which. No training, cheap, and a floor that a network must beat or gain from.

Train: for every ordered pair within a window of 10, co[a][b] += 1 / distance, and half of that backwards. Score: sum over the last
15 events of 0.7^age * co[i][j] / sqrt(count_j + 1). Each item keeps its strongest neighbours only.

Glossary: U users, N events, V items (row 0: unknown).
"""

from __future__ import annotations

from typing import Any, Final

import numpy as np

from models.pair_tables import PairTable, most_kept, strongest

Array = np.ndarray[Any, Any]

WINDOW: Final = 10
LOOK_BACK: Final = 15
DECAY: Final = 0.7
PART: Final = 500_000
"""Events whose pairs are counted at once: 10 million pairs, some 500 MB while they are sorted."""


def learn(rows: Array, user_start: Array, items: int, most: int = 0) -> PairTable:
    """Count the pairs of sequences: item rows int [N], the events of user u at user_start[u]:user_start[u + 1].

    Each item keeps its `most` strongest neighbours; 0: as many as its catalogue allows.

    Users are counted PART events at a time and the sums merged, so memory follows the pairs that exist, not the events.
    """
    keys, totals = np.zeros(0, np.int64), np.zeros(0, np.float32)
    first = 0
    while first < len(user_start) - 1:
        last = max(int(np.searchsorted(user_start, user_start[first] + PART, side="right")) - 1, first + 1)
        part, starts = rows[user_start[first] : user_start[last]], user_start[first : last + 1] - user_start[first]
        keys, totals = _merged(keys, totals, *_pairs(part, starts, items))
        first = last
    item, other = keys // (items + 1), keys % (items + 1)
    counts = np.bincount(rows, minlength=items + 1)
    return table(*strongest(item, other, totals / np.sqrt(counts[other] + 1.0), items, most or most_kept(items)))


def table(neighbours: Array, weights: Array) -> PairTable:
    """Of neighbours int32 and their weights float32 [V + 1, K]."""
    return PairTable(neighbours, weights, DECAY, LOOK_BACK)


def _pairs(rows: Array, user_start: Array, items: int) -> tuple[Array, Array]:
    """Sorted unique keys first * (items + 1) + second of the pairs of some users, and their summed weights."""
    owner = np.repeat(np.arange(len(user_start) - 1), np.diff(user_start))
    pairs, weights = [], []
    for distance in range(1, WINDOW + 1):
        first, second = rows[:-distance], rows[distance:]
        good = (owner[:-distance] == owner[distance:]) & (first > 0) & (second > 0) & (first != second)
        ahead = first[good].astype(np.int64) * (items + 1) + second[good]
        back = second[good].astype(np.int64) * (items + 1) + first[good]
        pairs += [ahead, back]
        weights += [np.full(len(ahead), 1.0 / distance), np.full(len(back), 0.5 / distance)]
    return _summed(np.concatenate(pairs), np.concatenate(weights))


def _merged(keys: Array, totals: Array, more: Array, weights: Array) -> tuple[Array, Array]:
    return (
        (more, weights) if not len(keys) else _summed(np.concatenate((keys, more)), np.concatenate((totals, weights)))
    )


def _summed(keys: Array, weights: Array) -> tuple[Array, Array]:
    unique, places = np.unique(keys, return_inverse=True)
    return unique, np.bincount(places, weights, minlength=len(unique)).astype(np.float32)

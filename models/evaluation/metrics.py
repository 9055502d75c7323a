"""Defines the measures of predictions, as pure functions of arrays.

- rank: items that score at least as much as the target, itself left out, so ties count against the
  model. Rank 0 is best.
- HR@k: share of cases with rank < k.
- NDCG@k: mean of 1 / log2(rank + 2) where rank < k, else 0.
- MRR: mean of 1 / (rank + 1); MRR@20: the same where rank < 20, else 0.
- NLL: mean over cases and interests of -log(probability given to what happened), each interest on
  its own, in nats.
- top-3: share of cases whose event touches one of the three most probable interests, ties against
  the model; cases whose item has no interest are left out.
- ECE: expected calibration error, 15 bins of equal width, all cases and interests pooled.
- intervals: 95 %, bootstrap over users (all cases of a user stay together), paired where two
  scorers are compared.

Glossary: T cases, V items, C interests.
"""

from __future__ import annotations

from typing import Any, Final

import numpy as np

from models.errors import ModelDataError

Array = np.ndarray[Any, Any]

CUTS: Final = (1, 5, 10, 20, 50)
"""The k of HR@k and NDCG@k."""
BINS: Final = 15
"""Bins of the calibration error."""
RESAMPLES: Final = 1_000
"""Samples of a bootstrap."""
DRAWN_AT_ONCE: Final = 65_536
"""Users that are drawn together: one sample after the other costs few users ten times as much."""
HISTORY_BUCKETS: Final = ((0, 0), (1, 3), (4, 10), (11, None))
"""Events before a case, from and to, by which measures are broken down."""
_TINY: Final = 1e-7
"""Probabilities are cut off this near to 0 and 1, so that a loss stays finite."""


def ranks(scores: Array, target: Array) -> Array:
    """Returns the ranks int64 [T] of targets int [T] by scores float [T, V].

    An item that is excluded scores minus infinity; if it is the target it ranks behind everything.
    Raises ModelDataError on a score that is not a number.
    """
    if np.isnan(scores).any():
        raise ModelDataError("the model gave a score that is not a number; it cannot be evaluated")
    of_target = scores[np.arange(len(target)), target][:, None]
    rank: Array = (scores >= of_target).sum(1) - 1
    return rank


def hits(rank: Array, k: int) -> Array:
    """Returns 1 where the target is among the first k, else 0, float64 [T]."""
    return (rank < k).astype(np.float64)


def gains(rank: Array, k: int) -> Array:
    """Returns what each case adds to NDCG@k, float64 [T]."""
    return np.where(rank < k, 1 / np.log2(rank + 2.0), 0.0)


def reciprocals(rank: Array, k: int) -> Array:
    """Returns what each case adds to MRR@k, float64 [T]."""
    return np.where(rank < k, 1 / (rank + 1.0), 0.0)


def ranking(rank: Array) -> dict[str, float]:
    """Returns all ranking measures of a set of cases."""
    found = {f"HR@{k}": float(hits(rank, k).mean()) for k in CUTS}
    found.update({f"NDCG@{k}": float(gains(rank, k).mean()) for k in CUTS if k > 1})
    found["MRR@20"] = float(reciprocals(rank, 20).mean())
    found["MRR"] = float((1 / (rank + 1.0)).mean())
    return found


def by_history(rank: Array, history: Array) -> list[dict[str, Any]]:
    """Returns HR@10 and NDCG@10 by the number of events before a case."""
    return [
        {
            "history": name,
            "cases": int(inside.sum()),
            "HR@10": float(hits(rank[inside], 10).mean()),
            "NDCG@10": float(gains(rank[inside], 10).mean()),
        }
        for name, inside in history_groups(history)
    ]


def history_groups(history: Array) -> list[tuple[str, Array]]:
    """Returns the name and the cases, bool [T], of each of HISTORY_BUCKETS that has some."""
    groups = []
    for low, high in HISTORY_BUCKETS:
        inside = (history >= low) & (history <= (high if high is not None else np.inf))
        if inside.any():
            name = f"{low}" if high == low else f"{low}-{high}" if high is not None else f"{low}+"
            groups.append((name, inside))
    return groups


def over_time(rank: Array, time_ms: Array, windows: int) -> list[dict[str, float]]:
    """Returns HR@10 in windows of equally many cases, in order of time.

    `until_ms` is the time of the last case of a window.
    """
    order = np.argsort(time_ms, kind="stable")
    return [
        {
            "until_ms": int(time_ms[part].max()),
            "cases": len(part),
            "HR@10": float(hits(rank[part], 10).mean()),
        }
        for part in np.array_split(order, min(windows, len(order)))
    ]


def interests(probability: Array, touched: Array) -> dict[str, float]:
    """Returns NLL, top-3 and ECE of probabilities float [T, C]; touched: what happened [T, C]."""
    return {
        "NLL": float(interest_losses(probability, touched).mean()),
        "top-3": float(top_hits(probability, touched, 3).mean()),
        "ECE": calibration_error(probability, touched),
    }


def interest_losses(probability: Array, touched: Array) -> Array:
    """Returns the negative log-likelihood of each case, its mean over interests, float64 [T]."""
    sure = np.clip(probability.astype(np.float64), _TINY, 1 - _TINY)
    return np.asarray(-np.log(np.where(touched, sure, 1 - sure)).mean(1))


def top_hits(probability: Array, touched: Array, k: int) -> Array:
    """Returns 1 where one of the k most probable interests is touched, else 0, float64.

    Only cases whose event touches an interest have a place in it.
    """
    some = touched.any(1)
    probability, touched = probability[some], touched[some]
    best = np.where(touched, probability, -np.inf).max(1)[:, None]
    above = (~touched & (probability >= best)).sum(1)
    return hits(above, k)


def calibration_bins(probability: Array, touched: Array) -> list[dict[str, float]]:
    """Returns of each bin that holds something: mean probability, share that happened, count."""
    flat, happened = probability.ravel().astype(np.float64), touched.ravel()
    place = np.minimum((flat * BINS).astype(np.int64), BINS - 1)
    count = np.bincount(place, minlength=BINS)
    predicted = np.bincount(place, flat, minlength=BINS) / np.maximum(count, 1)
    was = np.bincount(place, happened, minlength=BINS) / np.maximum(count, 1)
    return [
        {
            "probability": float(predicted[each]),
            "happened": float(was[each]),
            "count": int(count[each]),
        }
        for each in np.flatnonzero(count).tolist()
    ]


def calibration_error(probability: Array, touched: Array) -> float:
    """Returns the ECE: mean over bins, weighted by their size, of |predicted - happened|."""
    bins = calibration_bins(probability, touched)
    total = sum(each["count"] for each in bins)
    return sum(abs(each["probability"] - each["happened"]) * each["count"] for each in bins) / max(
        total, 1
    )


def interval(values: Array, user: Array, seed: int = 0) -> tuple[float, float]:
    """Returns the 95 % bootstrap interval of the mean of values float [T].

    user: int [T] says whose case each is. For a paired comparison pass the differences.
    """
    _, place = np.unique(user, return_inverse=True)
    count = np.bincount(place).astype(np.float64)
    total = np.bincount(place, values)
    random = np.random.default_rng(seed)
    means = np.empty(RESAMPLES)
    at_once = max(1, DRAWN_AT_ONCE // len(count))
    for first in range(0, RESAMPLES, at_once):
        some = means[first : first + at_once]
        drawn = random.integers(len(count), size=(len(some), len(count)))
        some[:] = total[drawn].sum(1) / count[drawn].sum(1)
    low, high = np.quantile(means, (0.025, 0.975))
    return float(low), float(high)

"""Asks whether the probabilities that updates show mean what they say, as pure functions of arrays.

An update shows the few most probable interests, so these are what is measured: over all interests
nearly every probability is near 0 and right, whatever the model says of the ones that are shown.

- first: the most probable interest of each case; first five: the five most probable together.
- said, happened: mean probability, and the share of them that the next event touched; the gap is
  said less happened, with its 95 % interval over users.
- ECE: mean over 15 bins of equally many probabilities of |said - happened|. Equal probabilities
  stay in one bin.
- by chance: the ECE that probabilities would show on as many cases if each of them were right.
  Outcomes are drawn by the probabilities, each on its own, so it is a little too small where
  interests of one case depend on each other.
- `change` is said less the user's slower average; what happened of it is the next event (1 or 0)
  less that average. Above: the interest has a larger share of the next 5 events than the average.

Glossary: T cases, C interests, K interests that are shown, N probabilities.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, fields
from typing import Any, Final

import numpy as np

from models.contract import TRENDS, InterestScores
from models.data.prepare import Dataset, catalogue_rows
from models.data.splits import Cases
from models.evaluation import metrics

Array = np.ndarray[Any, Any]

SHOWN: Final = 5
"""Interests of an update that are measured: as many as an update has unless it is set."""
DRAWS: Final = 200
"""Draws of outcomes for the error by chance."""
AHEAD: Final = 5
"""Events after a case by whose share it is decided whether an interest rose."""
GAP_TARGET: Final = 0.02
FIRST_TARGET: Final = 0.03
SHOWN_TARGET: Final = 0.02
"""What the gap of the first interest, its ECE, and the ECE of the first five may be at most."""
_MINUTE: Final = 60_000
AGES: Final = (
    ("up to a minute", _MINUTE),
    ("up to an hour", 60 * _MINUTE),
    ("up to a day", 24 * 60 * _MINUTE),
    ("up to a week", 7 * 24 * 60 * _MINUTE),
    ("more than a week", None),
)
"""Times from the event before a case to the case, up to so many ms, by which gaps are told."""


@dataclass(frozen=True)
class Shown:
    """Holds the interests that an update would show before each case, the most probable first."""

    which: Array  # int64 [T, K]
    probability: Array  # float64 [T, K]
    change: Array  # float64 [T, K] from the user's slower average
    trend: Array  # uint8 [T, K] index into TRENDS
    uncorrected: Array | None = None  # float64 [T, K] probability before calibration, if it has one

    @classmethod
    def of(cls, scores: InterestScores, most: int = SHOWN) -> Shown:
        """Returns the `most` most probable of all interests [T, C]; of equal ones the first."""
        which = np.argsort(-scores.probability, axis=1, kind="stable")[:, :most]
        probability, change, trend = (np.take_along_axis(each, which, 1) for each in scores[:3])
        before = scores.uncorrected
        if before is not None:
            before = np.take_along_axis(before, which, 1).astype(float)
        return cls(which, probability.astype(float), change.astype(float), trend, before)

    @classmethod
    def joined(cls, parts: Iterable[Shown], places: Iterable[Array]) -> Shown:
        """Returns some parts as one, each row where `places` says."""
        order = np.argsort(np.concatenate(list(places)), kind="stable")
        columns: Iterable[Any] = zip(
            *([getattr(each, name.name) for name in fields(cls)] for each in parts), strict=True
        )
        found: list[Any] = [
            None if each[0] is None else np.concatenate(each)[order] for each in columns
        ]
        return cls(*found)


def reliability(
    shown: Shown, touched: Array, cases: Cases, dataset: Dataset, seed: int = 0
) -> dict[str, Any]:
    """Returns how reliable the interests are that updates show, as a JSON object.

    touched: bool [V + 1, C], the interests of each catalogue row.
    """
    happened = np.take_along_axis(touched[cases.target + 1], shown.which, 1)
    first = figures(shown.probability[:, :1], happened[:, :1], cases.user, seed)
    every = figures(shown.probability, happened, cases.user, seed)
    before = {}
    if shown.uncorrected is not None:
        before["uncorrected"] = {
            "first": figures(shown.uncorrected[:, :1], happened[:, :1], cases.user, seed),
            "first_five": figures(shown.uncorrected, happened, cases.user, seed),
        }
    said, was = shown.probability[:, 0], happened[:, 0]
    ages = age_ms(dataset, cases)
    return {
        "first": first,
        "first_five": every,
        **before,
        "by_history": [
            {"history": name, **_gap(said[some], was[some], cases.user[some], seed)}
            for name, some in metrics.history_groups(cases.history)
        ],
        "by_age": [
            {"age": name, **_gap(said[some], was[some], cases.user[some], seed)}
            for name, some in _age_groups(ages)
        ],
        "trends": trends(shown, happened, following(dataset, cases, touched), cases.user, seed),
        "targets": judged(first, every),
    }


def figures(probability: Array, happened: Array, user: Array, seed: int) -> dict[str, Any]:
    """Returns all figures of the probabilities [T, K] of some places, pooled.

    happened: bool [T, K], whether the next event touched it; user: int [T] of each case.
    """
    said, was = probability.ravel(), happened.ravel()
    owner = np.repeat(user, probability.shape[1])
    return {
        **_gap(said, was, owner, seed),
        "ECE": equal_mass_error(said, was),
        "ECE by chance": error_by_chance(said, seed),
        "bins": equal_mass_bins(said, was),
    }


def equal_mass_bins(
    probability: Array, happened: Array, bins: int = metrics.BINS
) -> list[dict[str, float]]:
    """Returns bins of equally many of N probabilities: their mean, what happened, their count.

    Equal probabilities are in the bin of the middle of their places, so that no order among them
    matters; a bin that is empty for that is left out.
    """
    place, count = _bin_of(probability, bins)
    said = np.bincount(place, probability, minlength=bins)
    was = np.bincount(place, happened, minlength=bins)
    return [
        {
            "probability": float(said[each] / count[each]),
            "happened": float(was[each] / count[each]),
            "count": int(count[each]),
        }
        for each in np.flatnonzero(count).tolist()
    ]


def equal_mass_error(probability: Array, happened: Array, bins: int = metrics.BINS) -> float:
    """Returns the ECE over bins of equally many probabilities [N]; 0 of none."""
    place, _ = _bin_of(probability, bins)
    return _error(place, probability - happened, bins)


def error_by_chance(
    probability: Array, seed: int = 0, bins: int = metrics.BINS
) -> tuple[float, float]:
    """Returns the mean and the 95 % quantile of the ECE if all probabilities [N] were right."""
    if not len(probability):
        return 0.0, 0.0
    place, _ = _bin_of(probability, bins)
    random = np.random.default_rng(seed)
    drawn = [
        _error(place, probability - (random.random(len(probability)) < probability), bins)
        for _ in range(DRAWS)
    ]
    return float(np.mean(drawn)), float(np.quantile(drawn, 0.95))


def trends(
    shown: Shown, happened: Array, later: Array, user: Array, seed: int = 0
) -> list[dict[str, Any]]:
    """Returns a row a trend: what `change` said, what happened, and how often the share rose.

    happened: bool [T, K]; later: float [T, C], share of the next events, NaN where a log ends.
    """
    slow = shown.probability - shown.change
    share = np.take_along_axis(later, shown.which, 1)
    owner = np.broadcast_to(user[:, None], slow.shape)
    found = []
    for number, name in enumerate(TRENDS):
        some = shown.trend == number
        if not some.any():
            continue
        moved = happened[some] - slow[some]
        known = some & ~np.isnan(share)
        found.append(
            {
                "trend": name,
                "shown": int(some.sum()),
                "said": float(shown.change[some].mean()),
                "happened": float(moved.mean()),
                "happened interval": metrics.interval(moved, owner[some], seed),
                "followed": int(known.sum()),
                "above": float((share[known] > slow[known]).mean()) if known.any() else None,
            }
        )
    return found


def following(dataset: Dataset, cases: Cases, touched: Array) -> Array:
    """Returns the share of the next AHEAD events of each case that touch an interest [T, C].

    The event of the case is the first of them. NaN where the user's log has fewer.
    """
    rows = catalogue_rows(dataset.events["key"], dataset.item_ids)
    found = np.full((len(cases), touched.shape[1]), np.nan, np.float32)
    whole = np.flatnonzero(cases.position + AHEAD <= dataset.user_start[cases.user + 1])
    counted = np.zeros((len(whole), touched.shape[1]), np.float32)
    for ahead in range(AHEAD):
        counted += touched[rows[cases.position[whole] + ahead]]
    found[whole] = counted / AHEAD
    return found


def age_ms(dataset: Dataset, cases: Cases) -> Array:
    """Returns the time from the event before each case to it, int64 [T] ms; -1: not known."""
    times = dataset.events["time_ms"]
    before = times[np.maximum(cases.position - 1, 0)]
    known = (cases.history > 0) & (not dataset.report.get("events_without_time"))
    return np.where(known, np.maximum(cases.time_ms - before, 0), -1)


def judged(first: dict[str, Any], every: dict[str, Any]) -> list[dict[str, Any]]:
    """Returns each target with what was reached, and whether it is met.

    Where a figure misses its target by no more than chance among so few cases, it cannot be told.
    """
    low, high = first["gap interval"]
    near = low <= GAP_TARGET and high >= -GAP_TARGET
    rows = [("gap of the first", abs(first["gap"]), GAP_TARGET, near)]
    rows += [
        (f"ECE of the {name}", each["ECE"], target, each["ECE"] <= each["ECE by chance"][1])
        for name, each, target in (
            ("first", first, FIRST_TARGET),
            ("first five", every, SHOWN_TARGET),
        )
    ]
    return [
        {
            "what": what,
            "reached": reached,
            "target": target,
            "verdict": "met" if reached <= target else "cannot be told" if perhaps else "missed",
        }
        for what, reached, target, perhaps in rows
    ]


def _gap(said: Array, was: Array, user: Array, seed: int) -> dict[str, Any]:
    """Returns the means of probabilities [N] and of what happened, and their gap."""
    return {
        "cases": len(said),
        "said": float(said.mean()),
        "happened": float(was.mean()),
        "gap": float((said - was).mean()),
        "gap interval": metrics.interval(said - was, user, seed),
    }


def _age_groups(ages: Array) -> list[tuple[str, Array]]:
    """Returns the cases of each of AGES that has some, bool [T]."""
    groups, low = [], 0
    for name, high in AGES:
        some = (ages >= low) & (ages <= (np.iinfo(np.int64).max if high is None else high))
        if some.any():
            groups.append((name, some))
        low = (high or 0) + 1
    return groups


def _bin_of(probability: Array, bins: int) -> tuple[Array, Array]:
    """Returns the bin of each probability, int64 [N], and how many each bin has."""
    _, value, count = np.unique(probability, return_inverse=True, return_counts=True)
    middle = np.cumsum(count) - (count + 1) / 2
    place = (middle * bins / max(len(probability), 1)).astype(np.int64)[value]
    return place, np.bincount(place, minlength=bins)


def _error(place: Array, difference: Array, bins: int) -> float:
    """Returns the sum over bins of |sum of differences|, over their number: the ECE."""
    sums = np.bincount(place, difference, minlength=bins)
    return float(np.abs(sums).sum() / max(len(difference), 1))

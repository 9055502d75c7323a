"""Says how far the probabilities of a model can be trusted, from the report of its training. Pure.

The report has bins: in each, probabilities that were about the same, their mean, and how often what
they spoke of happened next. Newer reports have them for the first interest of each case, which is
what people look at; older ones only for all interests together, of which nearly all are near
nought. Which of them it is, is told.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

FIRST: Final = "first"
ALL: Final = "all"


def calibration_of(fingerprint: str, report: Mapping[str, Any]) -> dict[str, Any] | None:
    """Returns the bins of a report with their figures; None: it has none.

    `of` is `first` or `all`; `gap` is what the probabilities said less what happened.
    """
    try:
        evaluation = report["evaluation"]
        interests = evaluation["interests"]
        reliability = interests.get("reliability")
        if reliability is not None:
            first = reliability["first"]
            return {
                "fingerprint": fingerprint,
                "of": FIRST,
                "protocol": evaluation["protocol"],
                "cases": first["cases"],
                "gap": first["gap"],
                "gap_interval": first["gap interval"],
                "error": first["ECE"],
                "bins": [_bin(each) for each in first["bins"]],
            }
        bins = [_bin(each) for each in interests["calibration"]]
        cases = sum(each["count"] for each in bins)
        said = sum(each["probability"] * each["count"] for each in bins)
        was = sum(each["happened"] * each["count"] for each in bins)
        apart = sum(abs(each["probability"] - each["happened"]) * each["count"] for each in bins)
        return {
            "fingerprint": fingerprint,
            "of": ALL,
            "protocol": evaluation["protocol"],
            "cases": cases,
            "gap": (said - was) / cases,
            "gap_interval": None,
            "error": apart / cases,
            "bins": bins,
        }
    except (KeyError, TypeError, AttributeError, ZeroDivisionError):
        return None  # a model without interests, or without an evaluation


def _bin(each: Mapping[str, Any]) -> dict[str, Any]:
    return {
        "probability": float(each["probability"]),
        "happened": float(each["happened"]),
        "count": int(each["count"]),
    }

"""The part of a model's report that says how far it can be trusted."""

from __future__ import annotations

from typing import Any

import pytest

from models.model_files import described
from stream.serving.overview.calibration import calibration_of

BINS = [
    {"probability": 0.1, "happened": 0.2, "count": 30},
    {"probability": 0.8, "happened": 0.7, "count": 10},
]
FIRST = {
    "cases": 40,
    "gap": 0.05,
    "gap interval": [0.01, 0.09],
    "ECE": 0.02,
    "bins": BINS,
}


def report(interests: dict[str, Any]) -> dict[str, Any]:
    return {"evaluation": {"protocol": "leave-one-out", "interests": interests}}


def test_it_is_of_the_first_interest_where_the_report_has_that() -> None:
    found = calibration_of("9f", report({"reliability": {"first": FIRST}, "calibration": []}))
    assert found is not None
    assert (found["of"], found["cases"], found["gap"]) == ("first", 40, 0.05)
    assert (found["gap_interval"], found["error"], found["bins"]) == ([0.01, 0.09], 0.02, BINS)


def test_an_older_report_has_all_interests_together() -> None:
    found = calibration_of("9f", report({"calibration": BINS}))
    assert found is not None
    assert (found["of"], found["cases"], found["fingerprint"]) == ("all", 40, "9f")
    # (0.1 * 30 + 0.8 * 10 - 0.2 * 30 - 0.7 * 10) / 40, and the same without signs
    assert found["gap"] == pytest.approx(-0.05)
    assert found["error"] == pytest.approx(0.1)


@pytest.mark.parametrize(
    "nothing", [{}, {"evaluation": None}, report({}), report({"calibration": []})], ids=str
)
def test_a_report_may_have_nothing_of_it(nothing: dict[str, Any]) -> None:
    assert calibration_of("9f", nothing) is None


def test_the_model_of_this_package_has_it() -> None:
    model = described(None)
    found = calibration_of(model.fingerprint, model.report)
    assert found is not None
    assert found["cases"] > 1_000
    assert abs(found["gap"]) < 0.1

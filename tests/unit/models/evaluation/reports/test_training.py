"""Checks what a report says about a model that is behind a baseline."""

from __future__ import annotations

from typing import Any

from models.evaluation.reports.training import _gain_notes, calibration_words, reasons


def test_a_report_says_why_a_model_may_be_behind() -> None:
    preparation = {"events": 50, "items_with_events": 10}
    curves = {
        "text": [{"loss": 1.0}],
        "lstm": [{"ndcg@10": 0.1}, {"ndcg@10": 0.2}],
        "bridge": [{"ndcg@10": 0.2}, {"ndcg@10": 0.1}],
    }

    def verdict(*names: str) -> dict[str, Any]:
        lines = [f"The model is behind {name} (HR@10 difference -0.2 to -0.1)." for name in names]
        return {
            "preparation": preparation,
            "curves": curves,
            "evaluation": {"verdict": [*lines, "The model beats popularity (x)."]},
        }

    rising = (
        "Validation still rose when lstm ended: more epochs may help (--epochs, or a larger "
        "--effort)."
    )
    assert reasons(verdict()) == [rising]  # also of a model that is behind nothing
    assert reasons(verdict("popularity, last 7 days"))[1].startswith(
        "Behind the last 7 days' popularity"
    )
    assert reasons(verdict("first-order Markov")) == [
        rising,
        "There are 5.0 events an item to learn from; so few leave little beyond what neighbours "
        "say.",
    ]
    strict = verdict("co-occurrence") | {"config": {"min_users": 5}}
    assert "--min-users 1" in reasons(strict)[-1]
    assert not any(
        "--min-users" in line for line in reasons({**strict, "config": {"min_users": 1}})
    )


def test_a_training_that_came_to_its_end_says_nothing() -> None:
    curves = {"lstm": [{"ndcg@10": 0.2}, {"ndcg@10": 0.1}]}
    preparation = {"events": 50, "items_with_events": 10}
    found = {"preparation": preparation, "curves": curves, "evaluation": {"verdict": []}}
    assert reasons(found) == []


def test_a_report_says_whether_first_interests_are_calibrated_and_what_it_changed() -> None:
    figures = {
        "cases": 2_500,
        "users": 90,
        "said_before": 0.31,
        "said_after": 0.24,
        "happened": 0.239,
        "kept": True,
    }
    (kept,) = calibration_words({"calibration": figures})
    assert kept.startswith("First interests are calibrated on 2,500 events of 90 users")
    assert kept.endswith("said 0.310 before and 0.240 after it, and 0.239 of them happened.")
    # last events are not what it was calibrated on, and a report of them says so
    for protocol, said in (("leave-one-out", True), ("time-split", False)):
        (line,) = calibration_words({"calibration": figures, "evaluation": {"protocol": protocol}})
        assert ("--protocol time-split" in line) == said
    (left,) = calibration_words({"calibration": {**figures, "kept": False}})
    assert left.startswith("First interests are not calibrated: of 2,500 events")
    too_few = {"kept": False, "why": "7 later events are too few, 1,000 are needed"}
    assert calibration_words({"calibration": too_few}) == [
        "First interests are not calibrated: 7 later events are too few, 1,000 are needed."
    ]
    assert calibration_words({}) == []  # of a training before there was one


def test_a_report_says_whether_a_costly_scorer_was_worth_it() -> None:
    def told(low: float) -> str:
        return _gain_notes({"attention_gain": [low, 0.2]})

    assert "+0.100 .. +0.200" in told(0.1)
    assert told(0.1).endswith("kept.")
    assert told(0.005).endswith("left out: less than 0.01 is not worth a longer pass.")
    assert "may be chance" in told(-0.001)

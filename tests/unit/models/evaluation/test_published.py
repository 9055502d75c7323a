"""Compares updates of a worker with the events that came after them."""

from __future__ import annotations

import pytest

from models.evaluation.published import Prediction, UserLog, measure_predictions, next_item

LOG = UserLog([10, 20, 20, 30, 40], ["a", "b", None, "c", "a"])


def predicted(
    user: str, time: int, seen: int, items: str, interests: list[tuple[str, float]] | None = None
) -> Prediction:
    return Prediction(user, time, seen, interests or [], list(items))


def test_the_next_event_is_found_by_count_and_else_by_time() -> None:
    assert next_item(predicted("u", 10, 1, ""), LOG) == "b"
    assert next_item(predicted("u", 20, 2, ""), LOG) == "c"  # the third event has no item
    assert (
        next_item(predicted("u", 20, 700, ""), LOG) == "c"
    )  # a longer past than this log: by time
    assert next_item(predicted("u", 40, 5, ""), LOG) is None


def test_hits_of_items_and_interests() -> None:
    updates = [
        predicted("u", 10, 1, "xb", [("A", 0.2), ("B", 0.9)]),
        predicted("u", 20, 2, "cx", [("C", 0.8), ("A", 0.1)]),
        predicted("u", 30, 4, "xy", [("B", 0.4), ("C", 0.1)]),
        predicted("u", 40, 5, "ab"),
        predicted("nobody", 10, 1, "ab"),
    ]
    found = measure_predictions(updates, {"u": LOG}, {"a": ["A"], "b": ["B"], "c": ["C"]})
    assert (found["updates"], found["updates_with_a_next_event"], found["users"]) == (5, 3, 1)
    assert (
        found["updates_of_users_without_events"],
        found["updates_after_which_nothing_came"],
    ) == (1, 1)
    assert found["HR@1"] == 1 / 3
    assert found["MRR@2"] == (1 / 2 + 1 + 0) / 3
    assert "HR@3" not in found  # only two items were named
    assert found["interests"]["top-1"] == 1 / 3
    assert found["interests"]["top-3"] == 2 / 3
    first = found["first interest"]
    assert (first["cases"], first["happened"]) == (3, 1 / 3)
    assert first["gap"] == pytest.approx((0.2 + 0.8 + 0.4) / 3 - 1 / 3)


def test_nothing_followed_gives_no_rates() -> None:
    assert "MRR@1" not in measure_predictions([predicted("u", 40, 5, "a")], {"u": LOG})

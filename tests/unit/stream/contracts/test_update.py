"""Scores become updates as the schema says; numbers that are none are never published."""

from __future__ import annotations

import dataclasses
from typing import Any

import numpy as np
import orjson
import pytest

from models.compact import COMPACT, ITEM_ID, NO_TEXT, QUERY, RECENT, TITLE, hash64
from models.contract import TRENDS, ModelInfo, Scores
from stream.contracts import update
from stream.contracts.state_record import row_dtype
from stream.contracts.update import ScoredUsers, UpdateWriter, ensure_publishable
from stream.errors import ModelError
from tests.support.contracts import faults

ITEMS = ("item-1", "item-2", "a known item whose id has more than thirty bytes")
INFO = ModelInfo("demo", "7", 0x9F1C5A0E77D2B413, ("Camping", "书籍", "Running"), ITEMS, ITEMS, 4)
SCORES = Scores(
    interest=np.array([[1, 0, -1], [2, 1, 0]], np.int32),
    probability=np.array([[0.1, 0.9999999, 0.0], [1.0, 0.0, 0.25]], np.float32),
    change=np.array([[0.0, -0.000001, 0.0], [0.5, -1.0, 0.25]], np.float32),
    trend=np.array([[0, 1, 2], [3, 2, 1]], np.uint8),
    item=np.array([[1, 0], [2, -1]], np.int32),
    item_score=np.array([[4.1, -3.0], [0.0, 0.0]], np.float32),
    because=np.array([[2, 0, 1], [0, -1, -1]], np.int8),
    because_weight=np.array([[0.5, 0.25, 0.125], [1.0, 0.0, 0.0]], np.float32),
)


def recent() -> np.ndarray[Any, Any]:
    events = np.zeros((2, RECENT), COMPACT)
    events[0, 0] = (hash64("tent"), 0, 30, 3, QUERY, b"tent")
    events[0, 1] = (hash64("item-2"), 0, 20, 1, TITLE, "Zelt für zwei".encode())
    events[0, 2] = (hash64("unlisted"), 0, 10, 9, ITEM_ID, b"unlisted")
    events[1, 0] = (hash64(ITEMS[2]), 0, 5, 0, ITEM_ID, ITEMS[2].encode()[:30])
    return events


def build(
    scores: Scores = SCORES, events: np.ndarray[Any, Any] | None = None
) -> list[dict[str, Any]]:
    rows = np.zeros(2, row_dtype(4))
    rows["offset"], rows["count"] = [5071, 5072], [48, 1]
    rows["time_ms"] = [1_767_225_600_000, 0]
    rows["recent"] = recent() if events is None else events
    built = UpdateWriter(INFO).write(
        ScoredUsers(
            source=("shop-clicks", 3),
            users=[b"user-7", "用户".encode()],
            rows=rows,
            scores=scores,
            by_model=np.ones(2, bool),
            published_at_ms=1_767_225_600_080,
        )
    )
    return [orjson.loads(each) for each in built]


def test_updates_are_as_the_schema_says() -> None:
    first, second = build()
    assert not faults("update-1", first)
    assert not faults("update-1", second)
    assert first["update_id"] == "shop-clicks-3-5071-9f1c5a0e77d2b413"
    assert first["source"] == {"topic": "shop-clicks", "partition": 3, "offset": 5071}
    assert (second["user_id"], second["events_seen"], second["time"]) == ("用户", 1, 0)
    assert first["model"] == {"name": "demo", "version": "7", "fingerprint": "9f1c5a0e77d2b413"}


def test_names_stand_for_their_numbers_and_empty_places_are_left_out() -> None:
    first, second = build()
    assert [(each["interest"], each["trend"]) for each in first["interests"]] == [
        ("书籍", "steady"),
        ("Camping", "rising"),
    ]
    assert [each["trend"] for each in second["interests"]] == ["new", "fading", "rising"]
    assert first["items"] == [
        {"item_id": "item-2", "score": 4.1},
        {"item_id": "item-1", "score": -3.0},
    ]
    assert second["items"] == [{"item_id": ITEMS[2], "score": 0.0}]


def test_numbers_are_short_and_zero_has_no_sign() -> None:
    first = build()[0]
    assert [each["probability"] for each in first["interests"]] == [0.1, 1.0]
    assert str(first["interests"][1]["change"]) == "0.0"


def test_causes_are_told_by_what_is_known_of_them() -> None:
    first, second = build()
    assert first["because"] == [
        {"item_id": "unlisted", "action": "purchase", "time": 10, "weight": 0.5},
        {"query": "tent", "action": "search", "time": 30, "weight": 0.25},
        {
            "item_id": "item-2",
            "title": "Zelt für zwei",
            "action": "view",
            "time": 20,
            "weight": 0.125,
        },
    ]
    assert second["because"] == [{"item_id": ITEMS[2], "action": "other", "time": 5, "weight": 1.0}]


def test_an_unlisted_id_that_was_cut_is_called_a_title_because_it_is_no_id() -> None:
    events = recent()
    long = "x" * 40
    events[0, 2] = (hash64(long), 0, 10, 9, ITEM_ID, long.encode()[:30])
    assert build(events=events)[0]["because"][0]["title"] == "x" * 30
    assert "item_id" not in build(events=events)[0]["because"][0]


def test_a_cause_in_an_empty_slot_is_left_out() -> None:
    events = recent()
    events[1, 0] = np.zeros((), COMPACT)
    assert build(events=events)[1]["because"] == []


def test_a_cause_without_text_is_still_named_and_valid() -> None:
    events = recent()
    events[0, 2] = (hash64("item-1"), 0, 10, 9, NO_TEXT, b"")
    updates = build(events=events)
    assert updates[0]["because"][0]["item_id"] == "item-1"
    assert not faults("update-1", updates[0])


@pytest.mark.parametrize("name", ["probability", "change", "item_score", "because_weight"])
@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf])
def test_what_is_no_number_is_not_published(name: str, value: float) -> None:
    spoiled = getattr(SCORES, name).copy()
    spoiled[1, 0] = value
    with pytest.raises(ModelError, match=name):
        ensure_publishable(dataclasses.replace(SCORES, **{name: spoiled}))


@pytest.mark.parametrize("value", [-0.1, 1.1])
def test_a_probability_out_of_bounds_is_not_published(value: float) -> None:
    spoiled = SCORES.probability.copy()
    spoiled[0, 0] = value
    with pytest.raises(ModelError, match="probability"):
        ensure_publishable(dataclasses.replace(SCORES, probability=spoiled))


def test_every_trend_has_its_name_in_the_schema() -> None:
    for trend in range(len(TRENDS)):
        scores = dataclasses.replace(SCORES, trend=np.full((2, 3), trend, np.uint8))
        assert not faults("update-1", build(scores)[0])


def test_more_items_than_are_remembered_are_named_all_the_same(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    wanted = build()
    monkeypatch.setattr(update, "ITEMS_KEPT", 1)
    assert build() == wanted

"""Checks what preparation keeps and leaves out, and that everything left out is counted."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

from models.data.prepare import (
    DAY_MS,
    Dataset,
    PrepareConfig,
    catalogue_rows,
    owners,
    prepare,
    subset,
)
from models.errors import ModelDataError

Make = Callable[..., Dataset]


def dropped(dataset: Dataset) -> dict[str, tuple[int, int]]:
    """Returns (events, users) of each reason, by its first word."""
    return {
        each["reason"].split()[0]: (each["events"], each["users"])
        for each in dataset.report["dropped"]
        if each["events"]
    }


def items_of(dataset: Dataset, user: str) -> list[int]:
    place = dataset.users.index(user)
    rows = catalogue_rows(dataset.events["key"], dataset.item_ids)
    return list(rows[dataset.user_start[place] : dataset.user_start[place + 1]])


def test_users_lie_one_after_the_other_in_order_of_time(prepared: Make) -> None:
    events = [("u", "b", 3), ("v", "a", 1), ("u", "a", 1), ("v", "c", 2), ("u", "c", 3)]
    dataset = prepared(events, "abc")
    assert dataset.users == ["u", "v"]
    assert dataset.user_start.tolist() == [0, 3, 5]
    assert items_of(dataset, "u") == [1, 2, 3]  # a before b by time; b before c as in the file
    assert owners(dataset).tolist() == [0, 0, 0, 1, 1]
    assert dataset.report["events_moved_by_time"] > 0


def test_order_of_the_file_can_be_the_order(prepared: Make) -> None:
    dataset = prepared([("u", "b", 3), ("u", "a", 1)], "ab", sort_by_time=False)
    assert items_of(dataset, "u") == [2, 1]


def test_every_event_is_kept_or_counted(prepared: Make) -> None:
    day = [("robot", "a" if place % 2 else "b", place) for place in range(6)]
    events = [
        *day,
        ("u", "a", 1),
        ("u", "a", 1),
        ("u", "b", 1),
        ("u", "a", 1),
        ("one", "a", 1),
        ("v", "a", 5),
        ("v", "b", 9),
    ]
    dataset = prepared(events, "ab", max_events_per_day=5)
    assert dropped(dataset) == {"exact": (1, 1), "robot:": (6, 1), "user": (1, 1)}
    assert len(dataset.events) + 1 + 6 + 1 == dataset.report["events_read"] == len(events)
    assert items_of(dataset, "u") == [
        1,
        2,
        1,
    ]  # going a, b, a within one tick of the clock is no copy


def test_duplicates_can_be_kept(prepared: Make) -> None:
    assert items_of(
        prepared([("u", "a", 1), ("u", "a", 1), ("u", "b", 2)], "ab", keep_duplicates=True), "u"
    ) == [
        1,
        1,
        2,
    ]


def test_the_robot_rule_looks_at_any_24_hours(prepared: Make) -> None:
    spread = [("u", "ab"[place % 2], place * DAY_MS // 2) for place in range(6)]
    assert len(prepared(spread, "ab", max_events_per_day=2).events) == 6
    closer = [("u", "ab"[place % 2], place * DAY_MS // 3) for place in range(6)]
    with pytest.raises(ModelDataError, match="robot: over 2 events in 24 hours: 6 events"):
        prepared(closer, "ab", max_events_per_day=2)


def test_items_that_the_catalogue_lacks(prepared: Make) -> None:
    events = [("u", "a", 1), ("u", "x", 2), ("u", "b", 3)]
    assert items_of(prepared(events, "ab"), "u") == [1, 0, 2]
    assert items_of(prepared(events, "ab", unknown_items="drop"), "u") == [1, 2]
    added = prepared(events, "ab", unknown_items="add")
    assert (added.item_ids, items_of(added, "u")) == (["a", "b", "x"], [1, 3, 2])


def test_without_a_catalogue_the_events_make_one(prepared: Make) -> None:
    dataset = prepared([("u", "b", 1), ("u", "?tent", 2), ("u", "a", 3)])
    assert dataset.item_ids == ["b", "a"]
    assert items_of(dataset, "u") == [1, 0, 2]


@pytest.mark.parametrize(
    ("events", "message"),
    [
        ([], "not one usable event"),
        ([("u", "a", 1)], "no user has 2 events or more left"),
        ([("u", "a", 1), ("u", "a", 2)], "one and the same item"),
        (
            [("u", "x", 1), ("u", "y", 2)],
            "no event is about an item of the catalogue .its ids look like 'a'",
        ),
    ],
)
def test_data_that_cannot_work_says_what_to_change(
    prepared: Make, events: list[Any], message: str
) -> None:
    with pytest.raises(ModelDataError, match=message):
        prepared(events, "ab") if events else prepare([], None)


@pytest.mark.parametrize(
    "wrong", [{"min_events": 1}, {"max_events_per_day": -1}, {"unknown_items": "ignore"}]
)
def test_settings_that_contradict_themselves(wrong: dict[str, Any]) -> None:
    with pytest.raises(ModelDataError, match=next(iter(wrong))):
        PrepareConfig(**wrong)


def test_a_subset_forgets_users_without_events(prepared: Make) -> None:
    dataset = prepared([("u", "a", 1), ("u", "b", 2), ("v", "b", 1), ("v", "a", 2)], "ab")
    part = subset(dataset, np.array([False, False, True, True]))
    assert (part.users, part.user_start.tolist()) == (["v"], [0, 2])
    assert items_of(part, "v") == [2, 1]

"""What came next, and whether an update had said it."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

from stream.contracts.event import Event
from stream.serving.overview.outcomes import ENTRIES, Outcomes, Said, judged
from stream.serving.updates import Update, number_of, read_update
from tests.support.serving import NOW_MS, record

ANNA, BERTA, CARLA = (number_of(each) for each in (b"anna", b"berta", b"carla"))
TOUCHES = {"item-0001": ("camping",), "item-0002": ("books", "tea"), "item-0003": ("music",)}


def read(user: str, offset: int, **more: Any) -> Update:
    made = record(user, offset, **more)
    found = read_update(made.key, made.value)
    assert found is not None
    return found


def pairs_of(outcomes: Outcomes, number: int) -> list[tuple[Said, Said]]:
    return asyncio.run(outcomes.pairs(number))


def test_each_update_stands_beside_the_one_after_it_newest_first() -> None:
    outcomes = Outcomes()
    for offset in range(ENTRIES + 3):
        outcomes.take(ANNA, read("anna", offset))
    pairs = pairs_of(outcomes, ANNA)
    assert len(pairs) == ENTRIES - 1
    assert [after.source.offset for _, after in pairs][:2] == [ENTRIES + 2, ENTRIES + 1]
    assert all(after.source.offset == said.source.offset + 1 for said, after in pairs)


def test_a_repeated_update_is_no_outcome() -> None:
    outcomes = Outcomes()
    for offset in (1, 1, 2, 2):
        outcomes.take(ANNA, read("anna", offset))
    assert len(pairs_of(outcomes, ANNA)) == 1


def test_a_life_after_an_erasure_has_no_outcome_of_the_one_before() -> None:
    outcomes = Outcomes()
    outcomes.take(ANNA, read("anna", 7))
    outcomes.take(ANNA, read("anna", 9, events_seen=1))
    assert pairs_of(outcomes, ANNA) == []
    outcomes.take(ANNA, read("anna", 10, events_seen=2))
    assert len(pairs_of(outcomes, ANNA)) == 1
    outcomes.forget(ANNA)
    assert pairs_of(outcomes, ANNA) == []


def test_of_many_users_those_who_came_last_are_remembered() -> None:
    outcomes = Outcomes(users=2)
    for offset in (1, 2):
        for user in ("anna", "berta", "carla"):
            outcomes.take(number_of(user.encode()), read(user, offset))
            outcomes.take(number_of(user.encode()), read(user, offset + 1))
    assert pairs_of(outcomes, ANNA) == []
    assert pairs_of(outcomes, CARLA)


def event(**fields: Any) -> Event:
    return Event(user_id="anna", action="view", time=NOW_MS, **fields)


@pytest.mark.parametrize(
    ("came", "expected"),
    [
        (event(item_id="item-0001"), {"item_rank": 1, "interest_rank": 1}),
        (event(item_id="item-0002"), {"item_rank": None, "interest_rank": 2}),
        (event(item_id="item-0003"), {"item_rank": None, "interest_rank": None}),
        (event(item_id="unknown"), {"item_rank": None, "interest_rank": "missing"}),
        (event(query="tent"), {"item_rank": "missing", "interest_rank": "missing"}),
        (None, {"item_rank": "missing", "interest_rank": "missing"}),
    ],
    ids=["first", "second", "none", "item-not-known", "search", "not-read"],
)
def test_an_event_is_judged_by_what_was_said_before_it(
    came: Event | None, expected: dict[str, Any]
) -> None:
    outcomes = Outcomes()
    outcomes.take(ANNA, read("anna", 1))
    outcomes.take(ANNA, read("anna", 2))
    ((said, after),) = pairs_of(outcomes, ANNA)
    found = judged(said, after, came, TOUCHES, "")
    assert {name: found.get(name, "missing") for name in expected} == expected
    assert found["said"][0] == {"interest": "camping", "probability": 0.6}


def test_where_several_came_at_once_nothing_is_judged() -> None:
    outcomes = Outcomes()
    outcomes.take(ANNA, read("anna", 1))
    outcomes.take(ANNA, read("anna", 5))
    ((said, after),) = pairs_of(outcomes, ANNA)
    found = judged(said, after, event(item_id="item-0001"), TOUCHES, "")
    assert found["events"] == 4
    assert "item_rank" not in found
    assert "interest_rank" not in found

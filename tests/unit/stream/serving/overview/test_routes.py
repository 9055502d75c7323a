"""The routes of the overview, over a store that was fed with records."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from stream.contracts.event import Event
from stream.serving.overview.outcomes import Events
from stream.serving.overview.truth import Truth
from stream.serving.overview.workers import Look, Workers
from stream.serving.updates import Source, number_of, read_update
from tests.support.serving import NOW_MS, Record, Service, null, record


class Topic(Events):
    """Stands for the topic of the events: each record holds a view of the same item."""

    async def read(self, user_id: str, places: Sequence[Source]) -> dict[int, Event]:
        return {
            each.offset: Event(user_id=user_id, action="view", time=NOW_MS, item_id="item-0001")
            for each in places
        }


def hear(served: Service, *updates: Record) -> None:
    served.feed_with(*updates, updates=updates)
    for each in updates:
        found = read_update(each.key, each.value)
        assert found is not None
        served.outcomes.take(number_of(each.key), found)


def test_what_came_next_stands_beside_what_was_said(served: Service) -> None:
    hear(served, record("anna", 1))
    assert served.get("/v1/users/anna/outcomes")["outcomes"] == []
    hear(served, record("anna", 2), record("anna", 3))
    served.serving.overview.events = Topic(served.serving.settings)
    served.serving.overview.touches = {"item-0001": ("camping",)}
    found = served.get("/v1/users/anna/outcomes")["outcomes"]
    assert [each["offset"] for each in found] == [3, 2]
    assert (found[0]["item_rank"], found[0]["interest_rank"]) == (1, 1)
    assert (found[0]["title"], found[0]["action"]) == ("Tent for two", "view")


def test_without_the_topic_nothing_is_judged_and_nothing_fails(served: Service) -> None:
    hear(served, record("anna", 1), record("anna", 2))
    (found,) = served.get("/v1/users/anna/outcomes")["outcomes"]
    assert "interest_rank" not in found
    assert found["said"]


def test_of_an_erased_user_there_is_no_outcome(served: Service) -> None:
    hear(served, record("anna", 1), record("anna", 2))
    served.feed_with(null("anna"))
    assert served.get("/v1/users/anna/outcomes", 404)


def test_the_pulse_and_the_growth_of_all_users(served: Service) -> None:
    served.store.apply([], [], {}, as_of_ms=NOW_MS)
    hear(served, record("anna", 1), record("berta", 2, {"books": 0.9}))
    found = served.get("/v1/pulse?span=hour")
    assert [each["interest"] for each in found["interests"]] == ["books", "camping"]
    assert sum(found["updates"]) == 2
    grown = served.get("/v1/growth?span=day")
    assert grown["counted_since"] == NOW_MS
    assert {each["interest"]: each["joined"] for each in grown["interests"]} == {
        "books": 2,
        "camping": 1,
    }
    assert served.get("/v1/pulse?span=year", 422)


def test_the_last_look_at_the_workers_is_told_with_its_age(served: Service) -> None:
    assert served.get("/v1/workers")["workers"] is None
    workers = Workers(served.serving.settings, lambda: NOW_MS)
    served.serving.overview.workers = workers
    assert served.get("/v1/workers")["problem"] == "nobody has looked yet"
    parts = [{"partition": 0, "offset": 5, "lag": 2}, {"partition": 1, "offset": 9, "lag": 1}]
    workers.last, workers.problem = Look(NOW_MS, "Stable", [], parts), ""
    found = served.get("/v1/workers")
    assert (found["workers"]["lag"], found["workers"]["seen_at"]) == (3, NOW_MS)
    assert found["problem"] is None


def test_calibration_is_that_of_the_named_model(served: Service) -> None:
    assert served.get("/v1/calibration")["calibration"] is None
    served.serving.overview.calibration = {"of": "first", "bins": []}
    assert served.get("/v1/calibration")["calibration"]["of"] == "first"


def test_truth_is_known_of_simulated_users_alone(served: Service, tmp_path: Path) -> None:
    assert served.get("/v1/users/anna/truth", 404)
    file = tmp_path / "truth.jsonl"
    file.write_text('{"user_id": "anna", "time": 1, "interest": "tea"}\n')
    served.serving.overview.truth = Truth(file)
    assert served.get("/v1/users/anna/truth")["periods"] == [{"time": 1, "interest": "tea"}]
    assert "truth" not in served.client.get("/openapi.json").text

"""The simulated population is seeded and sound; its truth drifts, returns and shows in events."""

from __future__ import annotations

from collections import Counter
from itertools import pairwise
from pathlib import Path

import orjson

from stream.files.events import EventFiles
from stream.simulation.population import Population, catalogue, events, write_simulation
from tests.support.contracts import faults

TIME_MS = 1_760_000_000_000


def test_the_catalogue_is_as_promised() -> None:
    items = catalogue()
    categories = Counter(item.categories[0] for item in items)
    assert len(items) == len({item.item_id for item in items}) == 400
    assert len(categories) == 20
    assert set(categories.values()) == {20}
    assert any(len(item.categories) == 2 for item in items)
    assert any(not item.title.isascii() for item in items)
    assert items == catalogue()


def test_equal_seeds_give_equal_events_and_others_do_not() -> None:
    first = list(events(30, 500, 1, TIME_MS, 10))
    assert first == list(events(30, 500, 1, TIME_MS, 10))
    assert first != list(events(30, 500, 2, TIME_MS, 10))


def test_every_event_is_valid_and_its_id_its_own() -> None:
    made = list(events(30, 2_000, 1, TIME_MS, 10))
    assert not [fault for each in made for fault in faults("event-1", each.event)]
    assert len({each.event["event_id"] for each in made}) == 2_000
    assert {each.event["action"] for each in made} >= {
        "view",
        "search",
        "purchase",
        "like",
        "share",
    }


def test_the_truth_holds_for_a_while_switches_and_returns() -> None:
    population = Population(1, seed=4)
    truths = [population.next_event(TIME_MS, 0).interest for _ in range(5_000)]
    assert population.truth() == {"user-00000": truths[-1]}
    switches = [after for before, after in pairwise(truths) if before != after]
    assert 100 < len(switches) < 400  # one in 25 events
    returned = sum(
        after in switches[max(0, place - 4) : place] for place, after in enumerate(switches)
    )
    assert returned > len(switches) / 4


def test_most_events_follow_the_truth() -> None:
    home = {item.item_id: item.categories[0] for item in catalogue()}
    made = [each for each in events(200, 10_000, 3, TIME_MS, 10) if "item_id" in each.event]
    right = sum(home[each.event["item_id"]] == each.interest for each in made) / len(made)
    assert 0.6 < right < 0.9


def test_the_files_of_a_simulation_are_read_by_the_readers_of_real_data(tmp_path: Path) -> None:
    event_file, item_file = write_simulation(tmp_path / "new", users=20, count=300, seed=1)
    files = EventFiles([event_file])
    read = [event for chunk in files for event in chunk]
    assert (len(read), files.bad) == (300, {})
    items = [orjson.loads(line) for line in item_file.read_bytes().splitlines()]
    assert {event.item_id for event in read if event.item_id} <= {item["item_id"] for item in items}

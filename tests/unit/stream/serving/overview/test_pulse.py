"""Slots of time over all users: sums that are added up once, and those who come and go."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from stream.serving.overview.pulse import GROWTH_POINTS, SPANS, growth, pulse
from stream.serving.store import Store
from tests.support.serving import NOW_MS, PROFILES, UPDATES, Record, null, record

HOUR, DAY, WEEK = SPANS["hour"], SPANS["day"], SPANS["week"]


@pytest.fixture
def store(tmp_path: Path) -> Iterator[Store]:
    """Yields a store that has read the profiles for the first time."""
    found = Store(tmp_path)
    found.apply([], [], {}, as_of_ms=NOW_MS - 1)
    yield found
    found.close()


def heard(store: Store, *updates: Record) -> None:
    store.apply([], updates, {(UPDATES, 0): 1})


def moved(store: Store, *profiles: Record) -> None:
    store.apply(profiles, [], {(PROFILES, 0): 1})


def test_a_slot_sums_the_probabilities_of_its_updates(store: Store) -> None:
    at = NOW_MS - NOW_MS % HOUR.width_ms
    heard(store, record("anna", 1, {"tea": 0.5, "books": 0.25}, time=at))
    heard(store, record("berta", 2, {"tea": 0.75}, time=at - HOUR.width_ms))
    db = store.reader()
    found = pulse(db, HOUR, at)
    assert found["from"] == at - HOUR.width_ms
    assert found["updates"] == [1, 1]
    assert found["interests"] == [
        {"interest": "tea", "weight": [0.75, 0.5]},
        {"interest": "books", "weight": [0.0, 0.25]},
    ]
    # the same events in wider slots
    assert sum(sum(each["weight"]) for each in pulse(db, WEEK, at)["interests"]) == 1.5
    db.close()


def test_interests_that_are_not_told_apart_are_summed_up(store: Store) -> None:
    heard(store, record("anna", 1, {"a": 0.5, "b": 0.25, "c": 0.125, "d": 0.0625}))
    db = store.reader()
    found = pulse(db, HOUR, NOW_MS, most=2)
    assert [each["interest"] for each in found["interests"]] == ["a", "b"]
    assert sum(found["others"]) == pytest.approx(0.19)
    db.close()


def test_slots_that_are_too_old_are_deleted(store: Store) -> None:
    later = NOW_MS + HOUR.width_ms * (HOUR.slots + 5)
    heard(store, record("anna", 1, {"tea": 0.5}))
    heard(store, record("anna", 2, {"books": 0.5}, time=later, published_at=later))
    db = store.reader()
    assert [each["interest"] for each in pulse(db, HOUR, later)["interests"]] == ["books"]
    assert {each["interest"] for each in pulse(db, WEEK, later)["interests"]} == {"tea", "books"}
    slots = "SELECT count(DISTINCT slot) FROM pulse WHERE width = ?"
    assert db.execute(slots, [HOUR.width_ms]).fetchone() == (1,)
    db.close()


def test_a_clock_that_is_ahead_makes_no_slot_of_the_future(store: Store) -> None:
    heard(store, record("anna", 1, {"tea": 0.5}, time=NOW_MS + DAY.width_ms * 100))
    db = store.reader()
    assert pulse(db, HOUR, NOW_MS)["updates"] == [1]
    db.close()


def test_who_comes_and_who_goes_is_counted(store: Store) -> None:
    moved(store, record("anna", 1, {"tea": 0.5, "books": 0.2}), record("berta", 2, {"tea": 0.9}))
    moved(store, record("anna", 3, {"tea": 0.5, "music": 0.2}))
    moved(store, null("berta"))
    db = store.reader()
    found = {each["interest"]: each for each in growth(db, DAY, NOW_MS)}
    assert {name: (each["joined"], each["gone"]) for name, each in found.items()} == {
        "tea": (2, 1),
        "books": (1, 1),
        "music": (1, 0),
    }
    assert found["tea"]["net"] == [0] * (GROWTH_POINTS - 1) + [1]
    db.close()


def test_the_first_reading_of_all_profiles_is_no_growth(tmp_path: Path) -> None:
    store = Store(tmp_path)
    moved(store, record("anna", 1, {"tea": 0.5}))
    store.apply([], [], {}, as_of_ms=NOW_MS)
    moved(store, record("anna", 2, {"books": 0.5}))
    db = store.reader()
    found = {each["interest"]: (each["joined"], each["gone"]) for each in growth(db, HOUR, NOW_MS)}
    assert found == {"books": (1, 0), "tea": (0, 1)}
    db.close()
    store.close()


def test_a_batch_that_fails_counts_nothing(store: Store) -> None:
    class Breaks:
        key, timestamp = b"x", NOW_MS

        @property
        def value(self) -> bytes:
            raise OSError("torn")

    with pytest.raises(OSError, match="torn"):
        store.apply([record("anna", 1, {"tea": 0.5})], [Breaks()], {})
    db = store.reader()
    assert growth(db, HOUR, NOW_MS) == []
    db.close()

"""Decayed counts against their formula, the record that carries them, and where counting goes on after a restart."""

from __future__ import annotations

import random
from types import SimpleNamespace
from typing import Any

import msgspec
import orjson
import pytest
from hypothesis import given
from hypothesis import strategies as st

from models.predict import POPULARITY_HALF_LIFE_DAYS
from stream import popularity
from stream.errors import DataError
from stream.events import Limits
from stream.popularity import HALF_LIFE_MS, MOST_BYTES, Counts, Snapshot, decode, encode, read_events, where_to_start

NOW = 1_767_225_600_000
DAY = 86_400_000

Met = list[tuple[str, int]]


def counted(met: Met, counts: Counts | None = None) -> Counts:
    counts = Counts() if counts is None else counts
    counts.add([item_id for item_id, _ in met], [time for _, time in met])
    return counts


def directly(met: Met) -> tuple[float, dict[str, float]]:
    """Decayed total and shares, by the formula."""
    as_of = max(time for _, time in met)
    weights: dict[str, float] = {}
    for item_id, time in met:
        weights[item_id] = weights.get(item_id, 0.0) + 0.5 ** ((as_of - time) / HALF_LIFE_MS)
    total = sum(weights.values())
    return total, {item_id: weight / total for item_id, weight in weights.items()}


def agrees(snapshot: Snapshot, met: Met) -> None:
    total, shares = directly(met)
    assert (snapshot.events, snapshot.as_of) == (len(met), max(time for _, time in met))
    assert snapshot.weight == pytest.approx(total, rel=1e-9)
    found = dict(snapshot.items)
    assert all(
        found.get(item_id, 0.0) == pytest.approx(share, rel=1e-9, abs=1e-12) for item_id, share in shares.items()
    )
    assert [share for _, share in snapshot.items] == sorted(found.values(), reverse=True)


def test_an_event_counts_half_a_half_life_later() -> None:
    snapshot = counted([("old", NOW - HALF_LIFE_MS), ("new", NOW), ("older", NOW - 2 * HALF_LIFE_MS)]).snapshot({})
    assert snapshot.weight == pytest.approx(1.75)
    assert [item_id for item_id, _ in snapshot.items] == ["new", "old", "older"]
    assert [share for _, share in snapshot.items] == pytest.approx([1 / 1.75, 0.5 / 1.75, 0.25 / 1.75])


MET = st.lists(st.tuples(st.sampled_from("abcde"), st.integers(NOW - 40 * DAY, NOW)), min_size=1, max_size=40)


@given(MET, st.data())
def test_counts_are_the_formula_however_the_events_are_cut_into_batches(met: Met, data: st.DataObject) -> None:
    cut = data.draw(st.integers(0, len(met)))
    agrees(counted(met[cut:], counted(met[:cut])).snapshot({}), met)


@given(MET, MET)
def test_a_restart_is_as_if_it_had_never_stopped(before: Met, after: Met) -> None:
    restored = Counts.of(decode(encode(counted(before).snapshot({0: 3}))))
    agrees(counted(after, restored).snapshot({}), before + after)


def test_years_between_events_do_not_outgrow_a_float() -> None:
    met = [("a", 0), ("b", NOW), ("a", NOW), ("c", NOW + 10 * 365 * DAY), ("b", NOW + 10 * 365 * DAY - DAY)]
    counts = Counts()
    for each in met:
        counted([each], counts)
    agrees(counts.snapshot({}), met)
    steady = [("ab"[number % 2], NOW + number * DAY) for number in range(3_000)]
    counts = Counts()
    for each in steady:
        counted([each], counts)
    agrees(counts.snapshot({}), steady)


def test_an_item_that_nobody_met_for_years_is_forgotten() -> None:
    counts = counted([("a", 0)])
    counted([("b", NOW)], counts)
    assert len(counts) == 1


def test_what_is_held_is_bounded_and_the_frequent_stay(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(popularity, "MOST_HELD", 100)
    monkeypatch.setattr(popularity, "MOST_ITEMS", 20)
    counts, chance = Counts(), random.Random(1)
    for batch in range(200):
        met = [(f"rare-{batch}-{number}", NOW + batch) for number in range(20)]
        counted(met + [(f"often-{chance.randrange(10)}", NOW + batch) for _ in range(20)], counts)
        assert len(counts) <= 100
    snapshot = counts.snapshot({})
    assert {item_id for item_id, _ in snapshot.items[:10]} == {f"often-{number}" for number in range(10)}
    assert len(snapshot.items) == 20
    assert sum(share for _, share in snapshot.items[:10]) == pytest.approx(
        0.5, abs=0.01
    )  # of all, the forgotten included


def test_a_snapshot_fits_into_a_record_of_kafka() -> None:
    counts = counted([(f"{number:04}" + "é" * 500, NOW - number) for number in range(5_000)])
    snapshot = counts.snapshot({0: 1})
    value = encode(snapshot)
    assert MOST_BYTES - 2_000 < len(value) <= MOST_BYTES
    found = decode(value)
    assert found.items == snapshot.items[: len(found.items)]
    assert msgspec.structs.replace(found, items=[]) == msgspec.structs.replace(snapshot, items=[])


def test_the_record_is_the_json_of_the_contract() -> None:
    value = encode(counted([("a", NOW), ("b", NOW), ("a", NOW)]).snapshot({1: 9, 0: 4}))
    assert orjson.loads(value) == {
        "schema": "item-popularity/1",
        "as_of": NOW,
        "half_life_days": POPULARITY_HALF_LIFE_DAYS,
        "events": 3,
        "weight": 3.0,
        "offsets": {"0": 4, "1": 9},
        "items": [["a", pytest.approx(2 / 3)], ["b", pytest.approx(1 / 3)]],
    }


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"schema": "item-popularity/2"}, "schema 'item-popularity/2'.*same version"),
        ({"schema": ...}, "schema ''"),
        ({"half_life_days": 7.0}, "half_life_days 7.*--popularity-topic"),
        ({"as_of": "now"}, "as_of"),
        ({"as_of": -1}, "as_of"),
        ({"events": ...}, "events"),
        ({"weight": 0}, "weight"),
        ({"offsets": {"0": -1}}, "offsets"),
        ({"offsets": {"x": 1}}, "offsets"),
        ({"items": [["a", 1.5]]}, "items"),
        ({"items": [["", 0.5]]}, "items"),
        ({"items": [["a"]]}, "items"),
        ({"items": None}, "items"),
    ],
    ids=str,
)
def test_a_record_that_cannot_be_read_names_its_field(change: dict[str, Any], said: str) -> None:
    fields = orjson.loads(encode(counted([("a", NOW)]).snapshot({0: 1}))) | change
    with pytest.raises(DataError, match=said):
        decode(orjson.dumps({name: value for name, value in fields.items() if value is not ...}))


@pytest.mark.parametrize("value", [None, b"", b"{", b"[]", b"\xff", b"7"])
def test_what_is_no_record_says_what_to_do(value: bytes | None) -> None:
    with pytest.raises(DataError, match="--popularity-topic"):
        decode(value)


def test_nothing_counted_is_no_snapshot() -> None:
    counts = Counts()
    counts.add([], [])
    with pytest.raises(ValueError, match="nothing"):
        counts.snapshot({})


def record(timestamp: int = NOW, **fields: Any) -> Any:
    event = {"user_id": "u", "action": "view", "time": NOW, "item_id": "a", **fields}
    return SimpleNamespace(key=b"u", value=orjson.dumps(event), headers=(), timestamp=timestamp)


def test_an_event_dated_ahead_does_not_move_the_clock() -> None:
    ahead = record(time=NOW + DAY // 2)
    item_ids, times, bad = read_events([record(time="2026-01-01T00:00:00Z"), ahead, record(-1)], Limits())
    assert (item_ids, times, bad) == (["a"] * 3, [NOW, NOW, NOW], 0)


def test_what_workers_park_is_not_counted_and_what_names_no_item_is_no_fault() -> None:
    broken = SimpleNamespace(key=b"u", value=b"{", headers=(), timestamp=NOW)
    bad = [broken, record(item_id=7), record(time="soon"), record(time=NOW + 3 * DAY), record(user_id="v")]
    assert read_events([*bad, record(item_id=None, query="tent")], Limits()) == ([], [], len(bad))


def test_counting_goes_on_where_the_snapshot_ends_and_takes_new_partitions_from_their_beginning() -> None:
    start = where_to_start({0: 5, 1: 7}, {0: 0, 1: 7, 2: 0}, {0: 9, 1: 7, 2: 4})
    assert (start.offsets, start.anew, start.warning) == ({0: 5, 1: 7, 2: 0}, False, "")
    assert where_to_start({}, {0: 3}, {0: 9}).offsets == {0: 3}


def test_what_retention_took_is_said() -> None:
    start = where_to_start({0: 5, 1: 7}, {0: 8, 1: 0}, {0: 9, 1: 9})
    assert (start.offsets, start.anew) == ({0: 8, 1: 7}, False)
    assert start.warning.startswith("3 records of partition 0 were deleted by retention")


@pytest.mark.parametrize("ends", [{0: 4}, {1: 9}])
def test_a_recreated_topic_is_counted_anew(ends: dict[int, int]) -> None:
    start = where_to_start({0: 5}, dict.fromkeys(ends, 0), ends)
    assert (start.offsets, start.anew) == (dict.fromkeys(ends, 0), True)
    assert "deleted and created again" in start.warning

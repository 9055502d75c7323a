"""Decayed counts obey their formula, survive their record, and go on where a snapshot ended."""

from __future__ import annotations

import random
from types import SimpleNamespace
from typing import Any

import msgspec
import orjson
import pytest
from hypothesis import given
from hypothesis import strategies as st

from models.contract import POPULARITY_HALF_LIFE_DAYS
from stream.contracts.control import Control, encode_control
from stream.contracts.event import Limits
from stream.errors import DataError
from stream.popularity import counts as popularity
from stream.popularity.counts import (
    HALF_LIFE_MS,
    MOST_BYTES,
    Counts,
    Snapshot,
    decode,
    encode,
    read_events,
    where_to_start,
)

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
        found.get(item_id, 0.0) == pytest.approx(share, rel=1e-9, abs=1e-12)
        for item_id, share in shares.items()
    )
    assert [share for _, share in snapshot.items] == sorted(found.values(), reverse=True)


def test_an_event_counts_half_a_half_life_later() -> None:
    snapshot = counted(
        [("old", NOW - HALF_LIFE_MS), ("new", NOW), ("older", NOW - 2 * HALF_LIFE_MS)]
    ).snapshot({})
    assert snapshot.weight == pytest.approx(1.75)
    assert [item_id for item_id, _ in snapshot.items] == ["new", "old", "older"]
    assert [share for _, share in snapshot.items] == pytest.approx(
        [1 / 1.75, 0.5 / 1.75, 0.25 / 1.75]
    )


MET = st.lists(
    st.tuples(st.sampled_from("abcde"), st.integers(NOW - 40 * DAY, NOW)), min_size=1, max_size=40
)


@given(MET, st.data())
def test_counts_are_the_formula_however_the_events_are_cut_into_batches(
    met: Met, data: st.DataObject
) -> None:
    cut = data.draw(st.integers(0, len(met)))
    agrees(counted(met[cut:], counted(met[:cut])).snapshot({}), met)


@given(MET, MET)
def test_a_restart_is_as_if_it_had_never_stopped(before: Met, after: Met) -> None:
    restored = Counts(decode(encode(counted(before).snapshot({0: 3}))))
    agrees(counted(after, restored).snapshot({}), before + after)


def test_years_between_events_do_not_outgrow_a_float() -> None:
    met = [
        ("a", 0),
        ("b", NOW),
        ("a", NOW),
        ("c", NOW + 10 * 365 * DAY),
        ("b", NOW + 10 * 365 * DAY - DAY),
    ]
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
    assert {item_id for item_id, _ in snapshot.items[:10]} == {
        f"often-{number}" for number in range(10)
    }
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
        "min_users": 1,
        "items": [["a", pytest.approx(2 / 3)], ["b", pytest.approx(1 / 3)]],
        "topic_id": "",
    }


def test_a_snapshot_of_an_earlier_version_names_no_topic() -> None:
    fields = orjson.loads(encode(counted([("a", NOW)]).snapshot({0: 1}, "an-id")))
    assert decode(orjson.dumps(fields)).topic_id == "an-id"
    del fields["topic_id"]
    assert decode(orjson.dumps(fields)).topic_id == ""


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


def of_users(met: list[tuple[str, str]], counts: Counts) -> dict[str, float]:
    """Counts (item, user) pairs, and returns the shares of the items that are listed then."""
    counts.add([item for item, _ in met], [NOW] * len(met), [user for _, user in met])
    return dict(counts.snapshot({}).items)


def test_an_item_is_listed_once_enough_different_users_met_it() -> None:
    counts = Counts(min_users=3)
    assert of_users([("a", "u"), ("a", "u"), ("a", "v"), ("a", "u"), ("b", "u")], counts) == {}
    assert counts.snapshot({}).weight == 5  # who is not listed counts in the total
    assert of_users([("a", "w")], counts) == {"a": pytest.approx(5 / 6)}
    assert of_users([("b", "u"), ("b", "v")], counts) == {"a": pytest.approx(5 / 8)}
    assert counts.snapshot({}).min_users == 3


@given(
    st.lists(st.tuples(st.sampled_from("abc"), st.sampled_from("uvwxyz")), min_size=1),
    st.integers(1, 5),
    st.integers(0, 20),
)
def test_listed_are_those_that_enough_users_met_however_the_events_are_cut(
    met: list[tuple[str, str]], least: int, cut: int
) -> None:
    counts = Counts(min_users=least)
    if met[:cut]:
        of_users(met[:cut], counts)
    counts.add([item for item, _ in met[cut:]], [NOW] * len(met[cut:]), [u for _, u in met[cut:]])
    users = {item: {user for each, user in met if each == item} for item, _ in met}
    found = dict(counts.snapshot({}).items)
    assert set(found) == {item for item, some in users.items() if len(some) >= least}
    for item, share in found.items():
        assert share == pytest.approx(sum(each == item for each, _ in met) / len(met))


def test_a_restart_keeps_listed_items_and_counts_users_of_others_anew() -> None:
    counts = Counts(min_users=2)
    of_users([("a", "u"), ("a", "v"), ("b", "u")], counts)
    again = Counts(decode(encode(counts.snapshot({}))), min_users=2)
    assert b"b" not in encode(counts.snapshot({})).split(b"items")[1]
    assert set(of_users([("a", "u"), ("b", "v")], again)) == {"a"}
    assert set(of_users([("b", "u")], again)) == {"a", "b"}


def test_no_item_is_listed_on_account_of_a_user_who_was_erased() -> None:
    counts = Counts(min_users=3)
    of_users([("a", "u"), ("a", "v"), ("b", "u"), ("c", "u"), ("c", "v"), ("c", "w")], counts)
    counts.forget({"u", "nobody"})
    assert counts.held_users == 1, "nothing is held of u; v is held with a"
    # u, v and w met a, but u is gone; v and w are not enough
    assert set(of_users([("a", "w"), ("b", "v"), ("b", "w")], counts)) == {"c"}
    assert set(of_users([("a", "x"), ("b", "x")], counts)) == {"a", "b", "c"}


def take(records: list[Any], counts: Counts) -> None:
    """Counts records as the job does."""
    met = read_events(records, Limits(), NOW)
    counts.forget(met.erased)
    counts.add(met.item_ids, met.times_ms, met.users)


@given(st.lists(st.tuples(st.sampled_from("uvwxyz"), st.booleans())), st.integers(0, 20))
def test_listed_is_what_enough_users_met_who_are_not_erased_however_the_log_is_cut(
    log: list[tuple[str, bool]], cut: int
) -> None:
    """Checks a log in which users meet one item and are erased."""
    counts, users, listed = Counts(min_users=3), set[str](), False
    take([record(user_id="somebody", item_id="other")], counts)
    records = [request("erase", user) if erases else record(user_id=user) for user, erases in log]
    for user, erases in log:
        users = users - {user} if erases else users | {user}
        listed = listed or len(users) >= 3
    for part in (records[:cut], records[cut:]):
        take(part, counts)
    now = "a" in dict(counts.snapshot({}).items)
    assert listed or not now, "at no moment had enough users met it"
    assert now or len(users) < 3, "enough users are left; else it depends on what came together"
    assert counts.held_users == 1 + (0 if now else len(users))


def test_a_restart_after_an_erasure_brings_nothing_of_the_user_back() -> None:
    """A snapshot holds sums and no user, and what lies before its offsets is not read again."""
    before = [record(user_id="u", item_id="rare"), record(user_id="v", item_id="rare")]
    counts = Counts(min_users=3)
    take([*before, request("erase", "u")], counts)
    take([record(user_id="w", item_id="common")], counts)
    stored = encode(counts.snapshot({0: 4}))
    assert not [each for each in ("u", "v", "rare") if f'"{each}"'.encode() in stored]

    # three other users list the item, and it weighs what they did
    again = Counts(decode(stored), min_users=3)
    take([record(user_id=each, item_id="rare") for each in "xyz"], again)
    snapshot = again.snapshot({0: 7})
    assert snapshot.events == 6, "what u did stays a number"
    assert snapshot.weight == pytest.approx(6)
    assert dict(snapshot.items) == {"rare": pytest.approx(3 / 6)}


def test_users_are_held_only_of_items_that_are_held(monkeypatch: pytest.MonkeyPatch) -> None:
    """What counting holds stays bounded however many items and users come by."""
    monkeypatch.setattr(popularity, "MOST_HELD", 100)
    counts = Counts(min_users=4)
    for batch in range(50):
        met = [(f"rare-{batch}-{n}", f"u{batch}-{user}") for n in range(20) for user in range(3)]
        of_users(met, counts)
        assert len(counts) <= 100
        assert counts.held_users <= 3 * len(counts)
    times = [NOW + 3_000 * DAY] * 3
    counts.add(["new"] * 3, times, list("uvw"))
    assert (len(counts), counts.held_users) == (1, 3)  # the others weigh nothing any more
    assert counts.snapshot({}).items == []


def test_nothing_counted_is_no_snapshot() -> None:
    counts = Counts()
    counts.add([], [])
    with pytest.raises(ValueError, match="nothing"):
        counts.snapshot({})


def record(timestamp: int = NOW, key: str = "", **fields: Any) -> Any:
    event = {"user_id": "u", "action": "view", "time": NOW, "item_id": "a", **fields}
    return SimpleNamespace(
        key=(key or event["user_id"]).encode(),
        value=orjson.dumps(event),
        headers=(),
        timestamp=timestamp,
    )


def request(kind: str, user: str, key: bytes | None = None) -> Any:
    asked = Control(kind, user, "r-1", NOW, "a" if kind == "forget" else None)  # type: ignore[arg-type]
    user_key, value, headers = encode_control(asked, key)
    return SimpleNamespace(key=user_key, value=value, headers=headers, timestamp=NOW)


def test_requests_are_no_events_and_name_whom_they_erase() -> None:
    kinds = ("erase", "suppress", "unsuppress", "forget")
    records = [record(), *(request(kind, f"user-{kind}") for kind in kinds)]
    found = read_events(records, Limits(), NOW)
    assert (found.item_ids, found.bad, found.erased) == (["a"], 0, {"user-erase", "user-suppress"})
    # where requests have to be signed, others erase nobody
    key = b"a key of this test"
    signed = [request("erase", "u", key), request("erase", "v"), request("erase", "w", b"other")]
    found = read_events(signed, Limits(), NOW, key)
    assert (found.bad, found.erased) == (0, {"u"})


def test_an_event_dated_ahead_does_not_move_the_clock() -> None:
    ahead = record(time=NOW + DAY // 2)
    records = [record(time="2026-01-01T00:00:00Z"), ahead, record(-1)]
    found = read_events(records, Limits(), NOW + DAY)
    assert tuple(found) == (["a"] * 3, [NOW, NOW, NOW], ["u"] * 3, 0, 0, set())


def test_producers_clocks_cannot_take_over_what_is_popular() -> None:
    """In a topic with CreateTime the record's timestamp is the producer's, too."""
    decade = 10 * 365 * DAY
    future = record(NOW + decade, time=NOW + decade, item_id="from-2036")
    in_seconds = record(NOW // 1000)
    later = record(NOW + DAY // 2, time=NOW + DAY // 2)
    found = read_events([record(), future, in_seconds, later], Limits(), NOW)
    assert tuple(found) == (["a"] * 3, [NOW] * 3, ["u"] * 3, 0, 1, set())
    counts = Counts()
    counts.add(found.item_ids, found.times_ms)
    assert counts.snapshot({}).items == [("a", 1.0)]


def test_what_workers_park_is_not_counted_and_what_names_no_item_is_no_fault() -> None:
    broken = SimpleNamespace(key=b"u", value=b"{", headers=(), timestamp=NOW)
    bad = [
        broken,
        record(item_id=7),
        record(time="soon"),
        record(time=NOW + 3 * DAY),
        record(key="v"),
    ]
    query = record(item_id=None, query="tent")
    assert read_events([*bad, query], Limits(), NOW) == ([], [], [], len(bad), 0, set())


def test_counting_goes_on_behind_the_snapshot_and_begins_new_partitions() -> None:
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


def test_a_topic_that_was_refilled_past_the_old_offsets_is_known_by_its_id() -> None:
    start = where_to_start({0: 5}, {0: 0}, {0: 900}, replaced=True)
    assert (start.offsets, start.anew) == ({0: 0}, True)
    assert "deleted and created again" in start.warning

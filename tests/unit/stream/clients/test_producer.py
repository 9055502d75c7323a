"""What `produce` sends and when; nothing here needs a broker."""

from __future__ import annotations

import itertools
from pathlib import Path

import orjson
import pytest

from stream.clients.producer import (
    UNREADABLE,
    Outgoing,
    Pace,
    Sent,
    looped,
    of_events,
    of_population,
    of_raw_lines,
)
from stream.contracts.event import Event
from stream.files.events import EventFiles
from tests.support.contracts import faults


def test_rate_and_speed_say_when_an_event_is_due() -> None:
    assert [Pace(rate=4).due(number, 0, 0) for number in (0, 1, 8)] == [0.0, 0.25, 2.0]
    assert [Pace(speed=60).due(9, time_ms, 1_000) for time_ms in (1_000, 61_000, 500)] == [
        0.0,
        1.0,
        0.0,
    ]
    assert Pace().due(7, 1_000_000, 0) == 0.0
    assert Pace(speed=1).due(0, None, 5) == Pace(speed=1).due(0, 5, None) == 0.0


def test_events_of_files_are_keyed_by_user_and_valid(tmp_path: Path) -> None:
    path = tmp_path / "events.csv"
    path.write_text(
        "user_id,item_id,event_type,timestamp\n用户,a,view,1764000000\nu2,b,buy,1764000001\n",
        encoding="utf-8",
    )
    sent = list(of_events(EventFiles([path])))
    assert [(each.key, each.time_ms) for each in sent] == [
        ("用户".encode(), 1764000000000),
        (b"u2", 1764000001000),
    ]
    assert not [fault for each in sent for fault in faults("event-1", orjson.loads(each.value))]


def test_a_time_as_text_goes_out_as_it_was_and_paces_by_its_moment() -> None:
    sent = next(of_events([[Event("u", "view", "1970-01-01T00:01:00Z", item_id="a")]]))
    assert (sent.time_ms, orjson.loads(sent.value)["time"]) == (60_000, "1970-01-01T00:01:00Z")


def test_raw_lines_go_out_as_they_are_keyed_where_they_name_a_user(tmp_path: Path) -> None:
    lines = [
        b"{broken",
        b'{"user_id":"u1","time":"1970-01-01T00:00:01Z","odd":1e400}',
        b'{"user_id":"u2"}',
        b'{"user_id":7,"time":2000}',
        b'["u1"]',
        b"\xff",
    ]
    path = tmp_path / "lines"
    path.write_bytes(b"\n".join(lines))
    sent = list(of_raw_lines([path]))
    assert [each.value for each in sent] == lines
    assert [each.key for each in sent] == [
        UNREADABLE,
        b"u1",
        b"u2",
        UNREADABLE,
        UNREADABLE,
        UNREADABLE,
    ]
    assert [each.time_ms for each in sent] == [None, 1_000, 1_000, 2_000, 2_000, 2_000]


def test_each_round_of_a_loop_follows_the_one_before_in_time() -> None:
    records = [Outgoing(b"u", b"1", 5_000), Outgoing(b"u", b"2", 8_000), Outgoing(b"u", b"3", None)]
    rounds = list(itertools.islice(looped(lambda: records), 7))
    assert [each.time_ms for each in rounds] == [5_000, 8_000, None, 8_000, 11_000, None, 11_000]
    assert [each.value for each in rounds] == [b"1", b"2", b"3", b"1", b"2", b"3", b"1"]


def test_a_loop_over_nothing_ends() -> None:
    assert list(looped(list)) == []


def test_the_population_is_endless_valid_and_seeded() -> None:
    first = [each.value for each in itertools.islice(of_population(20, seed=3), 300)]
    again = [each.value for each in itertools.islice(of_population(20, seed=3), 300)]
    assert not [fault for value in first for fault in faults("event-1", orjson.loads(value))]
    timeless = [
        [{**orjson.loads(value), "time": 0} for value in values] for values in (first, again)
    ]
    assert timeless[0] == timeless[1]


@pytest.mark.parametrize("lost", [0, 2])
def test_the_report_says_what_became_of_the_events(lost: int) -> None:
    sent = Sent(sent=10, acknowledged=10 - lost, failed=lost, error="away" if lost else "")
    sent.partitions.update({1: 7, 0: 3})
    sent.last_offsets.update({1: 6, 0: 2})
    report = sent.as_json()
    assert (report["acknowledged"], report["failed"], report["error"]) == (
        10 - lost,
        lost,
        "away" if lost else "",
    )
    assert (report["partitions"], report["last_offsets"]) == ({"0": 3, "1": 7}, {"0": 2, "1": 6})

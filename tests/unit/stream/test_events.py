"""Times, limits, compact events and headers of the event contract; the poison corpus has what is refused."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

from models.compact import ACTIONS, COMPACT, ITEM_ID, QUERY, TITLE, hash64, text_of
from stream.event_faults import BadEvent, depth_of, shown
from stream.events import (
    ORIGIN_HEADER,
    Decoder,
    Event,
    Limits,
    compact_event,
    compact_events,
    joined,
    parse_event,
    parse_time,
)
from tests.poison import LIMIT, TIME_MS, event, padded


def record(value: bytes, timestamp: int = TIME_MS, headers: Any = (), offset: int = 0) -> Any:
    return SimpleNamespace(key=b"poisoned", value=value, headers=headers, timestamp=timestamp, offset=offset)


@pytest.mark.parametrize(
    ("text", "time_ms"),
    [
        ("1970-01-01T00:00:00Z", 0),
        ("2026-01-01T00:00:00Z", 1_767_225_600_000),
        ("2026-01-01 01:00:00.5+01:00", 1_767_225_600_500),
        ("2025-12-31t16:00:00.123999-08:00", 1_767_225_600_123),
        ("2026-01-01T00:00:00.1234567890123Z", 1_767_225_600_123),
        ("2016-12-31T23:59:60Z", 1_483_228_800_000),
        ("2024-02-29T00:00:00-00:00", 1_709_164_800_000),
        ("9999-12-31T23:59:59.999Z", 253_402_300_799_999),
    ],
)
def test_times_become_milliseconds(text: str, time_ms: int) -> None:
    assert parse_time(text) == time_ms


@pytest.mark.parametrize(
    "text",
    [
        "",
        "1767225600000",
        "2026-01-01",
        "2026-01-01T00:00:00",
        "2026-01-01T00:00:00Z\n",
        "2026-01-01T00:00:00+25:00",
        "2026-01-01T24:00:01Z",
        "2026-13-01T00:00:00Z",
        "2025-02-29T00:00:00Z",
        "２０２６-01-01T00:00:00Z",
        "1970-01-01T00:00:00+00:01",
        "9999-12-31T23:59:59-00:01",
    ],
)
def test_what_is_no_moment_is_refused_with_a_fix(text: str) -> None:
    with pytest.raises(BadEvent) as caught:
        parse_time(text)
    assert caught.value.reason == "bad-time"
    assert "RFC 3339" in str(caught.value) or "does not exist" in str(caught.value) or "1970" in str(caught.value)


def test_limits_hold_to_the_byte_and_to_the_millisecond() -> None:
    parse_event(record(padded(LIMIT)), Limits())
    parse_event(record(event(f',"title":"{"x" * 2_048}"')), Limits())
    parse_event(record(event(), timestamp=TIME_MS - 86_400_000), Limits())
    parse_event(record(event(), timestamp=-1), Limits())  # a record without a time of its own
    for value, timestamp in ((padded(LIMIT + 1), TIME_MS), (event(), TIME_MS - 86_400_001)):
        with pytest.raises(BadEvent):
            parse_event(record(value, timestamp), Limits())
    with pytest.raises(BadEvent, match="max_value_bytes"):
        parse_event(record(event()), Limits(max_value_bytes=len(event()) - 1))


def test_the_origin_of_a_forwarded_event_stands_in_for_its_id_whatever_its_bytes() -> None:
    for origin in (b"t-0-1", b"\xff\x00", b"x" * 5_000):
        found = parse_event(record(event(), headers=[("other", b""), (ORIGIN_HEADER, origin)]), Limits())
        assert found.event_id == origin.decode("utf-8", "backslashreplace")
    assert parse_event(record(event(), headers=[(ORIGIN_HEADER, b"")]), Limits()).event_id is None


def compact(**fields: Any) -> Any:
    return compact_events([Event("u", fields.pop("action", "view"), fields.pop("time", 5), **fields)])[0]


def test_a_compact_event_keeps_what_a_model_may_know() -> None:
    found = compact(
        item_id="i-1", title="Zelt für zwei", event_id="e", action="add_to_cart", time="1970-01-01T00:00:01Z"
    )
    assert (found["key"], found["event_id"], found["time_ms"]) == (hash64("i-1"), hash64("e"), 1_000)
    assert (ACTIONS[found["action"]], found["kind"], text_of(found["text"])) == ("add_to_cart", TITLE, "Zelt für zwei")


def test_the_text_of_a_compact_event_is_the_query_then_the_title_then_the_id() -> None:
    assert (compact(item_id="i", title="t", query="q")["kind"], compact(item_id="i", title="t", query="q")["key"]) == (
        QUERY,
        hash64("i"),
    )
    assert (compact(query="q", title="t")["key"], compact(title="t")["key"]) == (hash64("q"), hash64("t"))
    assert (compact(item_id="i")["kind"], text_of(compact(item_id="i")["text"])) == (ITEM_ID, "i")
    assert ACTIONS[compact(action="telepathy", item_id="i")["action"]] == "other"
    assert ACTIONS[compact(action="buy", item_id="i")["action"]] == "purchase"


def test_a_long_text_is_cut_between_characters() -> None:
    assert text_of(compact(query="双" * 20)["text"]) == "双" * 10
    assert text_of(compact(query="a" + "双" * 20)["text"]) == "a" + "双" * 9


def test_the_decoder_makes_the_columns_of_what_it_parsed() -> None:
    values = [event(f',"item_id":"i{place}"') for place in range(3)]
    batch = Decoder().decode("clicks", 2, [record(value, offset=10 + place) for place, value in enumerate(values)])
    assert (batch.topic, batch.partition, batch.first_offset, batch.last_offset) == ("clicks", 2, 10, 12)
    assert batch.compact.dtype == COMPACT
    expected = [compact_event(parse_event(record(value), Limits())) for value in values]
    np.testing.assert_array_equal(batch.compact, np.array(expected, COMPACT))
    empty = Decoder().decode("clicks", 2, [])
    assert (empty.first_offset, empty.last_offset, len(empty.offsets), empty.rejects) == (-1, -1, 0, [])


@pytest.mark.parametrize(
    ("value", "depth"),
    [(b"1", 0), (b"{}", 1), (b'{"a":[{}]}', 3), (b'{"a[[[":"{\\"[{"}', 1), (b"[[", 2), (b"]]]][", 1)],
)
def test_depth_is_counted_outside_of_strings(value: bytes, depth: int) -> None:
    found = depth_of(value)
    assert found == depth or (value == b"]]]][" and found <= depth)


def test_values_are_shown_escaped_and_short() -> None:
    assert shown("a\nb") == "'a\\nb'"
    assert len(shown(b"x" * 10_000)) < 70


def test_batches_that_follow_each_other_join_into_one() -> None:
    good = b'{"user_id":"poisoned","action":"view","time":1,"item_id":"i"}'
    records = [record(b"broken" if place == 1 else good, offset=place) for place in range(4)]
    whole, parts = (
        Decoder().decode("t", 0, records),
        [Decoder().decode("t", 0, records[:3]), Decoder().decode("t", 0, records[3:])],
    )
    one = joined(parts)
    assert (one.first_offset, one.last_offset, one.users) == (whole.first_offset, whole.last_offset, whole.users)
    assert one.offsets.tolist() == whole.offsets.tolist()
    assert [each.offset for each in one.rejects] == [1]

"""Checks times, limits, compact events and headers of the event contract.

The poison corpus has what is refused.
"""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import numpy as np
import orjson
import pytest

from models.compact import ACTIONS, COMPACT, ITEM_ID, QUERY, TITLE, hash64, text_of
from stream.contracts import event_batch
from stream.contracts.event import (
    ORIGIN_HEADER,
    Event,
    Limits,
    compact_event,
    compact_events,
    parse_event,
)
from stream.contracts.event_batch import joined
from stream.contracts.faults import BadEvent, depth_of, shown
from stream.formats.mappings.mapping_file import parse_mapping
from stream.formats.mappings.mapping_format import MappingFormat
from stream.pipeline.decode import Decoder
from tests.support.poison import LIMIT, TIME_MS, event, padded


def record(value: bytes, timestamp: int = TIME_MS, headers: Any = (), offset: int = 0) -> Any:
    return SimpleNamespace(
        key=b"poisoned", value=value, headers=headers, timestamp=timestamp, offset=offset
    )


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


@pytest.mark.parametrize("timestamp", [-1, 0, TIME_MS // 1000])
def test_a_timestamp_that_is_no_moment_makes_no_dead_letter(timestamp: int) -> None:
    """A producer may stamp its records in seconds; then the caller's clock decides."""
    parse_event(record(event(), timestamp), Limits(), TIME_MS)
    parse_event(record(event(), timestamp), Limits())
    with pytest.raises(BadEvent, match="this machine's") as caught:
        parse_event(record(event(), timestamp), Limits(), TIME_MS - 86_400_001)
    assert caught.value.reason == "future-time"
    found = Decoder().decode("t", 0, [record(event(), timestamp)], TIME_MS - 86_400_001)
    assert [each.reason for each in found.rejects] == ["future-time"]


def test_the_origin_of_a_forwarded_event_stands_in_for_its_id_whatever_its_bytes() -> None:
    for origin in (b"t-0-1", b"\xff\x00", b"x" * 5_000):
        found = parse_event(
            record(event(), headers=[("other", b""), (ORIGIN_HEADER, origin)]), Limits()
        )
        assert found.event_id == origin.decode("utf-8", "backslashreplace")
    assert parse_event(record(event(), headers=[(ORIGIN_HEADER, b"")]), Limits()).event_id is None


def compact(**fields: Any) -> Any:
    return compact_events(
        [Event("u", fields.pop("action", "view"), fields.pop("time", 5), **fields)]
    )[0]


def test_a_compact_event_keeps_what_a_model_may_know() -> None:
    found = compact(
        item_id="i-1",
        title="Zelt für zwei",
        event_id="e",
        action="add_to_cart",
        time="1970-01-01T00:00:01Z",
    )
    assert (found["key"], found["event_id"], found["time_ms"]) == (
        hash64("i-1"),
        hash64("e"),
        1_000,
    )
    assert (ACTIONS[found["action"]], found["kind"], text_of(found["text"])) == (
        "add_to_cart",
        TITLE,
        "Zelt für zwei",
    )


def test_the_text_of_a_compact_event_is_the_query_then_the_title_then_the_id() -> None:
    assert (
        compact(item_id="i", title="t", query="q")["kind"],
        compact(item_id="i", title="t", query="q")["key"],
    ) == (
        QUERY,
        hash64("i"),
    )
    assert (compact(query="q", title="t")["key"], compact(title="t")["key"]) == (
        hash64("q"),
        hash64("t"),
    )
    assert (compact(item_id="i")["kind"], text_of(compact(item_id="i")["text"])) == (ITEM_ID, "i")
    assert ACTIONS[compact(action="telepathy", item_id="i")["action"]] == "other"
    assert ACTIONS[compact(action="buy", item_id="i")["action"]] == "purchase"


def test_a_long_text_is_cut_between_characters() -> None:
    assert text_of(compact(query="双" * 20)["text"]) == "双" * 10
    assert text_of(compact(query="a" + "双" * 20)["text"]) == "a" + "双" * 9


def test_the_decoder_makes_the_columns_of_what_it_parsed() -> None:
    values = [event(f',"item_id":"i{place}"') for place in range(3)]
    batch = Decoder().decode(
        "clicks", 2, [record(value, offset=10 + place) for place, value in enumerate(values)]
    )
    assert (batch.topic, batch.partition, batch.first_offset, batch.last_offset) == (
        "clicks",
        2,
        10,
        12,
    )
    assert batch.compact.dtype == COMPACT
    expected = [compact_event(parse_event(record(value), Limits())) for value in values]
    np.testing.assert_array_equal(batch.compact, np.array(expected, COMPACT))
    empty = Decoder().decode("clicks", 2, [])
    assert (empty.first_offset, empty.last_offset, len(empty.offsets), empty.rejects) == (
        -1,
        -1,
        0,
        [],
    )


@pytest.mark.parametrize(
    ("value", "depth"),
    [
        (b"1", 0),
        (b"{}", 1),
        (b'{"a":[{}]}', 3),
        (b'{"a[[[":"{\\"[{"}', 1),
        (b"[[", 2),
        (b"]]]][", 1),
    ],
)
def test_depth_is_counted_outside_of_strings(value: bytes, depth: int) -> None:
    found = depth_of(value)
    assert found == depth or (value == b"]]]][" and found <= depth)


def test_values_are_shown_escaped_and_short() -> None:
    assert shown("a\nb") == "'a\\nb'"
    assert len(shown(b"x" * 10_000)) < 70


def test_batches_that_follow_each_other_join_into_one() -> None:
    good = b'{"user_id":"poisoned","action":"view","time":1767225600000,"item_id":"i"}'
    records = [record(b"broken" if place == 1 else good, offset=place) for place in range(4)]
    whole, pieces = (
        Decoder().decode("t", 0, records),
        [Decoder().decode("t", 0, records[:3]), Decoder().decode("t", 0, records[3:])],
    )
    one = joined(pieces)
    assert (one.first_offset, one.last_offset, one.users) == (
        whole.first_offset,
        whole.last_offset,
        whole.users,
    )
    assert one.offsets.tolist() == whole.offsets.tolist()
    assert [each.offset for each in one.rejects] == [1]


def test_records_of_many_events_become_columns_piece_by_piece(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """What they lead to is that of all at once, bad records and controls included."""
    text = '[event]\nuser_id = "u"\naction = "a"\ntime = "t"\nitem_id = "i[].s"\n'
    shape = MappingFormat(parse_mapping(text, "shape.toml"))

    def several(count: int) -> bytes:
        items = [{"s": f"item-{place}"} for place in range(count)]
        return orjson.dumps({"u": "poisoned", "a": "view", "t": TIME_MS, "i": items})

    values = [several(5), several(3), b"{", several(1), several(9), several(2)]
    records = [record(each, offset=place) for place, each in enumerate(values)]
    whole = Decoder(event_format=shape).decode("t", 0, records)
    monkeypatch.setattr(event_batch, "MOST_ROWS", 4)
    cut = Decoder(event_format=shape).decode("t", 0, records)
    assert (cut.first_offset, cut.last_offset) == (0, 5)
    for name in ("offsets", "checksums", "compact", "timestamps_ms"):
        assert getattr(cut, name).tolist() == getattr(whole, name).tolist()
    assert cut.users == whole.users == [b"poisoned"] * 20
    assert [each.offset for each in cut.rejects] == [2]

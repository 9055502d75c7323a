"""Columns are recognised by their names, and times however they are written."""

from __future__ import annotations

from typing import Any

import pytest

from stream.contracts.event import Limits
from stream.contracts.faults import BadEvent
from stream.contracts.times import FIRST_TIME_MS
from stream.errors import DataError, UsageError
from stream.files.columns import (
    looks_like_data,
    match_columns,
    parse_mapping,
    path_of,
    unread_columns,
)
from stream.files.rows import RowReader
from stream.formats.usual_names import SYNONYMS

ROW = {"user_id": "u1", "item_id": "a"}
SOON = Limits(latest_ms=1_830_000_000_000)


@pytest.mark.parametrize(
    ("written", "time_ms"),
    [
        ("1764000000", 1764000000000),
        ("1764000000.25", 1764000000250),
        ("1764000000000", 1764000000000),
        ("1764000000000000", 1764000000000),
        ("1.764e9", 1764000000000),
        ("2025-11-24T17:00:00+01:00", 1764000000000),
        ("2025-11-24 16:00", 1764000000000),
        ("2025-11-24 16:00:00 UTC", 1764000000000),
        ("2025-11-24T18:00:00.000+0200", 1764000000000),
        ("20251124", 1763942400000),
        ("20251124160000", 1764000000000),
    ],
)
def test_ways_to_write_a_time(written: str, time_ms: int) -> None:
    assert RowReader(SOON).event({**ROW, "time": written}).time == time_ms


def test_what_is_assumed_is_counted() -> None:
    rows = RowReader()
    event = rows.event({**ROW, "dwell_ms": "long", "value": "4.5"})
    assert (event.action, event.time, event.dwell_ms, event.value) == (
        "view",
        FIRST_TIME_MS + 1,
        None,
        4.5,
    )
    assert rows.event({**ROW, "time": "2025-11-24", "action": "Add to-cart"}).action == (
        "add_to_cart"
    )
    assert (rows.untimed, rows.without_zone, rows.without_number, rows.without_action) == (
        1,
        1,
        1,
        1,
    )


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        ({"user_id": " "}, "missing-field"),
        ({"time": "-3"}, "bad-time"),
        ({"time": "noon"}, "bad-time"),
        ({"time": "5"}, "bad-time"),
        ({"time": "9" * 5_000}, "bad-time"),
        ({"time": {"$date": "2026-01-01T00:00:00Z"}}, "wrong-type"),
        ({"user_id": {"$oid": "65aa"}}, "wrong-type"),
        ({"item_id": [{"item_id": "sku-1"}]}, "wrong-type"),
        ({"item_id": '{"$oid": "65aa"}'}, "wrong-type"),
        ({"item_id": "['sku-1']"}, "wrong-type"),
        ({"session_id": True}, "wrong-type"),
        ({"title": {"en": "Tent"}}, "wrong-type"),
    ],
)
def test_a_row_that_gives_no_event_is_named(change: dict[str, Any], reason: str) -> None:
    with pytest.raises(BadEvent) as raised:
        RowReader().event({**ROW, **change})
    assert raised.value.reason == reason


def test_every_other_name_of_a_field_is_recognised() -> None:
    for field, others in SYNONYMS.items():
        for name in (field, *others):
            header = ["user_id", "item_id", name.replace("_", " ").upper()]
            assert match_columns(header, {}, "file")[field] in header


def test_a_mapping_comes_first() -> None:
    assert parse_mapping("user_id=visitor, sku=thing") == {"user_id": "visitor", "item_id": "thing"}
    header = ["visitor", "user", "thing", "item"]
    assert match_columns(header, {"user_id": "visitor", "item_id": "thing"}, "file") == {
        "user_id": "visitor",
        "item_id": "thing",
    }


def test_a_mapping_must_name_fields_and_columns_that_exist() -> None:
    with pytest.raises(UsageError, match="'who=x' is not FIELD=COLUMN"):
        parse_mapping("who=x")
    with pytest.raises(DataError, match="user_id=who, but its columns are user, item"):
        match_columns(["user", "item"], {"user_id": "who"}, "file")


def test_columns_that_are_not_recognised_are_listed() -> None:
    with pytest.raises(DataError, match=r"its columns are person, thing. Say which is which"):
        match_columns(["person", "thing"], {}, "file")


def test_a_path_leads_into_an_object_and_a_name_with_dots_comes_first() -> None:
    names = ["user", "product.id", "items"]
    assert path_of("user.$oid", names) == ("user", "$oid")
    assert path_of("product.id", names) == ("product.id",)
    assert path_of("product.id.x", names) == ("product.id", "x")
    assert path_of("other.id", names) is None
    mapping = parse_mapping("user_id=user.$oid,item_id=items.0.item_id")
    assert match_columns(names, mapping, "file") == {
        "user_id": "user.$oid",
        "item_id": "items.0.item_id",
    }


def test_a_column_may_be_no_field_and_only_the_user_is_needed() -> None:
    assert parse_mapping("title=") == {"title": ""}
    header = ["user_id", "item_id", "title"]
    assert "title" not in match_columns(header, {"title": ""}, "file")
    with pytest.raises(UsageError, match="user_id="):
        parse_mapping("user_id=")


def test_the_title_of_a_review_is_not_that_of_an_item() -> None:
    review = ["rating", "title", "text", "asin", "user_id", "timestamp"]
    assert "title" not in match_columns(review, {}, "file")
    assert match_columns(review, {"title": "title"}, "file")["title"] == "title"
    assert match_columns(["user_id", "movieId", "rating", "title"], {}, "file")["title"] == "title"


def test_types_behind_the_names_are_understood() -> None:
    header = ["user_id:token", "item_id:token", "rating:float", "timestamp:float"]
    found = match_columns(header, {}, "file")
    assert (found["user_id"], found["time"]) == ("user_id:token", "timestamp:float")
    assert match_columns(header, {"time": "timestamp"}, "file")["time"] == "timestamp"


def test_columns_that_look_useful_and_are_not_read_are_known() -> None:
    names = ["user", "eventTime", "category_code", "brand", "user_session", "price", "note"]
    assert unread_columns(names, ["user"]) == ["eventTime", "category_code", "user_session"]


def test_a_first_line_with_a_number_or_a_time_is_no_header() -> None:
    assert looks_like_data(["196", "242", "3", "881250949"])
    assert looks_like_data(["u1", "i1", "2026-01-01T00:00:00Z"])
    assert not looks_like_data(["user_id", "1", "2"])
    assert not looks_like_data(["person", "thing", "when"])

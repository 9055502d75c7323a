"""The classes of an update are the published schema, field by field."""

from __future__ import annotations

from dataclasses import MISSING, fields
from typing import Any

import orjson
import pytest

from interest_stream import Cause, DataError, Interest, Item, Place, Update
from interest_stream.updates import ModelVersion, Phrase, ZeroShot, decode_update
from tests.support.contracts import golden, schema

UPDATE = schema("update-1")
OF_UPDATE = UPDATE["properties"]


@pytest.mark.parametrize(
    ("class_", "described"),
    [
        (Update, UPDATE),
        (Interest, OF_UPDATE["interests"]["items"]),
        (Item, OF_UPDATE["items"]["items"]),
        (Cause, OF_UPDATE["because"]["items"]),
        (Place, OF_UPDATE["source"]),
        (ModelVersion, OF_UPDATE["model"]),
        (ZeroShot, OF_UPDATE["zero_shot"]),
        (Phrase, OF_UPDATE["zero_shot"]["properties"]["interests"]["items"]),
    ],
)
def test_fields_are_those_of_the_schema(class_: type[Any], described: dict[str, Any]) -> None:
    assert {each.name for each in fields(class_)} == described["properties"].keys()
    required = {each.name for each in fields(class_) if each.default is MISSING}
    assert required == set(described["required"])


def test_golden_updates_are_read_as_they_are() -> None:
    for published in golden("updates-valid.jsonl"):
        update = decode_update(orjson.dumps(published), "a record")
        assert update.update_id == published["update_id"]
        assert [each.interest for each in update.interests] == [
            each["interest"] for each in published["interests"]
        ]
        assert update.source.offset == published["source"]["offset"]


def test_fields_of_later_versions_are_left_out() -> None:
    published = {**golden("updates-valid.jsonl")[0], "mood": "curious"}
    assert not hasattr(decode_update(orjson.dumps(published), "a record"), "mood")


@pytest.mark.parametrize(
    ("value", "message"),
    [
        (b"{", "the record is no interest update"),
        (b'{"user_id": "u"}', "missing required field"),
        (
            orjson.dumps({**golden("updates-valid.jsonl")[0], "schema": "interest-update/9"}),
            "the record has schema 'interest-update/9'",
        ),
    ],
)
def test_what_is_no_update_is_named(value: bytes, message: str) -> None:
    with pytest.raises(DataError, match=message):
        decode_update(value, "the record")

"""Proposes mappings: what is found is right, what is not found is said, nobody's data is copied."""

from __future__ import annotations

import random
from typing import Any

import orjson
import pytest

from stream.formats.mappings.mapping_file import parse_mapping
from stream.formats.mappings.mapping_format import MappingFormat
from stream.formats.mappings.suggestion import suggest

TIME_MS = 1_800_000_000_000


def visits(**parts: Any) -> list[bytes]:
    random_ = random.Random(0)
    return [
        orjson.dumps(
            {
                "eventName": random_.choice(("page_view", "zoomed")),
                "visitor": {"id": f"secret-{number % 9}", "name": "Ada"},
                "occurredAt": TIME_MS // 1_000 + number,
                "product": {"sku": number, "name": "lamp", "full.price": 3.5},
                "messageId": f"m-{number}",
                **parts,
            }
        )
        for number in range(60)
    ]


@pytest.mark.parametrize(
    ("time", "line"),
    [
        (TIME_MS, '{ path = "occurredAt", unit = "ms" }'),
        (TIME_MS // 1_000, '{ path = "occurredAt", unit = "s" }'),
        (str(TIME_MS * 1_000), '{ path = "occurredAt", unit = "us" }'),
        ("2027-01-15T08:00:00Z", '"occurredAt"'),
        ("2027-01-15 08:00:00.5 UTC", '{ path = "occurredAt", unit = "utc" }'),
        ("2027-01-15 08:00:00", '{ path = "occurredAt", unit = "local", zone = "UTC" }'),
    ],
)
def test_what_is_proposed_reads_the_sample(time: Any, line: str) -> None:
    documents = visits(occurredAt=time)
    found = suggest(documents)
    assert found.missing == []
    assert f"time = {line}   # in 60 of 60" in found.text
    assert 'user_id = "visitor.id"' in found.text
    assert 'item_id = "product.sku"' in found.text
    assert 'title = "product.name"' in found.text
    assert '# "zoomed" = "other"' in found.text
    assert "secret" not in found.text
    assert "lamp" not in found.text
    shape = MappingFormat(parse_mapping(found.text, "found.toml"))
    for document in documents:
        (event,) = shape.read(document, (), None).events
        assert isinstance(event.time, int)
        assert TIME_MS - 1 <= event.time <= TIME_MS + 60_000
        assert (event.title, event.user_id[:7]) == ("lamp", "secret-")


def test_an_array_is_taken_apart() -> None:
    found = suggest(visits(lines=[{"productId": "a", "price": 2}, {"productId": "b"}]))
    assert 'item_id = ["lines[].productId", "product.sku"]' in found.text
    assert 'value = "lines[].price"' in found.text


def test_what_is_not_found_is_said() -> None:
    found = suggest([b'{"who":"u","what":"x","when":1}', b"broken", b"[]"])
    assert found.missing == ["user_id", "action", "time", "item_id"]
    assert "#   who: in 1, str" in found.text
    assert found.text.count("no field is called so") == 4

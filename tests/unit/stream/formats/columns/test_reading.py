"""What is read column by column is, record for record, what is read one by one."""

from __future__ import annotations

import json
import random
import re
from collections.abc import Sequence
from types import SimpleNamespace
from typing import Any, Final

import pytest

from models.compact import hash64
from stream.contracts.event import CONTROL_HEADER, ORIGIN_HEADER, Limits
from stream.contracts.event_batch import EventBatch
from stream.contracts.faults import UnreadableBytes
from stream.formats.columns import reading
from stream.formats.columns.event_columns import ColumnFormat
from stream.formats.event_format import EventFormat
from stream.formats.mappings.mapping_file import parse_mapping
from stream.formats.mappings.mapping_format import MappingFormat
from stream.formats.registry import format_named
from stream.pipeline.decode import Decoder
from tests.support.foreign import cases
from tests.unit.stream.formats.test_records import NOW_MS, RAW, WRITTEN
from tests.unit.stream.formats.test_refusals import changed, places

SHOP: Final = """\
[event]
user_id = ["user.id", "anonymous_id"]
action = ["event", { constant = "view" }]
time = { path = "ts", unit = "s" }
item_id = ["lines[].sku", "product.sku"]
title = 'product."full.name"'
query = "search"
categories = { path = "category", split = " > " }
event_id = "message_id"
session_id = "session"
dwell_ms = { path = "seconds", unit = "s" }
value = "stars"

[actions]
product_view = "view"

[[drop]]
path = "consent"
in = [false, "no"]
reason = "consent"

[[drop]]
path = "robot"
given = true
"""
LISTED: Final = """\
unlisted_actions = "drop"

[event]
user_id = "user.id"
action = "event"
time = ["ts", { received = true }]
item_id = "product.sku"

[actions]
product_view = "view"
"""
DOCUMENT: Final[dict[str, Any]] = {
    "user": {"id": "u"},
    "anonymous_id": "a",
    "event": "product_view",
    "ts": NOW_MS / 1000,
    "product": {"sku": "item-1", "full.name": "Tent"},
    "category": "Outdoor > Camping",
    "search": None,
    "lines": None,
    "message_id": "m",
    "session": 7,
    "seconds": 4.5,
    "stars": 3,
    "consent": True,
    "robot": None,
}
EVENT: Final[dict[str, Any]] = {
    "user_id": "u",
    "action": "view",
    "time": NOW_MS,
    "title": "Tent",
    "query": None,
    "categories": ["Outdoor", "Camping"],
    "event_id": "m",
    "session_id": "s",
    "dwell_ms": 4_500,
    "value": 3,
}
MORE: Final[tuple[dict[str, Any], ...]] = (
    *[{}] * 6,
    {"consent": False},
    {"robot": "crawler"},
    {"event": "identify"},
    {"user": None, "anonymous_id": "u"},
    {"product": None, "search": "tents"},
    {"lines": [{"sku": "a"}, {"sku": "b"}]},
    {"ts": "2026-01-01T00:00:00Z"},
    {"ts": None},
)
"""What makes another usual document of DOCUMENT."""

PLACE: Final = re.compile("0x[0-9a-f]+")
"""In memory, which messages of a library have."""

FORMATS: Final[dict[str, EventFormat]] = {
    "contract": format_named("contract"),
    "segment": format_named("segment"),
    "segment, a purpose": format_named("segment", purposes={"Advertising"}),
    "cloudevents": format_named("cloudevents"),
    "debezium": format_named("debezium"),
    "posthog": format_named("posthog"),
    "rudderstack": format_named("rudderstack"),
    "shop": MappingFormat(parse_mapping(SHOP, "shop.toml")),
    "listed": MappingFormat(parse_mapping(LISTED, "listed.toml")),
}


def documents(name: str, random_: random.Random) -> list[tuple[bytes, bytes, Any]]:
    """Keys, sound documents and headers of a format."""
    if name in ("shop", "listed"):
        ts = NOW_MS // 1000 if name == "shop" else NOW_MS
        found = []
        for place in range(25):
            more = {"product": {"sku": f"item-{place}"}, "ts": ts, "user": {"id": "u"}}
            more |= random_.choice(MORE)
            found.append((b"u", json.dumps(DOCUMENT | more).encode(), ()))
        return found
    if name == "contract":
        return [
            (
                b"u",
                json.dumps(EVENT | {"time": NOW_MS - place, "item_id": f"i{place}"}).encode(),
                (),
            )
            for place in range(25)
        ]
    return [
        (case.events[0]["user_id"].encode() if case.events else b"u", case.value, case.headers)
        for case in cases(name.partition(",")[0], 25, seed=random_.randrange(1_000))
    ]


def drawn(name: str, random_: random.Random) -> list[Any]:
    """Records of a format, sound ones and those with a defect of any kind, mixed."""
    found: list[tuple[bytes | None, Any, Any, int]] = []
    for key, value, headers in documents(name, random_):
        found += [(key, value, headers, NOW_MS)] * 3
        sound = json.loads(value)
        where = random_.choice(places(sound))
        values = [
            json.dumps(changed(sound, where, each)).encode()
            for each in (*random_.sample(WRITTEN, 12), ...)
        ]
        marked = json.dumps(changed(sound, where, "mark")).encode()
        values += [marked.replace(b'"mark"', each) for each in RAW]
        values += [
            b"[" + value + b"," + value + b"]",
            value + b"\n" + value,
            b" " + value,
            b"",
            b"x",
        ]
        found += [(key, each, headers, random_.choice((NOW_MS, -1))) for each in values]
        found += [
            (None, value, headers, NOW_MS),
            (b"another", value, headers, NOW_MS),
            (key, None, headers, NOW_MS),
            (key, value, [(ORIGIN_HEADER, b"raw-1-2-3")], NOW_MS),
            (key, value, [(CONTROL_HEADER, b"1")], NOW_MS),
            (key, value, [("trace", b"1")], NOW_MS),
            (key, value, headers, 1_000_000_000_000),  # the event is ahead of the broker
            (key, value.replace(b"u", "é".encode()), headers, NOW_MS),
        ]
    unreadable = UnreadableBytes(b"x")
    unreadable.reason, unreadable.message, unreadable.first_offset = "corrupt-batch", "broken", 0
    found.append((None, unreadable, (), NOW_MS))
    random_.shuffle(found)
    return [
        SimpleNamespace(key=key, value=value, headers=headers, timestamp=stamp, offset=10 * place)
        for place, (key, value, headers, stamp) in enumerate(found)
    ]


def told(batch: EventBatch) -> dict[str, Any]:
    """All that a batch holds, so that two can be compared."""
    rejects = [
        (
            each.offset,
            each.reason,
            each.error,
            PLACE.sub("", each.message),
            each.document,
            each.partial,
        )
        for each in batch.rejects
    ]
    return {
        "rows": [row.tobytes() for row in batch.compact],
        "users": batch.users,
        "offsets": batch.offsets.tolist(),
        "checksums": batch.checksums.tolist(),
        "timestamps": batch.timestamps_ms.tolist(),
        "rejects": rejects,
        "dropped": dict(batch.dropped),
        "place": (batch.topic, batch.partition, batch.first_offset, batch.last_offset),
    }


def one_by_one(
    decoder: Decoder, records: Sequence[Any], now_ms: int | None, patch: pytest.MonkeyPatch
) -> EventBatch:
    with patch.context() as patched:
        patched.setattr("stream.formats.columns.reading.LEAST_AT_ONCE", len(records) + 1)
        return decoder.decode("clicks", 3, records, now_ms)


@pytest.mark.parametrize("name", FORMATS)
def test_columns_say_what_the_reading_of_each_record_says(
    name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    random_ = random.Random(name)
    records = drawn(name, random_)
    for limits, now_ms in (
        (Limits(), None),
        (Limits(max_value_bytes=600, max_text_bytes=200, max_future_s=0), NOW_MS - 1),
    ):
        decoder = Decoder(limits, event_format=FORMATS[name])
        expected = told(one_by_one(decoder, records, now_ms, monkeypatch))
        found = told(decoder.decode("clicks", 3, records, now_ms))
        for what, value in expected.items():
            assert found[what] == value, what
        assert expected["rejects"]
        assert expected["dropped"] or name == "contract" or limits.max_value_bytes < 1_000


@pytest.mark.parametrize("name", FORMATS)
def test_sound_records_need_no_reading_of_their_own(name: str) -> None:
    event_format = FORMATS[name]
    assert isinstance(event_format, ColumnFormat)
    records = [
        SimpleNamespace(key=key, value=value, headers=headers, timestamp=NOW_MS, offset=place)
        for place, (key, value, headers) in enumerate(documents(name, random.Random(name)) * 2)
    ]
    found = reading.PlainReader(event_format, Limits(), hash64).read(records, NOW_MS)
    assert found is not None
    assert len(found.batch.users) > len(records) // 6


def test_batches_of_which_hardly_a_record_is_plain_are_tried_now_and_then() -> None:
    value = json.dumps(DOCUMENT | {"lines": [{"sku": "a"}, {"sku": "b"}]}).encode()
    records = [
        SimpleNamespace(key=b"u", value=value, headers=(), timestamp=NOW_MS, offset=each)
        for each in range(40)
    ]
    reader = reading.PlainReader(FORMATS["shop"], Limits(), hash64)
    tried = [reader.read(records, NOW_MS) is not None for _ in range(40)]
    assert [place for place, each in enumerate(tried) if each] == [0, 16, 32]


@pytest.mark.parametrize("time", [10**30, -(10**30), 2**63, -1])
def test_moments_of_any_size_are_refused_and_break_nothing(time: int) -> None:
    fields = {"event": "Product Viewed", "distinct_id": "u", "now": "2026-01-01T00:00:00Z"}
    values = [
        ("posthog", fields | {"offset": time, "properties": {"product_id": "a"}}),
        ("debezium", {"op": "c", "after": {"user_id": "u", "item_id": "a"}, "ts_ms": time}),
        ("contract", {"user_id": "u", "action": "view", "time": time, "item_id": "a"}),
        ("shop", DOCUMENT | {"ts": time}),
    ]
    for name, document in values:
        records = [
            SimpleNamespace(
                key=b"u", value=json.dumps(document).encode(), headers=(), timestamp=-1, offset=each
            )
            for each in range(40)
        ]
        batch = Decoder(event_format=FORMATS[name]).decode("clicks", 0, records)
        assert len(batch.rejects) + len(batch.users) == len(records), name

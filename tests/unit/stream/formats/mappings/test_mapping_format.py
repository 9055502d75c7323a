"""Reads documents by mappings: each kind of source, what is refused on which line, what is left."""

from __future__ import annotations

import contextlib
import copy
import json
import random
from types import SimpleNamespace
from typing import Any, Final

import orjson
import pytest

from stream.audit.documents import meant_by
from stream.audit.event_rules import Limits as AuditLimits
from stream.audit.mapping_rules import MappedShape
from stream.contracts.event import Event, Limits
from stream.contracts.faults import BadEvent
from stream.formats.mappings.mapping_file import parse_mapping
from stream.formats.mappings.mapping_format import MappingFormat
from stream.formats.mappings.paths import Extractor, parse_path
from stream.formats.records import read_record

NOW_MS: Final = 1_800_000_000_000

SHOP: Final = """\
# a shop
unlisted_actions = "drop"

[event]
user_id = ["user.id", "anonymous"]
action = ["name", { constant = "view" }]
time = { path = "at", unit = "s" }
item_id = ["lines[].sku", "about.sku"]
title = "lines[].\\"full.name\\""
categories = { path = "about.kind", split = ">" }
event_id = "id"
value = "total"
dwell_ms = { path = "seconds", unit = "s" }

[actions]
pageview = "view"
addtocart = "add_to_cart"
view = "view"

[[drop]]
path = "consent.personalization"
not_in = [true]
reason = "consent"

[[drop]]
path = "lines[].free"
in = [true, 1]
"""


def document(**fields: Any) -> dict[str, Any]:
    return {
        "user": {"id": "u"},
        "name": "pageview",
        "at": NOW_MS / 1000,
        "about": {"sku": "a"},
        "consent": {"personalization": True},
        **fields,
    }


def read(mapping: str, given: Any, received_ms: int | None = NOW_MS) -> list[Event]:
    found = MappingFormat(parse_mapping(mapping, "shop.toml"))
    return list(found.read(orjson.dumps(given), (), received_ms).events)


def read_one(line: str, given: dict[str, Any]) -> Any:
    """The field that a line of a mapping gives."""
    fields = {"user_id": '"u"', "action": '"a"', "time": '"t"', "item_id": '"i"'}
    name, _, rest = line.partition(" = ")
    lines = "\n".join(f"{key} = {value}" for key, value in {**fields, name: rest}.items())
    (event,) = read(f"[event]\n{lines}\n", {"u": "u", "a": "view", "t": NOW_MS, "i": "i", **given})
    return getattr(event, name)


def fault_of(line: str, given: dict[str, Any]) -> BadEvent:
    with pytest.raises(BadEvent) as caught:
        read_one(line, given)
    return caught.value


def test_an_event_of_the_shop() -> None:
    (event,) = read(
        SHOP, document(total="12.50", seconds=3, id=77, about={"sku": 5, "kind": "x > y"})
    )
    assert event == Event(
        "u", "view", NOW_MS, item_id="5", categories=["x", "y"], event_id="77", dwell_ms=3_000,
        value=12.5,
    )  # fmt: skip


def test_an_array_is_an_event_each_with_ids_of_their_own() -> None:
    lines = [
        {"sku": "a"},
        {"sku": 7, "full.name": "Seven"},
        {"sku": "f", "free": True},
        {"sku": "z"},
    ]
    events = read(SHOP, document(id="o", name="addtocart", lines=lines))
    assert [(each.item_id, each.title, each.event_id) for each in events] == [
        ("a", None, "o#0"),
        ("7", "Seven", "o#1"),
        ("z", None, "o#3"),
    ]
    assert {each.action for each in events} == {"add_to_cart"}
    alone = read(SHOP, document(id="o", lines=[{"sku": "a"}]))
    assert [each.event_id for each in alone] == ["o#0"]
    nothings: tuple[Any, ...] = ([], None)
    for nothing in nothings:
        assert [each.item_id for each in read(SHOP, document(lines=nothing))] == ["a"]


def test_what_is_left_out_is_counted_by_its_reason() -> None:
    shop = MappingFormat(parse_mapping(SHOP, "shop.toml"))
    for given, dropped in (
        (document(consent=None), {"consent": 1}),
        (document(consent={"personalization": 1}), {"consent": 1}),
        (document(name="identify"), {"no-behaviour": 1}),
        (document(lines=[{"free": 1}, {"free": True}]), {"filter": 2}),
    ):
        reading = shop.read(orjson.dumps(given), (), NOW_MS)
        assert (list(reading.events), dict(reading.dropped)) == ([], dropped)


@pytest.mark.parametrize(
    ("line", "given", "value"),
    [
        ('time = { path = "x", unit = "s" }', {"x": 1_800_000_000.25}, NOW_MS + 250),
        ('time = { path = "x", unit = "s" }', {"x": "1800000000"}, NOW_MS),
        ('time = { path = "x", unit = "ms" }', {"x": NOW_MS}, NOW_MS),
        ('time = { path = "x", unit = "us" }', {"x": NOW_MS * 1_000 + 999}, NOW_MS),
        ('time = { path = "x", unit = "ns" }', {"x": str(NOW_MS * 1_000_000)}, NOW_MS),
        ('time = "x"', {"x": "2027-01-15T09:00:00+01:00"}, NOW_MS),
        ('time = "x"', {"x": NOW_MS}, NOW_MS),
        ('time = { path = "x", unit = "utc" }', {"x": "2027-01-15 08:00:00.5 UTC"}, NOW_MS + 500),
        (
            'time = { path = "x", unit = "local", zone = "Europe/Berlin" }',
            {"x": "2027-01-15 09:00:00.123456"},
            NOW_MS + 123,
        ),
        ('time = ["x", { received = true }]', {}, NOW_MS),
        ('item_id = ["x", "y.z"]', {"x": "", "y": {"z": 12.0}}, "12"),
        ('item_id = "tags[]"', {"tags": ["only"]}, "only"),
        ('categories = "x"', {"x": ["a", 2, None, ""]}, ["a", "2"]),
        ('categories = { constant = ["shoes"] }', {}, ["shoes"]),
        ('action = { constant = "play" }', {}, "play"),
        ('value = "x"', {"x": "-1e3"}, -1_000.0),
        ('dwell_ms = { path = "x", unit = "us" }', {"x": 1_500}, 1.5),
    ],
)
def test_each_source(line: str, given: dict[str, Any], value: Any) -> None:
    assert read_one(line, given) == value


@pytest.mark.parametrize(
    ("line", "given", "reason", "said"),
    [
        ('time = { path = "x", unit = "ms" }', {"x": NOW_MS // 1000}, "bad-time", "seconds"),
        ('time = "x"', {"x": NOW_MS // 1000}, "bad-time", 'unit = "s"'),
        ('time = "x"', {"x": "yesterday"}, "bad-time", "RFC 3339"),
        ('time = { path = "x", unit = "s" }', {"x": True}, "bad-time", "Unix time in s"),
        ('time = "x"', {}, "missing-field", "nothing is given"),
        ('item_id = "x"', {"x": {"id": 1}}, "wrong-type", "is not a text"),
        ('item_id = "x"', {"x": 1.5}, "wrong-type", "is not a text"),
        ('item_id = "x"', {}, "no-subject", "nothing is given"),
        ('item_id = "x[]"', {"x": "a"}, "wrong-type", "is no array"),
        ('user_id = ["x", "y"]', {}, "missing-field", "user_id = x, y"),
        ('value = "x"', {"x": "1,5"}, "wrong-type", "finite number"),
        (
            'time = { path = "x", unit = "local", zone = "Europe/Berlin" }',
            {"x": "2027-03-28T02:30:00"},
            "bad-time",
            "does not exist in Europe/Berlin",
        ),
    ],
)
def test_what_is_refused_names_the_line(
    line: str, given: dict[str, Any], reason: str, said: str
) -> None:
    fault = fault_of(line, given)
    assert fault.reason == reason
    assert said in str(fault)
    assert reason == "wrong-type" or str(fault).startswith("shop.toml:")


def test_an_hour_that_comes_twice_is_the_first() -> None:
    line = 'time = { path = "x", unit = "local", zone = "Europe/Berlin" }'
    found = read_one(line, {"x": "2026-10-25T02:30:00"})
    assert found == read_one('time = "x"', {"x": "2026-10-25T02:30:00+02:00"})


HOSTILE: Final[tuple[Any, ...]] = (
    None, "", "x", "7", 7, 7.0, 7.5, -1, True, False, [], {}, ["a"], [1, None], {"id": 1}, 1e300,
    2**63, 2**63 - 1, -(2**63), 2**53, float(2**53), "é\x00", "\x7f", 10**24, NOW_MS,
    "2027-01-15T08:00:00Z", NOW_MS // 1000, "1800000000", "1800000000.5", 1_800_000_000.5,
    [{"sku": 1}, {"sku": None}], [{}, 3, None], "pageview", "addtocart", "x" * 3_000, {"sku": {}},
    {"sku": "b", "kind": ["q", "r"]}, 10**400,
)  # fmt: skip
BYTES: Final = (
    b"{", b"[]", b"{}", b"null", b'"\\ud800"', b"1e400", b"NaN", b"\xff", b"  ", b"[[", b"7" * 400,
    b"7" * 5_000, b'{"user":1,"user":{"id":"u"}}', b"\xef\xbb\xbf{}", b'{"q":' * 70,
)  # fmt: skip
PATHS: Final = (
    ("user",), ("user", "id"), ("anonymous",), ("name",), ("at",), ("lines",), ("about",), ("id",),
    ("about", "sku"), ("about", "kind"), ("total",), ("seconds",), ("consent", "personalization"),
    ("unknown",),
)  # fmt: skip


def hostile_document(random_: random.Random) -> bytes:
    """A document of the shop with some values exchanged, written as JSON may be."""
    given: dict[str, Any] = document(
        id=random_.choice((None, "e", 9)),
        lines=[{"sku": f"i{each}"} for each in range(random_.randrange(3))],
    )
    marks: dict[str, bytes] = {}
    for path in random_.sample(PATHS, random_.choice((0, 0, 1, 1, 2, 3))):
        inside: Any = given
        for step in path[:-1]:
            inside = inside.get(step) if isinstance(inside, dict) else None
        if isinstance(inside, dict):
            if random_.random() < 0.2:  # bytes that no library would write
                mark = f"mark-{len(marks)}"
                marks[mark] = random_.choice(BYTES)
                inside[path[-1]] = mark
            else:
                inside[path[-1]] = copy.deepcopy(random_.choice(HOSTILE))
    value = dumps(given)
    for mark, raw in marks.items():
        value = value.replace(f'"{mark}"'.encode(), raw)
    return value


def dumps(given: Any) -> bytes:
    return json.dumps(given, ensure_ascii=False).encode()


def hostile_value(random_: random.Random) -> bytes:
    documents = [hostile_document(random_) for _ in range(random_.choice((1, 1, 1, 2, 3)))]
    if len(documents) == 1 and random_.random() < 0.7:
        return documents[0]
    way = random_.choice((b"\n", b"", b" ", b"\r\n", b","))
    return b"[" + way.join(documents) + b"]" if way == b"," else way.join(documents)


FIELDS: Final = tuple(Event.__struct_fields__)


@pytest.mark.parametrize("seed", range(3))
def test_the_audit_reads_the_same(seed: int) -> None:
    """Hostile records: the same events, the same dead letters, the same drops."""
    random_ = random.Random(seed)
    worker, audit = MappingFormat(parse_mapping(SHOP, "shop.toml")), MappedShape(SHOP)
    accepted = refused = 0
    for _ in range(1_000):
        value, timestamp = hostile_value(random_), random_.choice((NOW_MS, NOW_MS, -1))
        record = SimpleNamespace(key=b"u", value=value, headers=[], offset=0, timestamp=timestamp)
        meant = meant_by(audit, b"u", value, timestamp, (), AuditLimits(), NOW_MS)
        reading = None
        with contextlib.suppress(BadEvent):
            reading = read_record(record, worker, Limits(), NOW_MS)
        assert (reading is None) == (meant is None), value
        if reading is None or meant is None:
            refused += 1
            continue
        accepted += 1
        events = [
            {name: got for name in FIELDS if (got := getattr(event, name)) is not None}
            for event in reading.events
        ]
        assert events == meant.events, value
        assert [(each.place, each.value) for each in reading.bad] == meant.bad, value
        assert sum(reading.dropped.values()) == meant.dropped, value
    assert min(accepted, refused) > 100


@pytest.mark.parametrize("seed", range(2))
def test_the_typed_decoder_and_the_walk_agree(seed: int) -> None:
    random_ = random.Random(100 + seed)
    extractor = Extractor(parse_mapping(SHOP, "shop.toml").paths)
    assert extractor.is_typed
    for _ in range(1_000):
        value = hostile_document(random_)
        outcomes = []
        for read_rows in (extractor.rows, extractor.walk):
            try:
                rows, exploded = read_rows(value)
                outcomes.append(repr(([tuple(row) for row in rows], exploded)))
            except BadEvent as fault:
                outcomes.append(f"{fault.reason} {fault}")
        assert outcomes[0] == outcomes[1], value


def test_paths_that_no_one_type_serves_are_walked() -> None:
    extractor = Extractor([parse_path(text) for text in ("u", "u.id", "tags[]")])
    assert not extractor.is_typed
    rows, exploded = extractor.rows(b'{"u":{"id":4},"tags":["a",null]}')
    assert ([tuple(row) for row in rows], exploded) == (
        [({"id": 4}, 4, "a"), ({"id": 4}, 4, None)],
        True,
    )

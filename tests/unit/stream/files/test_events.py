"""Event files may look in many ways, and what cannot be used in them is named."""

from __future__ import annotations

import csv
import gzip
import json
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from stream.contracts.event import Event
from stream.contracts.times import FIRST_TIME_MS
from stream.errors import DataError
from stream.files.columns import parse_mapping
from stream.files.events import EventFiles, limits_of_files
from stream.files.values import ONE_NAME

GOOD = {
    "user_id": "u1",
    "action": "view",
    "time": 1764000000000,
    "item_id": "a",
    "title": "Zelt für zwei",
}


def write(folder: Path, text: str | bytes, name: str = "events") -> Path:
    path = folder / name
    path.write_bytes(text if isinstance(text, bytes) else text.encode())
    return path


def read(
    *paths: Path, columns: str | None = None, sequences: bool = False
) -> tuple[list[Event], EventFiles]:
    files = EventFiles(paths, parse_mapping(columns), sequences=sequences)
    return [event for chunk in files for event in chunk], files


def test_json_lines_of_the_contract(tmp_path: Path) -> None:
    lines = [GOOD, {**GOOD, "time": "2025-11-24T16:00:00Z", "query": "tent", "unknown": [1]}]
    events, files = read(
        write(tmp_path, "\n".join(json.dumps(line, ensure_ascii=False) for line in lines))
    )
    assert [event.time for event in events] == [1764000000000, 1764000000000]
    assert events[0].title == "Zelt für zwei"
    assert events[1].query == "tent"
    assert (files.events, files.bad, files.notes) == (2, {}, [])


def test_bad_lines_are_counted_named_and_skipped(tmp_path: Path) -> None:
    lines = [
        json.dumps(GOOD).encode(),
        b"{broken",
        b"",
        b'{"user_id": "u1", "action": "view"}',
        b"\xff\xfe{",
        json.dumps(GOOD).encode(),
    ]
    files = EventFiles([write(tmp_path, b"\r\n".join(lines))])
    assert sum(len(chunk) for chunk in files) == 2
    assert [(each.line, each.reason) for each in files.samples] == [
        (2, "not-json"),
        (4, "missing-field"),
        (5, "not-utf8"),
    ]
    assert files.bad == {"not-json": 1, "missing-field": 1, "not-utf8": 1}
    assert str(files.samples[0]).startswith(f"{tmp_path / 'events'}:2: not JSON")


def test_json_lines_with_other_names(tmp_path: Path) -> None:
    lines = [
        {"visitor": 17, "event_type": "View", "timestamp": 1764000000, "sku": "a"},
        {
            "sku": "b",
            "timestamp": 1764000001.5,
            "event_type": "add to cart",
            "visitor": 17,
            "note": "x",
        },
        {"timestamp": 1764000001.5, "event_type": "view", "visitor": 17},
    ]
    events, files = read(
        write(tmp_path, "\n".join(map(json.dumps, lines))), columns="user_id=visitor,item_id=sku"
    )
    assert [(event.user_id, event.action, event.time, event.item_id) for event in events] == [
        ("17", "view", 1764000000000, "a"),
        ("17", "add_to_cart", 1764000001500, "b"),
    ]
    assert files.bad == {"missing-field": 1}


@pytest.mark.parametrize("packed", [False, True], ids=["plain", "gzipped whatever its name"])
@pytest.mark.parametrize("mark", ["", "\ufeff"], ids=["", "with a byte order mark"])
def test_tab_separated(tmp_path: Path, packed: bool, mark: str) -> None:
    text = (
        mark
        + "user_id\titem_id\tevent_type\ttimestamp\tvalue\n"
        + "u1\ta\trating\t1764000000\t4.5\n"
        + 'u2\t6" nail\trating\t1764000001\tgreat\n'
    )
    data = gzip.compress(text.encode()) if packed else text.encode()
    events, files = read(write(tmp_path, data, "events.dat"))
    assert [(event.user_id, event.item_id, event.value) for event in events] == [
        ("u1", "a", 4.5),
        ("u2", '6" nail', None),
    ]
    assert files.notes == [
        "2 times are seconds: read as such",
        "1 values or dwell times are no numbers: left out of their events",
    ]


def test_comma_separated_with_quotes_and_mapping(tmp_path: Path) -> None:
    text = (
        "When,Who,What,Product Name\n"
        '2025-11-24 16:00:00,u1,purchase,"Tent, ""green"""\n'
        "2025-11-24,u1,view,Rope\n"
    )
    events, files = read(write(tmp_path, text), columns="user_id=Who,action=What,timestamp=When")
    assert [(event.title, event.time) for event in events] == [
        ('Tent, "green"', 1764000000000),
        ("Rope", 1763942400000),
    ]
    assert files.notes == ["2 times have no zone: read as UTC"]


def test_events_without_times_keep_their_order(tmp_path: Path) -> None:
    events, files = read(write(tmp_path, "user_id,item_id,timestamp\nu1,a,\nu1,b,\nu2,a,\n"))
    assert [event.time for event in events] == [
        FIRST_TIME_MS + 1,
        FIRST_TIME_MS + 2,
        FIRST_TIME_MS + 3,
    ]
    assert files.untimed == 3
    assert files.notes == [
        "3 events have no time: their order is kept, their times are invented",
        "3 events have no action: read as a view",
    ]


def test_sequences(tmp_path: Path) -> None:
    events, files = read(write(tmp_path, "u1 a b\nu2\nu3 c\n"), sequences=True)
    assert [(event.user_id, event.item_id) for event in events] == [
        ("u1", "a"),
        ("u1", "b"),
        ("u3", "c"),
    ]
    assert files.bad == {"wrong-columns": 1}


def test_rows_of_another_width_and_other_bytes(tmp_path: Path) -> None:
    good = b"1764000000"
    text = (
        b"user_id,item_id,time\nu1,a,T\nu1,b\nu1,c,T,8\n,d,T\nu1,\xff,T\nu1,e,-3\nu1,f,T\n"
    ).replace(b"T", good)
    events, files = read(write(tmp_path, text))
    assert [event.item_id for event in events] == ["a", "f"]
    assert files.bad == {"wrong-columns": 2, "missing-field": 1, "not-utf8": 1, "bad-time": 1}
    assert [each.line for each in files.samples] == [3, 4, 5, 6, 7]


def test_an_overlong_line_is_one_bad_line(tmp_path: Path) -> None:
    files = EventFiles(
        [write(tmp_path, json.dumps({**GOOD, "title": "x" * (1 << 20)}) + "\n" + json.dumps(GOOD))]
    )
    assert sum(len(chunk) for chunk in files) == 1
    assert files.bad == {"too-long": 1}


def test_several_files_in_lists_of_bounded_length_each_of_one_file(tmp_path: Path) -> None:
    first = write(tmp_path, "user_id,item_id,time\n" + "u1,a,1764000000\n" * 5, "one.csv")
    second = write(tmp_path, "\n".join([json.dumps(GOOD)] * 4), "two.jsonl")
    files = EventFiles([first, second], chunk=4)
    assert [(files.place, len(chunk)) for chunk in files] == [(0, 4), (0, 1), (1, 4)]


TABLE = "user_id,item_id,event_type,timestamp,title\n"


def rows(count: int, titles: dict[int, str]) -> str:
    return "".join(
        f"v{row % 20},p{row % 25},view,{1700000000 + row * 60},"
        + titles.get(row, f"Lamp {row % 25}")
        + "\n"
        for row in range(count)
    )


@pytest.mark.parametrize(
    "titles",
    [
        {40: '"Slim 20 inch screen'},
        {40: '"Slim 20 inch screen', 200: '"Slim 20 inch screen'},
        {40: '"Slim screen', 45: 'Lamp 20"'},
        {40: '"Slim screen', 60: '"Lamp, green"'},
        {399: '"Slim screen'},
    ],
    ids=["one", "two", "one closes another", "before a quoted title", "in the last row"],
)
def test_an_unbalanced_quote_costs_its_own_row(tmp_path: Path, titles: dict[int, str]) -> None:
    events, files = read(write(tmp_path, TABLE + rows(400, titles)))
    stray = [row for row, title in titles.items() if title.count('"') == 1 and title[0] == '"']
    assert files.bad == {"stray-quote": len(stray)}
    assert [each.line for each in files.samples] == [row + 2 for row in stray]
    assert (files.rows, len(events)) == (400, 400 - len(stray))
    assert files.told[0] == f"400 rows read: {400 - len(stray)} gave an event, {len(stray)} did not"
    assert len({event.title for event in events}) <= 27


def test_cells_over_several_lines_and_quotes_inside_a_row_are_read(tmp_path: Path) -> None:
    text = TABLE + (
        'u1,a,view,1700000000,"two\nlines, and ""quotes"""\n'
        'u1,b,view,1700000060,"Tent" 20 inch\n'
        '"u1",c,view,1700000120,Lamp 20"\n'
    )
    events, files = read(write(tmp_path, text))
    assert [event.title for event in events] == [
        'two\nlines, and "quotes"',
        '"Tent" 20 inch',
        'Lamp 20"',
    ]
    assert (files.rows, files.bad) == (3, {})


CELL = st.text(st.sampled_from('ab ,"'), max_size=6)


@given(st.lists(CELL, max_size=12))
def test_rows_read_are_events_and_told_drops_whatever_the_quotes(
    tmp_path_factory: pytest.TempPathFactory, titles: list[str]
) -> None:
    """No row vanishes: a table whose rows are lines has as many rows as lines."""
    text = "item_id,title,user_id,time\n" + "".join(
        f"i{place},{title},u{place},{1700000000 + place}\n" for place, title in enumerate(titles)
    )
    path = write(tmp_path_factory.mktemp("rows"), text)
    events, files = read(path)
    assert files.rows == len(events) + sum(files.bad.values()) == len(titles)


TEXT = st.text(st.characters(codec="utf-8", exclude_characters="\0\r")).filter(
    # a line within a cell that has commas may look like a row, and is told as a stray quote
    lambda text: "," not in text.partition("\n")[2]
)


@given(st.lists(st.tuples(TEXT, TEXT), max_size=8))
def test_what_a_csv_writer_wrote_is_read_back(
    tmp_path_factory: pytest.TempPathFactory, cells: list[tuple[str, str]]
) -> None:
    path = tmp_path_factory.mktemp("rows") / "events.csv"
    with path.open("w", encoding="utf-8", newline="") as file:
        writer = csv.writer(file, lineterminator="\n")
        writer.writerow(["user_id", "title", "timestamp", "query"])
        writer.writerows(["u", "t" + a, 1700000000, "q" + b] for a, b in cells)
    events, files = read(path)
    assert len(events) == len(cells) == files.rows


@pytest.mark.parametrize("packed", [False, True])
def test_a_json_array_is_read_as_its_elements(tmp_path: Path, packed: bool) -> None:
    found = [{**GOOD, "item_id": f"i{place}", "title": 'a ] "x" [ é'} for place in range(2_000)]
    for text in (json.dumps(found), json.dumps(found, indent=1, ensure_ascii=False)):
        data = gzip.compress(text.encode()) if packed else text.encode()
        events, files = read(write(tmp_path, data))
        assert [event.item_id for event in events] == [each["item_id"] for each in found]
        assert (files.rows, files.bad) == (2_000, {})


def test_elements_of_an_array_that_are_no_events_are_told_with_their_line(tmp_path: Path) -> None:
    text = f"[\n{json.dumps(GOOD)},\n7,\n[1],\n{json.dumps({**GOOD, 'user_id': 5})}\n]\n"
    events, files = read(write(tmp_path, text))
    assert (len(events), files.rows) == (1, 4)
    assert [(each.line, each.reason) for each in files.samples] == [
        (3, "not-object"),
        (4, "not-object"),
        (5, "wrong-type"),
    ]


def test_json_lines_in_seconds_are_read_and_told(tmp_path: Path) -> None:
    lines = [{**GOOD, "time": 1767225600 + 86400 * day} for day in range(3)]
    events, files = read(write(tmp_path, "\n".join(map(json.dumps, lines))))
    assert [event.time for event in events] == [1767225600000 + 86400000 * day for day in range(3)]
    assert files.notes == ["3 times are seconds: read as such"]


def test_implausible_times_are_refused_and_counted(tmp_path: Path) -> None:
    now_ms = 1_795_000_000_000
    times = [5, now_ms, now_ms + 366 * 86_400_000, 874_724_710, 946_684_799]
    text = "user_id,item_id,time\n" + "".join(f"u,i,{time}\n" for time in times)
    path = write(tmp_path, text)
    files = EventFiles([path], limits=limits_of_files(now_ms, recorded=False))
    assert [event.time for chunk in files for event in chunk] == [now_ms]
    assert (files.rows, files.bad) == (5, {"bad-time": 3, "future-time": 1})
    old = EventFiles([path], limits=limits_of_files(now_ms, recorded=True))
    assert sum(len(chunk) for chunk in old) == 3
    assert "2 times are before 2000: check that they are right" in old.notes


def test_ids_inside_objects_are_refused_or_read_by_a_path(tmp_path: Path) -> None:
    lines = [
        {"user": {"$oid": f"65aa{place}"}, "product_id": {"$oid": "65bb"}, "ts": 1700000000}
        for place in range(3)
    ]
    path = write(tmp_path, "\n".join(map(json.dumps, lines)))
    events, files = read(path)
    assert (events, files.bad) == ([], {"wrong-type": 3})
    assert "--columns user_id=user.$oid" in files.samples[0].message
    events, files = read(path, columns="user_id=user.$oid,item_id=product_id.$oid")
    assert [event.user_id for event in events] == ["65aa0", "65aa1", "65aa2"]
    assert files.bad == {}


def test_payloads_of_trackers_are_read_by_paths(tmp_path: Path) -> None:
    lines: list[dict[str, Any]] = [
        {"event": "$pageview", "distinct_id": "p", "timestamp": "2026-11-20T10:00:00Z"},
        {
            "event": "product viewed",
            "distinct_id": "p",
            "timestamp": "2026-11-20T10:01:00Z",
            "properties": '{"product_id": "p2"}',
        },
    ]
    columns = "user_id=distinct_id,item_id=properties.product_id"
    path = write(tmp_path, "\n".join(map(json.dumps, lines[::-1])))
    events, files = read(path, columns=columns)
    assert [event.item_id for event in events] == ["p2"]
    assert files.bad == {"missing-field": 1}
    with pytest.raises(DataError, match=r"its columns are .*properties\.product_id"):
        list(EventFiles([path], event_format="contract"))
    events, files = read(path)  # found out to be PostHog's
    assert [(event.item_id, event.action) for event in events] == [("p2", "view")]
    assert files.dropped == {"no-behaviour": 1}


def test_a_table_without_a_header_is_told_or_read_by_place(tmp_path: Path) -> None:
    path = write(tmp_path, "u1\ti1\t3\t881250949\nu2\ti2\t4\t1700000000\n")
    with pytest.raises(DataError, match="--columns user_id=1,item_id=2,time=4"):
        read(path)
    events, files = read(path, columns="user_id=1,item_id=2,value=3,time=4")
    assert [(event.user_id, event.item_id, event.value) for event in events] == [("u2", "i2", 4.0)]
    assert (files.rows, files.bad) == (2, {"bad-time": 1})
    named = write(tmp_path, "user,item,time\nu1,i1,1700000000\n")
    events, files = read(named, columns="user_id=1,item_id=2,time=3")
    assert (len(events), files.rows) == (1, 1)


def test_columns_that_look_useful_and_are_not_read_are_told(tmp_path: Path) -> None:
    text = "user_id,item_id,event_type,timestamp,genres,category\nu1,a,view,1700000000,x,y\n"
    _, files = read(write(tmp_path, text))
    assert files.notes[-1] == (
        "events: columns not read: genres (--columns FIELD=COLUMN reads one)"
    )
    _, files = read(write(tmp_path, json.dumps({**GOOD, "genres": ["x"]})))
    assert "columns not read: genres" in files.notes[-1]


def test_reviews_and_typed_headers(tmp_path: Path) -> None:
    review = {
        "rating": 5.0,
        "title": "Love it!!",
        "text": "works",
        "asin": "B1",
        "user_id": "A1",
        "timestamp": 1588687728923,
    }
    events, files = read(write(tmp_path, json.dumps(review)))
    assert (events[0].item_id, events[0].title, events[0].value) == ("B1", None, 5.0)
    assert any("title of a review" in note for note in files.notes)
    events, _ = read(write(tmp_path, json.dumps(review)), columns="title=title")
    assert events[0].title == "Love it!!"
    text = (
        "user_id:token\titem_id:token\trating:float\ttimestamp:float\nu1\ti1\t4.0\t1700000300.0\n"
    )
    events, _ = read(write(tmp_path, text))
    assert (events[0].time, events[0].value) == (1700000300000, 4.0)


def test_ids_that_say_that_there_is_none_and_odd_categories_are_told(tmp_path: Path) -> None:
    text = (
        "User ID,Item ID,Time Stamp,Category\n"
        'u1,a,1764000000,nan\nNaN,a,1764000001,"A, B"\nu2,null,1764000002,A|B\n'
    )
    events, files = read(write(tmp_path, text))
    assert [event.categories for event in events] == [None, ["A, B"], ["A", "B"]]
    assert f"1 events {ONE_NAME}" in files.notes
    assert any(
        note.startswith("2 events are of a user or an item with the id") for note in files.notes
    )


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"just words\n", "neither a JSON object nor a header"),
        (
            b"person,thing,when\nu1,a,3\n",
            "its columns are person, thing, when. "
            "Say which is which with --columns user_id=COLUMN,item_id=COLUMN",
        ),
        (b'{"person": "u1", "thing": "a"}', "its columns are person, thing"),
        ("user_id,é\n".encode("latin-1"), "is not UTF-8"),
        (b"user_id,item_id,time\ru1,a,1764000000\r", "its lines end with CR alone"),
        (b'["u1", "a"]\n', "no array of objects"),
        (b'[{"user_id": "u1", "item_id": "a"},\n', "the JSON array cannot be read on"),
        (b'[{"user_id": "u1", "item_id": "a"}] more', "text follows the JSON array"),
        (b'{\n "user_id": "u1"\n}\n', "one JSON document over several lines"),
    ],
)
def test_files_that_cannot_be_used(tmp_path: Path, content: bytes, message: str) -> None:
    path = write(tmp_path, content)
    with pytest.raises(DataError, match="events:") as raised:
        read(path)
    assert message in str(raised.value)

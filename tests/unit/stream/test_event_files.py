"""What a user's files may look like, and what is said about those that cannot be used."""

from __future__ import annotations

import gzip
import json
from pathlib import Path

import pytest

from stream.errors import DataError, UsageError
from stream.event_columns import FIRST_TIME_MS, parse_mapping
from stream.event_files import BadLine, EventFiles
from stream.events import Event

GOOD = {"user_id": "u1", "action": "view", "time": 1764000000000, "item_id": "a", "title": "Zelt für zwei"}


def write(folder: Path, text: str | bytes, name: str = "events") -> Path:
    path = folder / name
    path.write_bytes(text if isinstance(text, bytes) else text.encode())
    return path


def read(*paths: Path, columns: str | None = None, sequences: bool = False) -> tuple[list[Event], EventFiles]:
    files = EventFiles(paths, parse_mapping(columns), sequences=sequences)
    return [event for chunk in files for event in chunk], files


def test_json_lines_of_the_contract(tmp_path: Path) -> None:
    lines = [GOOD, {**GOOD, "time": "2025-11-24T16:00:00Z", "query": "tent", "unknown": [1]}]
    events, files = read(write(tmp_path, "\n".join(json.dumps(line, ensure_ascii=False) for line in lines)))
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
    told: list[BadLine] = []
    files = EventFiles([write(tmp_path, b"\r\n".join(lines))], on_bad=told.append)
    assert sum(len(chunk) for chunk in files) == 2
    assert [(each.line, each.reason) for each in told] == [(2, "not-json"), (4, "missing-field"), (5, "not-utf8")]
    assert files.bad == {"not-json": 1, "missing-field": 1, "not-utf8": 1}
    assert str(told[0]).startswith(f"{tmp_path / 'events'}:2: not JSON")


def test_json_lines_with_other_names(tmp_path: Path) -> None:
    lines = [
        {"visitor": 17, "event_type": "View", "timestamp": 1764000000, "sku": "a"},
        {"sku": "b", "timestamp": 1764000001.5, "event_type": "add to cart", "visitor": 17, "note": "x"},
        {"timestamp": 1764000001.5, "event_type": "view", "visitor": 17},
    ]
    events, files = read(write(tmp_path, "\n".join(map(json.dumps, lines))), columns="user_id=visitor,item_id=sku")
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
        + 'user_id\titem_id\tevent_type\ttimestamp\tvalue\nu1\ta\trating\t1764000000\t4.5\nu2\t6" nail\trating\t1764000001\tgreat\n'
    )
    data = gzip.compress(text.encode()) if packed else text.encode()
    events, files = read(write(tmp_path, data, "events.dat"))
    assert [(event.user_id, event.item_id, event.value) for event in events] == [
        ("u1", "a", 4.5),
        ("u2", '6" nail', None),
    ]
    assert files.notes == ["1 values or dwell times are no numbers: left out of their events"]


def test_comma_separated_with_quotes_and_mapping(tmp_path: Path) -> None:
    text = 'When,Who,What,Product Name\n2025-11-24 16:00:00,u1,purchase,"Tent, ""green"""\n2025-11-24,u1,view,Rope\n'
    events, files = read(write(tmp_path, text), columns="user_id=Who,action=What,timestamp=When")
    assert [(event.title, event.time) for event in events] == [
        ('Tent, "green"', 1764000000000),
        ("Rope", 1763942400000),
    ]
    assert files.notes == ["2 times have no zone: read as UTC"]


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
    ],
)
def test_ways_to_write_a_time(tmp_path: Path, written: str, time_ms: int) -> None:
    events, _ = read(write(tmp_path, f"user_id,item_id,ts\nu1,a,{written}\n"))
    assert events[0].time == time_ms


def test_events_without_times_keep_their_order(tmp_path: Path) -> None:
    events, files = read(write(tmp_path, "user_id,item_id,timestamp\nu1,a,\nu1,b,\nu2,a,\n"))
    assert [event.time for event in events] == [FIRST_TIME_MS + 1, FIRST_TIME_MS + 2, FIRST_TIME_MS + 3]
    assert files.untimed == 3
    assert files.notes == [
        "3 events have no time: their order is kept, their times are invented",
        "3 events have no action: read as a view",
    ]


def test_sequences(tmp_path: Path) -> None:
    events, files = read(write(tmp_path, "u1 a b\nu2\nu3 c\n"), sequences=True)
    assert [(event.user_id, event.item_id) for event in events] == [("u1", "a"), ("u1", "b"), ("u3", "c")]
    assert files.bad == {"wrong-columns": 1}


def test_rows_of_another_width_and_other_bytes(tmp_path: Path) -> None:
    text = b"user_id,item_id,time\nu1,a,5\nu1,b\nu1,c,7,8\n,d,9\nu1,\xff,10\nu1,e,-3\nu1,f,12\n"
    events, files = read(write(tmp_path, text))
    assert [event.item_id for event in events] == ["a", "f"]
    assert files.bad == {"wrong-columns": 2, "missing-field": 1, "not-utf8": 1, "bad-time": 1}
    assert [each.line for each in files.samples] == [3, 4, 5, 6, 7]


def test_an_overlong_line_is_one_bad_line(tmp_path: Path) -> None:
    files = EventFiles([write(tmp_path, json.dumps({**GOOD, "title": "x" * (1 << 20)}) + "\n" + json.dumps(GOOD))])
    assert sum(len(chunk) for chunk in files) == 1
    assert files.bad == {"too-long": 1}


def test_several_files_in_lists_of_bounded_length(tmp_path: Path) -> None:
    first = write(tmp_path, "user_id,item_id,time\n" + "u1,a,1\n" * 5, "one.csv")
    second = write(tmp_path, "\n".join([json.dumps(GOOD)] * 4), "two.jsonl")
    assert [len(chunk) for chunk in EventFiles([first, second], chunk=4)] == [4, 4, 1]


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (None, "there is no such file"),
        (b"", "is empty"),
        (b"\n \n", "is empty"),
        (gzip.compress(b""), "is empty"),
        (b"PK\x03\x04rest", "a zip archive; unpack it"),
        (b"PAR1rest", "a Parquet file"),
        (b"\x00\x01\x02", "binary data"),
        (gzip.compress(b"user_id,item_id\nu1,a\n" * 9)[:-9], "the gzip data is damaged"),
        (b"just words\n", "neither a JSON object nor a header"),
        (
            b"person,thing,when\nu1,a,3\n",
            "its columns are person, thing, when. Say which is which with --columns user_id=COLUMN,item_id=COLUMN",
        ),
        (b'{"person": "u1", "thing": "a"}', "its columns are person, thing"),
        ("user_id,é\n".encode("latin-1"), "is not UTF-8"),
    ],
)
def test_files_that_cannot_be_used(tmp_path: Path, content: bytes | None, message: str) -> None:
    path = tmp_path / "events"
    if content is not None:
        path.write_bytes(content)
    with pytest.raises(DataError, match="events: ") as raised:
        read(path)
    assert message in str(raised.value)


def test_a_mapping_must_name_fields_and_columns_that_exist(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="'who=x' is not FIELD=COLUMN"):
        parse_mapping("who=x")
    with pytest.raises(DataError, match="user_id=who, but its columns are user, item"):
        read(write(tmp_path, "user,item\nu1,a\n"), columns="user_id=who")


def test_a_folder_is_named_as_such(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="is a folder"):
        read(tmp_path)

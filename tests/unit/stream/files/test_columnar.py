"""Parquet and Arrow files give the documents that a program would have sent as JSON."""

from __future__ import annotations

import datetime
import decimal
import gc
import json
from hashlib import sha256
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.ipc
import pyarrow.parquet as pq
import pytest

from stream.contracts.event import Event
from stream.errors import DataError
from stream.files.catalogue import read_catalogue
from stream.files.columnar import ROWS, ColumnFile
from stream.files.columns import parse_mapping
from stream.files.events import EventFiles
from stream.files.opening import Source

UTC = datetime.UTC
MOMENT = datetime.datetime(2025, 11, 24, 16, 0, 0, 250_000)
TABLE = {
    "user_id": [7, 8, 9],
    "item_id": ["a", "b", None],
    "event_type": ["view", "purchase", "view"],
    "event_time": [MOMENT] * 3,
    "price": [decimal.Decimal("1.50"), None, decimal.Decimal("2")],
}


def write(folder: Path, table: pa.Table, form: str) -> Path:
    path = folder / "events"
    if form == "parquet":
        pq.write_table(table, path, row_group_size=2)
        return path
    opened = pa.ipc.new_file if form == "arrow" else pa.ipc.new_stream
    with opened(path, table.schema) as writer:
        writer.write_table(table, max_chunksize=2)
    return path


def read(path: Path, columns: str | None = None) -> tuple[list[Event], EventFiles]:
    files = EventFiles([path], parse_mapping(columns))
    return [event for chunk in files for event in chunk], files


def documents(path: Path) -> list[dict[str, Any]]:
    with Source(path) as source:
        table = ColumnFile(source)
        return [json.loads(document) for _, document in table.documents(table.names)]


@pytest.mark.parametrize("form", ["parquet", "arrow", "arrow stream"])
def test_events_of_a_flat_table(tmp_path: Path, form: str) -> None:
    events, files = read(write(tmp_path, pa.table(TABLE), form))
    assert [(each.user_id, each.item_id, each.action, each.time) for each in events] == [
        ("7", "a", "view", 1764000000250),
        ("8", "b", "purchase", 1764000000250),
    ]
    assert [each.value for each in events] == [1.5, None]
    assert files.bad == {"no-subject": 1}
    assert (files.samples[0].line, files.rows) == (3, 3)
    assert files.notes == ["3 times have no zone: read as UTC"]


def test_the_contracts_names_with_other_types(tmp_path: Path) -> None:
    table = pa.table(
        {
            "user_id": pa.array([1.0, 2.0]),
            "action": pa.array(["view", "view"]).dictionary_encode(),
            "time": pa.array([MOMENT] * 2, pa.timestamp("ns", "Europe/Berlin")),
            "item_id": pa.array([b"a", b"\xff"]),
            "title": ["Zelt für zwei", None],
            "dwell_ms": [float("nan"), 3.0],
            "categories": [["x", "y"], []],
        }
    )
    events, files = read(write(tmp_path, table, "parquet"))
    assert (events[0].user_id, events[0].item_id, events[0].categories) == ("1", "a", ["x", "y"])
    assert events[0].time == 1764000000250  # what Arrow keeps is UTC
    assert (events[0].title, events[0].dwell_ms) == ("Zelt für zwei", None)
    assert files.bad == {"not-utf8": 1}
    assert files.rows == 2


@pytest.mark.parametrize(
    ("kind", "value", "written"),
    [
        (pa.timestamp("s"), MOMENT.replace(microsecond=0), "2025-11-24T16:00:00"),
        (pa.timestamp("ms", "UTC"), MOMENT.replace(tzinfo=UTC), "2025-11-24T16:00:00.250000Z"),
        (pa.date32(), datetime.date(2025, 11, 24), "2025-11-24"),
        (pa.int64(), 2**60 + 1, 2**60 + 1),
        (pa.uint64(), 2**64 - 1, 2**64 - 1),
        (pa.decimal128(20, 0), decimal.Decimal(12345678901234567890), "12345678901234567890"),
        (pa.bool_(), True, True),
        (pa.float32(), float("nan"), None),
        (pa.large_binary(), b"abc", "abc"),
        (pa.binary(3), b"abc", "abc"),
        (pa.map_(pa.string(), pa.int32()), [("a", 1)], {"a": 1}),
        (pa.list_(pa.struct([("a", pa.binary())])), [{"a": b"x"}], [{"a": "x"}]),
        (pa.null(), None, None),
        (pa.struct([("list", pa.list_(pa.int8()))]), {"list": [1]}, {"list": [1]}),
        (
            pa.list_(pa.struct([("bag", pa.list_(pa.struct([("array", pa.int8())])))])),
            [{"bag": [{"array": 1}]}, {"bag": None}],
            [[1], []],
        ),
    ],
    ids=str,
)
def test_what_a_value_becomes(tmp_path: Path, kind: Any, value: Any, written: Any) -> None:
    path = write(tmp_path, pa.table({"it": pa.array([value, None], kind)}), "arrow")
    assert documents(path) == [{"it": written}, {"it": None}]


def ga4_type(*, inferred: bool) -> pa.Schema:
    """BigQuery's export of GA4, in its two ways to write a repeated field."""

    def repeated(kind: Any) -> Any:
        if inferred:
            return pa.list_(pa.field("element", kind))
        return pa.struct([("list", pa.list_(pa.struct([("element", kind)])))])

    value = pa.struct([("string_value", pa.string()), ("int_value", pa.int64())])
    return pa.schema(
        [
            ("event_date", pa.string()),
            ("event_timestamp", pa.int64()),
            ("event_name", pa.string()),
            ("event_params", repeated(pa.struct([("key", pa.string()), ("value", value)]))),
            ("user_id", pa.string()),
            ("user_pseudo_id", pa.string()),
            ("items", repeated(pa.struct([("item_id", pa.string()), ("item_name", pa.string())]))),
        ]
    )


GA4 = {
    "event_date": "20251124",
    "event_timestamp": 1764000000250000,
    "event_name": "view_item",
    "event_params": [
        {"key": "ga_session_id", "value": {"string_value": None, "int_value": 17}},
        {"key": "currency", "value": {"string_value": "EUR", "int_value": None}},
    ],
    "user_id": None,
    "user_pseudo_id": "p.1",
    "items": [{"item_id": "sku-1", "item_name": "Tent"}, {"item_id": "sku-2", "item_name": None}],
}


@pytest.mark.parametrize("inferred", [True, False])
def test_a_row_of_ga4s_export_is_the_document_that_its_json_export_has(
    tmp_path: Path, inferred: bool
) -> None:
    row = dict(GA4)
    if not inferred:
        for name in ("event_params", "items"):
            row[name] = {"list": [{"element": each} for each in GA4[name]]}  # type: ignore[attr-defined]
    table = pa.Table.from_pylist([row, row], ga4_type(inferred=inferred))
    path = write(tmp_path, table, "parquet")
    assert documents(path) == [GA4, GA4]
    # until a format is named, what lies inside is named by a path
    with pytest.raises(DataError, match=r"its columns are .*items\.0\.item_id"):
        read(path)
    events, _ = read(path, "user_id=user_pseudo_id,item_id=items.0.item_id")
    assert [(each.user_id, each.item_id, each.time) for each in events] == [
        ("p.1", "sku-1", 1764000000250)
    ] * 2


def test_many_rows_in_batches(tmp_path: Path) -> None:
    count = 2 * ROWS + 3
    table = pa.table(
        {
            "user_id": [f"u{row % 7}" for row in range(count)],
            "item_id": [f"i{row}" for row in range(count)],
            "timestamp": [1764000000 + row for row in range(count)],
            "embedding": [[0.5] * 8] * count,
        }
    )
    for form in ("parquet", "arrow"):
        events, files = read(write(tmp_path, table, form))
        assert [each.item_id for each in events] == [f"i{row}" for row in range(count)]
        assert (files.rows, files.bytes_read) == (count, files.bytes_to_read)


def test_a_row_group_need_not_fit_into_memory(tmp_path: Path) -> None:
    count = 60_000
    rows = range(count)
    table = pa.table(
        {
            "user_id": pa.array(rows),
            "item_id": pa.array(rows),
            "title": [sha256(str(row).encode()).hexdigest() * 4 for row in rows],
        }
    )
    path = tmp_path / "events.parquet"
    pq.write_table(table, path, row_group_size=count, use_dictionary=False)
    size = table.nbytes
    del table
    gc.collect()
    before, most = pa.total_allocated_bytes(), 0
    for _ in EventFiles([path]):
        most = max(most, pa.total_allocated_bytes() - before)
    assert size > 15_000_000
    assert most < size / 2


def test_folders_that_name_a_column(tmp_path: Path) -> None:
    for day, action in (("2025-11-24", "view"), ("2025-11-25", "add%20to%20cart")):
        folder = tmp_path / "events" / f"date={day}" / f"event_type={action}"
        folder.mkdir(parents=True)
        pq.write_table(pa.table({"user_id": ["u"], "item_id": ["a"]}), folder / "part-0.parquet")
    (tmp_path / "events" / "_SUCCESS").touch()
    events, files = read(tmp_path / "events")
    assert [(each.time, each.action) for each in events] == [
        (1763942400000, "view"),
        (1764028800000, "add_to_cart"),
    ]
    assert files.bad == {}


@pytest.mark.parametrize("form", ["parquet", "arrow", "arrow stream"])
@pytest.mark.parametrize("damage", ["cut", "flipped"])
def test_a_damaged_file_is_told(tmp_path: Path, form: str, damage: str) -> None:
    count = 20_000
    table = pa.table(
        {
            "user_id": [f"u{row}" for row in range(count)],
            "item_id": [f"i{row}" for row in range(count)],
            "timestamp": [1764000000 + row for row in range(count)],
        }
    )
    path = tmp_path / "events"
    if form == "parquet":
        pq.write_table(table, path, write_page_checksum=True)
    else:
        path = write(tmp_path, table, form)
    data = bytearray(path.read_bytes())
    if damage == "cut":
        del data[len(data) // 2 :]
    elif form == "parquet":
        data[len(data) // 2] ^= 0xFF
    else:
        data[len(data) // 2 :: 7] = bytes(len(data[len(data) // 2 :: 7]))
    path.write_bytes(data)
    with pytest.raises(
        DataError, match=r"events: the (Parquet|Arrow|Arrow stream) data is damaged"
    ):
        read(path)


def test_a_stream_that_was_cut_between_its_batches_is_told(tmp_path: Path) -> None:
    path = write(tmp_path, pa.table(TABLE), "arrow stream")
    path.write_bytes(path.read_bytes()[:-8])
    with pytest.raises(DataError, match=r"the Arrow stream data is damaged .*its end is missing"):
        read(path)


def test_what_cannot_be_read_without_the_library_says_how_to_install_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = write(tmp_path, pa.table(TABLE), "parquet")
    monkeypatch.setitem(__import__("sys").modules, "pyarrow", None)
    with pytest.raises(DataError, match=r"pip install 'interest-stream\[parquet\]'"):
        read(path)


def test_columns_that_cannot_be_matched_are_listed(tmp_path: Path) -> None:
    path = write(tmp_path, pa.table({"person": ["u"], "thing": ["a"]}), "parquet")
    with pytest.raises(DataError, match=r"its columns are person, thing\. Say which is which"):
        read(path)
    events, _ = read(path, "user_id=person,item_id=thing")
    assert (events[0].user_id, events[0].item_id) == ("u", "a")


def test_unread_columns_are_told_and_reviews_recognised(tmp_path: Path) -> None:
    table = pa.table(
        {
            "user_id": ["u"],
            "parent_asin": ["B1"],
            "asin": ["B1-red"],
            "timestamp": [1588687728923],
            "rating": [5.0],
            "title": ["Love it!!"],
            "text": ["works"],
            "category_id": [3],
        }
    )
    events, files = read(write(tmp_path, table, "parquet"))
    assert (events[0].item_id, events[0].title, events[0].value) == ("B1", None, 5.0)
    assert any("title of a review" in note for note in files.notes)
    assert any("read from parent_asin" in note for note in files.notes)
    assert any("columns not read: category_id" in note for note in files.notes)


def test_a_catalogue(tmp_path: Path) -> None:
    table = pa.table(
        {
            "product_id": [1, 2, None],
            "name": ["Tent", None, "Rope"],
            "category": ["Outdoor > Tents", '["a", "b"]', None],
            "embedding": [[0.5]] * 3,
        }
    )
    found = read_catalogue([write(tmp_path, table, "parquet")])
    assert found.item_ids == ["1", "2"]
    assert found.titles == ["Tent", "2"]
    assert found.categories == [("Outdoor > Tents",), ("a", "b")]
    assert found.problems == {"title is missing: the item_id stands in": 1, "item_id is missing": 1}

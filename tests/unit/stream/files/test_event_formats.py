"""Event files of the owners' formats are found out, read, and their drops told."""

from __future__ import annotations

import gzip
import json
from collections import Counter
from pathlib import Path
from typing import Any

import msgspec
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from stream.config import CONTRACT
from stream.contracts.event import Event
from stream.errors import SettingsError
from stream.files.events import EventFiles
from stream.files.report import LEFT_OUT
from stream.formats.detect import detected
from stream.formats.event_format import DROPS
from stream.formats.registry import FORMATS, format_named
from tests.support.foreign import cases as drawn
from tests.support.foreign.shop import Case

OWNERS = [name for name in FORMATS if name != CONTRACT]


def cases(name: str, count: int = 400) -> list[Case]:
    """Records that a file can hold: no headers, a time of their own."""
    return [
        case
        for case in drawn(name, count)
        if case.received_ms is None and not any(name == "ce_type" for name, _ in case.headers)
    ]


def written(path: Path, found: list[Case], *, array: bool = False) -> Path:
    lines = [case.value for case in found]
    path.write_bytes(b"[" + b",\n".join(lines) + b"]" if array else b"\n".join(lines) + b"\n")
    return path


def read(files: EventFiles) -> list[dict[str, Any]]:
    events: list[Event] = [event for chunk in files for event in chunk]
    return [msgspec.to_builtins(event) for event in events]


@pytest.mark.parametrize("event_format", ["auto", "named"])
@pytest.mark.parametrize("name", OWNERS)
def test_rows_are_events_or_told_drops(tmp_path: Path, name: str, event_format: str) -> None:
    found = [case for case in cases(name) if case.kind not in ("batch", "body", "denied-body")]
    path = written(tmp_path / "events", found)
    files = EventFiles([path], event_format="auto" if event_format == "auto" else name)
    assert read(files) == [event for case in found for event in case.events]
    left_out: Counter[str] = Counter()
    for case in found:
        left_out.update(case.dropped)
    assert files.dropped == left_out
    assert not files.bad
    assert files.rows == len(found)
    assert files.without == sum(not case.events for case in found)
    told = " ".join(files.told)
    assert f"{files.rows:,} rows read" in told
    assert (f"read as events of {name}" in told) is (event_format == "auto")
    for reason, count in left_out.items():
        assert f"{count} {LEFT_OUT[reason]}" in files.notes


@pytest.mark.parametrize("name", OWNERS)
def test_nearly_every_document_alone_says_its_format(name: str) -> None:
    found = cases(name)
    sure = [case for case in found if detected(case.value) == name]
    assert all(detected(case.value) in (name, None) for case in found)
    assert len(sure) > 0.7 * len(found)


def test_an_array_and_a_gzipped_file_are_found_out_too(tmp_path: Path) -> None:
    found = cases("ga4", 30)
    meant = [event for case in found for event in case.events]
    array = written(tmp_path / "array.json", found, array=True)
    assert read(EventFiles([array])) == meant
    packed = tmp_path / "lines.gz"
    packed.write_bytes(gzip.compress(written(tmp_path / "lines", found).read_bytes()))
    assert read(EventFiles([packed])) == meant


def test_bad_lines_are_counted_and_named(tmp_path: Path) -> None:
    found = [case for case in cases("segment", 60) if case.kind == "single"][:3]
    broken = json.loads(found[1].value) | {"userId": None, "anonymousId": None}
    lines = [found[0].value, json.dumps(broken).encode(), b"{", found[2].value]
    path = tmp_path / "calls.jsonl"
    path.write_bytes(b"\n".join(lines))
    files = EventFiles([path], event_format="segment")
    assert len(read(files)) == 2
    assert files.rows == 4
    assert files.bad == {"missing-field": 1, "not-json": 1}
    assert str(files.samples[0]).startswith(f"{path}:2: userId and anonymousId are both missing")
    assert files.told[0] == "4 rows read: 2 gave an event, 2 did not"


def test_a_bad_call_of_a_batch_is_a_row_of_its_own(tmp_path: Path) -> None:
    found = [case for case in cases("segment", 60) if case.kind == "single"][:2]
    calls = [json.loads(case.value) for case in found]
    path = tmp_path / "batches.jsonl"
    path.write_text(json.dumps({"batch": [*calls, {"type": "track"}]}) + "\n")
    files = EventFiles([path], event_format="segment")
    assert len(read(files)) == 2
    assert (files.rows, files.bad) == (2, {"missing-field": 1})


def test_columns_and_the_contract_are_read_as_ever(tmp_path: Path) -> None:
    path = tmp_path / "flat.jsonl"
    path.write_text('{"distinct_id": "u", "event": "view", "sku": "a", "ts": 1764000000}\n')
    (event,) = read(EventFiles([path]))
    assert (event["user_id"], event["item_id"]) == ("u", "a")
    call = {"type": "track", "userId": "u", "event": "x", "item": "a", "ts": 1764000000}
    path.write_text(json.dumps(call) + "\n")
    for given in ({"event_format": CONTRACT}, {"columns": {"item_id": "item"}}):
        (event,) = read(EventFiles([path], **given))
        assert event["item_id"] == "a"


def test_an_unknown_format_is_refused_with_those_there_are(tmp_path: Path) -> None:
    with pytest.raises(SettingsError, match="use one of contract, segment"):
        EventFiles([tmp_path / "x"], event_format="mixpanel")


def test_every_reason_to_drop_is_told_in_words() -> None:
    assert set(LEFT_OUT) == set(DROPS)


def test_a_mapping_reads_files_too(tmp_path: Path) -> None:
    mapping = tmp_path / "own.toml"
    mapping.write_text(
        '[event]\nuser_id = "who"\naction = "did"\nitem_id = "what"\n'
        'time = { path = "at", unit = "s" }\n'
    )
    lines = tmp_path / "own.jsonl"
    lines.write_text('{"who": "u", "did": "view", "what": "a", "at": 1764000000}\n{"who": "u"}\n')
    files = EventFiles([lines], event_format=format_named("mapping", str(mapping)))
    (event,) = read(files)
    assert (event["item_id"], event["time"]) == ("a", 1764000000000)
    assert (files.rows, sum(files.bad.values())) == (2, 1)


def test_rows_of_a_parquet_file_are_documents_of_a_named_format(tmp_path: Path) -> None:
    found = [case for case in cases("ga4", 60) if case.value.startswith(b"{")]
    # a column has one type; the integers of an export are texts in its JSON
    rows = [json.loads(case.value, parse_int=str) for case in found]
    path = tmp_path / "export.parquet"
    names = sorted({name for row in rows for name in row})
    pq.write_table(pa.table({name: [row.get(name) for row in rows] for name in names}), path)
    files = EventFiles([path], event_format="ga4")
    assert read(files) == [event for case in found for event in case.events]
    assert files.rows == len(found)

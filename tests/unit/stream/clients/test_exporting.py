"""Checks the parts of an export that need no broker; tests/kafka makes whole ones."""

from __future__ import annotations

import json
from pathlib import Path
from types import SimpleNamespace

import pytest

from stream.clients.exporting import letter_part, state_part, suppression_part, write
from stream.config import Settings
from stream.contracts.state_record import decode_record
from stream.errors import UsageError
from tests.support.contracts import golden_bytes


def test_a_state_is_told_in_words() -> None:
    found = state_part(decode_record(golden_bytes("state-1.hex")))
    assert (found["events_applied"], found["last_offset"]) == (2, 9)
    assert found["memory"]["numbers"] > 0
    assert found["recent_events"][0]["time"].startswith("2026-01-01T")
    assert {"zelt für zwei"} & {str(each.get("query")) for each in found["recent_events"]}
    json.dumps(found)


def test_who_was_never_erased_is_not_suppressed() -> None:
    nothing = {"suppressed": False, "erased_at": None, "older_events_are_dropped_until": None}
    assert suppression_part(Settings(), None) == nothing
    state = decode_record(golden_bytes("state-1.hex"))
    assert suppression_part(Settings(), state) == nothing


def test_bytes_that_are_no_text_are_written_too() -> None:
    record = SimpleNamespace(
        partition=1, offset=2, timestamp=1_767_225_600_000, key=b"\xff", value=b"\xfe", headers=[]
    )
    found = letter_part(record)
    assert (found["key"], found["value"]) == ({"base64": "/w=="}, {"base64": "/g=="})
    assert found["written_at"] == "2026-01-01T00:00:00Z"


def test_a_file_is_new_and_its_owners_alone(tmp_path: Path) -> None:
    path = tmp_path / "alice.json"
    write({"user_id": "алиса"}, path)
    assert (path.stat().st_mode & 0o777) == 0o600
    assert "алиса" in path.read_text(encoding="utf-8")
    with pytest.raises(UsageError, match="exists; name a new file"):
        write({}, path)

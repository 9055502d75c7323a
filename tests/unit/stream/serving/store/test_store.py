"""What the file keeps, and that it is of one moment whatever happens to the process."""

from __future__ import annotations

import random
import sqlite3
from pathlib import Path

import pytest

from stream.errors import Failure, UsageError
from stream.serving.store import Store
from stream.serving.store.histories import Histories
from stream.serving.updates import number_of
from tests.support.serving import NOW_MS, PROFILES, null, record
from tests.support.stored import PLACE, check_counts, in_segment, marked, offset, profile, reading


def test_records_and_positions_are_one_transaction(
    store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    store.apply([record("anna", 1)], [], {PLACE: 1}, as_of_ms=5)
    broken = record("berta", 2)
    object.__setattr__(broken, "timestamp", "no moment")
    monkeypatch.setattr(Histories, "take", lambda *_: 1 / 0)
    with pytest.raises(ZeroDivisionError):
        store.apply([record("anna", 2, {"tea": 0.9})], [broken], {PLACE: 2}, as_of_ms=6)
    assert offset(store, "anna") == 1
    assert store.known().positions == {PLACE: 1}
    assert store.known().as_of_ms == 5
    with reading(store) as db:
        check_counts(db)
    # a name that the transaction had met is not taken for one that is there
    monkeypatch.undo()
    store.apply([record("anna", 2, {"tea": 0.9})], [], {PLACE: 2})
    assert in_segment(store, "tea") == ["anna"]


def test_a_new_start_goes_on_and_a_folder_has_one_owner(tmp_path: Path) -> None:
    first = Store(tmp_path)
    first.begin_anew({PROFILES: "an-id"})
    first.apply([record("anna", 1)], [], {PLACE: 9}, as_of_ms=NOW_MS)
    with pytest.raises(UsageError, match="another"):
        Store(tmp_path)
    first.close()
    assert (tmp_path / "profiles.sqlite").stat().st_mode & 0o777 == 0o600
    again = Store(tmp_path)
    known = again.known()
    assert (known.topic_ids, known.positions) == ({PROFILES: "an-id"}, {PLACE: 9})
    assert (known.as_of_ms, offset(again, "anna")) == (NOW_MS, 1)
    again.begin_anew({PROFILES: "another-id"})
    assert (again.known().positions, profile(again, "anna")) == ({}, None)
    again.close()


def test_what_is_no_file_of_ours_is_told(tmp_path: Path) -> None:
    (tmp_path / "profiles.sqlite").write_bytes(b"no database, and longer than a header " * 99)
    with pytest.raises(Failure, match="delete it"):
        Store(tmp_path)
    with pytest.raises(UsageError, match="cannot be written"):
        Store(tmp_path / "profiles.sqlite")


def test_another_layout_begins_anew(tmp_path: Path) -> None:
    first = Store(tmp_path)
    first.apply([record("anna", 1)], [], {PLACE: 1})
    first.close()
    with sqlite3.connect(tmp_path / "profiles.sqlite") as db:
        db.execute("UPDATE meta SET value = 0 WHERE name = 'layout'")
    db.close()
    again = Store(tmp_path)
    assert (profile(again, "anna"), again.known().positions) == (None, {})
    with reading(again) as db:
        assert marked(db) == {}
    again.close()


def test_no_byte_of_an_erased_user_stays(tmp_path: Path) -> None:
    canary = "canary-7f3a91"
    store = Store(tmp_path)
    crowd = [record(f"user-{number}", number) for number in range(2_000)]
    random.Random(1).shuffle(crowd)
    mine = [record(canary, 9_000 + number, {f"of-{number}": 0.1}) for number in range(60)]
    for some in (crowd[:1_000], mine, crowd[1_000:]):
        store.apply(some, some, {PLACE: 1})
    traces = (canary.encode(), (number_of(canary.encode()) + 1).to_bytes(8, "little"))
    held = b"".join(each.read_bytes() for each in tmp_path.iterdir())
    assert all(each in held for each in traces)
    store.apply([null(canary)], [], {PLACE: 2})
    store.close()
    held = b"".join(each.read_bytes() for each in tmp_path.iterdir())
    assert not any(each in held for each in traces)

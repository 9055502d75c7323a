"""A file that was open when the system went down is not trusted; one of a killed process is."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest

from stream.serving.store import Store, system_runs
from stream.serving.store.system_runs import MARKER
from tests.support.serving import record
from tests.support.stored import PLACE, profile


def runs_as(monkeypatch: pytest.MonkeyPatch, run: str) -> None:
    monkeypatch.setattr(system_runs, "this_run", lambda: run)


def synchronous(store: Store) -> int:
    return int(store._db.execute("PRAGMA synchronous").fetchone()[0])


def left_open(folder: Path) -> Path:
    """A copy of a folder as a process that is killed leaves it."""
    store = Store(folder)
    store.apply([record("anna", 1)], [], {PLACE: 1})
    copied = folder.with_name("left")
    shutil.copytree(folder, copied)
    store.close()
    return copied


@pytest.mark.parametrize("run", ["run-1", ""])
def test_a_killed_process_leaves_a_whole_file(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, run: str
) -> None:
    runs_as(monkeypatch, run)
    folder = left_open(tmp_path / "data")
    assert (folder / MARKER).exists() == bool(run)
    again = Store(folder)
    assert profile(again, "anna") is not None
    again.close()


def test_after_the_system_went_down_it_is_made_anew(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    runs_as(monkeypatch, "run-1")
    folder = left_open(tmp_path / "data")
    (folder / "profiles.sqlite").write_bytes(b"what a power cut has left " * 999)
    runs_as(monkeypatch, "run-2")
    again = Store(folder)
    assert (profile(again, "anna"), again.known().positions) == (None, {})
    assert "the system went down while profiles.sqlite was open" in caplog.text
    again.close()


def test_a_file_that_was_closed_holds_over_any_end_of_the_system(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    runs_as(monkeypatch, "run-1")
    first = Store(tmp_path)
    first.apply([record("anna", 1)], [], {PLACE: 1})
    first.close()
    assert not (tmp_path / MARKER).exists()
    runs_as(monkeypatch, "run-2")
    again = Store(tmp_path)
    assert profile(again, "anna") is not None
    again.close()


def test_without_an_id_of_the_system_the_disk_is_waited_for(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for run, expected in (("run-1", 0), ("", 1)):
        runs_as(monkeypatch, run)
        store = Store(tmp_path)
        assert synchronous(store) == expected
        store.empty_log()  # what was erased is waited for, then it is as before
        assert synchronous(store) == expected
        store.close()


def test_this_system_says_which_run_it_is(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(system_runs, "BOOT_ID", tmp_path / "boot_id")
    assert system_runs.this_run() == ""
    (tmp_path / "boot_id").write_text("a-run\n", encoding="ascii")
    assert system_runs.this_run() == "a-run"

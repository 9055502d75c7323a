"""What Java keeps of a start: when a broker uses it. Made for real it is by the fixture `kafka`."""

from __future__ import annotations

from pathlib import Path

import pytest

from stream.broker import quick_start
from stream.broker.jars import kept_start, start_options
from stream.errors import BrokerError


@pytest.fixture
def fetched(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(quick_start, "resolve", lambda cache_dir: "")


def test_a_start_uses_what_is_kept_of_its_versions_and_nothing_else(tmp_path: Path) -> None:
    assert start_options(tmp_path) == ()
    (tmp_path / "start-1.0-java-1.0.aot").touch()
    assert start_options(tmp_path) == ()
    kept_start(tmp_path).touch()
    assert start_options(tmp_path)[0] == f"-XX:AOTCache={kept_start(tmp_path)}"


@pytest.mark.usefixtures("fetched")
def test_it_is_made_once_and_a_failure_leaves_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(quick_start, "_run_once", lambda folder, draft: "No space left")
    with pytest.raises(BrokerError, match=r"make room there.*(?s:.)*No space left"):
        quick_start.prepare(tmp_path)
    assert [each.name for each in tmp_path.iterdir()] == [".start-lock"]

    def write(folder: Path, draft: Path) -> str:
        draft.write_bytes(b"kept")
        return ""

    monkeypatch.setattr(quick_start, "_run_once", write)
    assert quick_start.prepare(tmp_path)
    assert kept_start(tmp_path).read_bytes() == b"kept"
    assert not quick_start.prepare(tmp_path)

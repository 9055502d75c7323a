"""The notebook of docs/start does what it says, on a small simulated shop."""

from __future__ import annotations

import asyncio
from pathlib import Path

import pytest

from tests.support.notebooks import run_cells
from tests.support.pages import DOCS
from tests.support.pipelines import PATIENCE_S, Pipeline

pytestmark = [pytest.mark.kafka, pytest.mark.slow]  # it trains

NOTEBOOK = DOCS / "start/first-model.ipynb"


def test_the_notebook_trains_streams_and_shows(
    pipeline: Pipeline,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    for name, value in pipeline.environment.items():
        if name.startswith("INTEREST_STREAM_"):
            monkeypatch.setenv(name, value)
    monkeypatch.delenv("FIRST_MODEL_DATA", raising=False)
    work = str(tmp_path / "work")
    running = run_cells(NOTEBOOK, WORK=work, USERS=12, EPOCHS=1)
    names = asyncio.run(asyncio.wait_for(running, PATIENCE_S * 2))
    shown = capsys.readouterr().out
    assert len(names["path"]) == len(names["history"]) == 8
    assert names["path"][-1].events_seen == 8
    assert names["latest"].update_id == names["path"][-1].update_id
    assert "The next item" in shown
    assert "Probability that the next event touches an interest" in shown
    assert "because of" in shown
    assert names["worker"].returncode == 0

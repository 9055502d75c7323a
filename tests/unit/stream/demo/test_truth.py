"""What the demo writes is what the service reads."""

from __future__ import annotations

from pathlib import Path

from stream.demo.truth import TruthFile
from stream.serving.overview.truth import Truth


def test_a_line_is_written_when_another_interest_becomes_true(tmp_path: Path) -> None:
    file = TruthFile(tmp_path / "truth.jsonl")
    truth = Truth(file.path)
    for time, interest in enumerate(["tea", "tea", "books", "books", "tea"]):
        file.note("anna", interest, time)
    file.note("berta", "tea", 9)
    assert truth.of("anna") == [
        {"time": 0, "interest": "tea"},
        {"time": 2, "interest": "books"},
        {"time": 4, "interest": "tea"},
    ]
    assert truth.of("berta") == [{"time": 9, "interest": "tea"}]
    file.close()

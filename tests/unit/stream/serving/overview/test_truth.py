"""The file in which a demo writes down what is true."""

from __future__ import annotations

from pathlib import Path

from stream.serving.overview.truth import PERIODS, Truth


def test_it_is_read_as_it_grows(tmp_path: Path) -> None:
    file = tmp_path / "truth.jsonl"
    truth = Truth(file)
    assert truth.of("anna") == []  # the demo has not begun
    with file.open("a") as out:
        out.write('{"user_id": "anna", "time": 1, "interest": "tea"}\n{"user_id": "anna", "ti')
    assert truth.of("anna") == [{"time": 1, "interest": "tea"}]
    with file.open("a") as out:
        out.write('me": 2, "interest": "books"}\nnonsense\n')
    assert truth.of("anna") == [{"time": 1, "interest": "tea"}, {"time": 2, "interest": "books"}]
    assert truth.of("berta") == []


def test_of_a_user_the_last_ones_are_remembered(tmp_path: Path) -> None:
    file = tmp_path / "truth.jsonl"
    lines = [f'{{"user_id": "anna", "time": {each}, "interest": "tea"}}' for each in range(300)]
    file.write_text("\n".join(lines) + "\n")
    found = Truth(file).of("anna")
    assert (len(found), found[-1]["time"]) == (PERIODS, 299)

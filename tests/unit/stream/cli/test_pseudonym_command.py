"""Checks the command that maps one id onto its pseudonym."""

from __future__ import annotations

from pathlib import Path

import pytest

from stream.cli.root import main
from stream.contracts.pseudonym import pseudonym


def code(*words: str) -> int:
    with pytest.raises(SystemExit) as ended:
        main(["pseudonym", *words])
    return int(ended.value.code or 0)


def test_one_id_is_mapped(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = tmp_path / "ids.key"
    path.write_text("0123456789abcdef", encoding="ascii")
    assert code("--user", "alice", "--pseudonym-key-file", str(path)) == 0
    assert capsys.readouterr().out == pseudonym(b"alice", b"0123456789abcdef") + "\n"
    for words in (
        ("--user", "", "--pseudonym-key-file", str(path)),
        ("--user", "x" * 257, "--pseudonym-key-file", str(path)),
        ("--user", "alice", "--pseudonym-key-file", str(tmp_path / "missing")),
        ("--user", "alice"),
    ):
        assert code(*words) == 2
        assert capsys.readouterr().out == ""

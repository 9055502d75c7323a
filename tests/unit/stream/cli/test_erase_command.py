"""Checks that wrong use of the commands about users ends with code 2, before a broker is asked."""

from __future__ import annotations

from pathlib import Path

import pytest

from stream.cli.root import main


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (("erase",), "name one user with --user, or a file of them with --users"),
        (("erase", "--user", "u", "--users", "f"), "name one user with --user"),
        (("erase", "--user", ""), "the user id is empty"),
        (("erase", "--user", "x" * 257), "has 257 bytes, more than 256"),
        (("erase", "--users", "missing.txt"), "missing.txt cannot be read"),
        (("erase", "--users", "bad.txt"), "bad.txt:2: it has 300 bytes"),
        (("erase", "--user", "u", "--control-key-file", "missing.key"), "control_key_file"),
        (("erase", "--user", "u", "--wait", "-1"), "--wait"),
        (("unsuppress", "--user", "a\nb"), "holds a control character"),
        (("unsuppress",), "--user"),
        (("forget", "--user", "u"), "one of --item and --query"),
        (("forget", "--user", "u", "--item", "i", "--query", "q"), "one of --item and --query"),
        (("export", "--user", "u", "--out", "bad.txt"), "bad.txt exists"),
        (("export", "--user", "", "--out", "new.json"), "the user id is empty"),
    ],
)
def test_wrong_use_is_told_and_nothing_is_sent(
    words: tuple[str, ...],
    said: str,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "bad.txt").write_bytes(b"alice\n" + b"x" * 300 + b"\n")
    with pytest.raises(SystemExit) as ended:
        main([*words, "--broker", "kafka://127.0.0.1:1"])
    assert ended.value.code == 2
    assert said in capsys.readouterr().err

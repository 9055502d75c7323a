"""`serve`: what it refuses before it connects, and the keys that it makes."""

from __future__ import annotations

import importlib.util
from pathlib import Path

import pytest

from stream.cli.root import main
from stream.serving.guard import hash_of, read_keys


def ends(words: list[str], capsys: pytest.CaptureFixture[str]) -> tuple[int, str]:
    with pytest.raises(SystemExit) as ended:
        main(["serve", *words])
    said = capsys.readouterr()
    return int(ended.value.code or 0), said.out + said.err


def test_a_new_key_is_shown_once_and_its_line_lets_it_in(
    capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    code, said = ends(["--new-key", "shop:profile,events"], capsys)
    key, line = said.split()[0], said.splitlines()[-1]
    assert (code, line.split()[0]) == (0, "shop")
    (tmp_path / "keys").write_text(line, encoding="utf-8")
    assert read_keys(tmp_path / "keys")[hash_of(key)].scopes == {"profile", "events"}


@pytest.mark.parametrize(
    ("words", "says"),
    [
        (["--host", "0.0.0.0"], "--api-keys FILE"),
        (["--new-key", "shop:everything"], "scopes are some of"),
        (["--api-keys", "nothing"], "cannot be read"),
        (["--behind-proxy", "nothing"], "cannot be read"),
        (["--model", "here", "--demo-model"], "name two models"),
        (["--control-key-file", "nothing"], "control_key_file"),
        (["--port", "65536"], "--port"),
    ],
)
def test_wrong_use_is_told_before_anything_is_done(
    words: list[str], says: str, capsys: pytest.CaptureFixture[str]
) -> None:
    code, said = ends(words, capsys)
    assert code == 2
    assert says in said


def test_the_environment_gives_options_too(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("INTEREST_STREAM_SERVE_HOST", "0.0.0.0")
    assert ends([], capsys)[0] == 2


def test_without_the_extra_it_names_the_extra(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(importlib.util, "find_spec", lambda _: None)
    code, said = ends([], capsys)
    assert code == 2
    assert "interest-stream[serve]" in said


def test_no_broker_is_told(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    words = ["--broker", "kafka://127.0.0.1:1", "--data", str(tmp_path), "--port", "0"]
    code, said = ends(words, capsys)
    assert code == 1
    assert "no Kafka broker answers" in said

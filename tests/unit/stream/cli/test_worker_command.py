"""A worker refuses to start without a whole model directory."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from models.errors import ModelDirectoryError
from stream.cli.root import main
from stream.cli.worker_command import ensure_model_is_named, load_model
from stream.config import Settings
from stream.errors import UsageError


def test_a_broken_model_directory_is_named(tmp_path: Path) -> None:
    with pytest.raises(ModelDirectoryError, match=str(tmp_path)):
        load_model(Settings(model=str(tmp_path)))


def test_the_command_line_says_so_in_one_line_and_exits_1(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit) as ended:
        main(["rank", "--model", str(tmp_path), "--histories", str(tmp_path / "none.jsonl")])
    out, err = capsys.readouterr()
    assert (ended.value.code, out) == (1, "")
    assert err.startswith("interest-stream: ")
    assert str(tmp_path) in err
    assert err.count("\n") == 1


@pytest.mark.parametrize(
    ("settings", "null", "said"),
    [
        (Settings(), False, "--model DIR"),
        (Settings(), False, "--demo-model"),
        (Settings(model="m", demo_model=True), False, "give one of them"),
        (Settings(model="m"), False, ""),
        (Settings(demo_model=True), False, ""),
        (Settings(), True, ""),
    ],
)
def test_nobody_gets_the_demo_model_unasked(settings: Settings, null: bool, said: str) -> None:
    if not said:
        ensure_model_is_named(settings, null)
        return
    with pytest.raises(UsageError, match=said):
        ensure_model_is_named(settings, null)


def test_a_worker_without_a_model_is_wrong_use(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("INTEREST_STREAM_MODEL", raising=False)
    with pytest.raises(SystemExit) as ended:
        main(["worker"])
    assert ended.value.code == 2
    assert "--demo-model" in capsys.readouterr().err


def test_a_secret_on_the_command_line_is_refused(capsys: pytest.CaptureFixture[str]) -> None:
    for option in ("--sasl-password", "--oauth-client-secret"):
        with pytest.raises(SystemExit) as ended:
            main(["worker", option, "hunter2"])
        said = capsys.readouterr().err
        assert ended.value.code == 2
        assert f"name it with {option}-file" in said
        assert "hunter2" not in said


def test_settings_stand_in_a_file_too(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    file = tmp_path / "shop.toml"
    file.write_text('app_id = "shop"\nbroker = "a:1,b:2"\n[kafka_options]\nclient.rack = "a"')
    words = ["worker", "--show-settings", "--json", "--config", str(file)]
    with pytest.raises(SystemExit) as ended:
        main([*words, "--app-id", "mine", "--kafka-option", "client.id=x"])
    assert ended.value.code == 0
    shown = json.loads(capsys.readouterr().out)
    assert (shown["app_id"], shown["broker"]) == ("mine", "a:1,b:2")
    assert shown["kafka_options"] == "client.id=x"

"""What a new user types: slips of the pen, wrong values, what to read."""

from __future__ import annotations

import re

import click
import pytest
from click.testing import CliRunner
from rich.cells import cell_len

from stream.cli.inspect_command import in_words
from stream.cli.root import COMMANDS, group, main
from stream.cli.tail_command import readable


def ends(words: list[str], capsys: pytest.CaptureFixture[str]) -> tuple[int, str]:
    with pytest.raises(SystemExit) as end:
        main(words)
    said = capsys.readouterr()
    return int(end.value.code or 0), said.out + said.err


@pytest.mark.parametrize(
    ("words", "hint"),
    [
        (["demmo"], "did you mean 'demo'?"),
        (["topics", "chekc"], "did you mean 'check'?"),
        (["broker", "sart"], "did you mean 'start'?"),
        (["broker", "xyz"], "there are: logs, prepare, start, status, stop"),
        (["demo", "--ratte", "3"], "--rate"),
        (["tail", "--limit", "x"], "'x' is not a valid number"),
        (["demo", "--users", "0"], "x>=1"),
        (["worker", "--json"], "--show-settings"),
        (["tail", "--broker", "localhost"], "write host:port"),
        (["produce"], "--events FILE"),
        (["popularity", "--json"], "--show"),
        (["popularity", "--once", "--show"], "--once"),
        (["popularity", "--every", "0"], "x>0"),
    ],
    ids=" ".join,
)
def test_wrong_use_names_the_fix(
    words: list[str], hint: str, capsys: pytest.CaptureFixture[str]
) -> None:
    code, said = ends(words, capsys)
    assert code == 2
    assert hint in said


@pytest.mark.parametrize("name", COMMANDS)
def test_help_has_a_sentence_examples_and_exit_codes_and_fits_80_columns(name: str) -> None:
    context = click.Context(group)
    command = group.get_command(context, name)
    assert command is not None
    below = list(command.commands) if isinstance(command, click.Group) else []
    for words in ([name], *([name, each] for each in below)):
        shown = CliRunner().invoke(group, [*words, "--help"], terminal_width=80).output
        assert re.search(r"Examples?:\n +interest-stream ", shown), words
        assert "Exit codes: 0 " in shown, words
        assert "RANGE" not in shown, words
        assert max(map(len, shown.splitlines())) <= 80, words


def test_a_missing_model_is_no_surprise(capsys: pytest.CaptureFixture[str]) -> None:
    code, said = ends(["bench", "--model", "/dev"], capsys)
    assert code == 1
    assert "unexpected" not in said
    assert "no manifest.json" in said


def test_secrets_are_masked(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("INTEREST_STREAM_SASL_PASSWORD", "geheim")
    for words in (["worker", "--show-settings"], ["worker", "--show-settings", "--json"]):
        code, said = ends(words, capsys)
        assert code == 0
        assert "geheim" not in said
        assert "***" in said


UPDATE = {
    "user_id": "user-7",
    "time": 1_767_225_600_000,
    "interests": [
        {"interest": "中国茶", "probability": 0.62, "trend": "rising"},
        {"interest": "Camping", "probability": 0.1, "trend": "steady"},
    ],
    "items": [{"item_id": "item-0123"}],
    "because": [{"query": "龙井", "action": "search"}],
}


def test_lines_of_tail_stand_below_each_other_whatever_the_script() -> None:
    turned = {**UPDATE, "interests": UPDATE["interests"][::-1]}  # type: ignore[index]
    places = [
        cell_len(line[: line.index("search")]) for line in (readable(UPDATE), readable(turned))
    ]
    assert places[0] == places[1]
    assert "中国茶" in readable(UPDATE)
    assert "search 龙井" in readable(UPDATE)


def test_inspect_speaks_of_interests_first() -> None:
    state = {
        "count": 48,
        "time": 1_767_225_600_000,
        "bytes": 1_500,
        "partition": 3,
        "last_offset": 5_071,
        "digest": "9f1c",
        "model_fingerprint": "27da",
        "recent": [{"time": 1_767_225_600_000, "action": "search", "query": "龙井"}],
    }
    said = in_words({"user_id": "user-7", "state": state, "profile": UPDATE})
    assert said.startswith(
        "user-7: 48 events, the last on 2026-01-01 00:00:00 UTC\n\nInterests now\n  中国茶"
    )
    bars = [cell_len(line[: line.index("━")]) for line in said.splitlines() if "━" in line]
    assert len(set(bars)) == 1
    assert "“龙井”" in said
    assert "offset 5071" in said
    assert "No state" in in_words({"user_id": "user-7", "state": None, "profile": UPDATE})

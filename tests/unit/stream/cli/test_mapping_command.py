"""Tries mappings on files: what is printed, and the exit codes."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from click.testing import CliRunner

from stream.cli.mapping_command import command

MAPPING = """\
[event]
user_id = "u"
action = "a"
time = "t"
item_id = "i"

[[drop]]
path = "a"
in = ["ping"]
"""
GOOD = '{"u":"u1","a":"zoomed","t":1750000000000,"i":7}'


@pytest.fixture
def files(tmp_path: Path) -> tuple[str, str]:
    mapping, sample = tmp_path / "m.toml", tmp_path / "sample.jsonl"
    mapping.write_text(MAPPING)
    ping = GOOD.replace("zoomed", "ping")
    sample.write_text(f"{GOOD}\n{ping}\n{GOOD.replace('u1', '')}\n")
    return str(mapping), str(sample)


def test_each_record_is_shown_with_what_became_of_it(files: tuple[str, str]) -> None:
    mapping, sample = files
    done = CliRunner().invoke(command, ["try", mapping, "--events", sample])
    assert done.exit_code == 1, done.output
    assert "sample.jsonl:1\n  event  zoomed  u1  7  2025-06-15 15:06:40" in done.output
    assert "left out  filter (1)" in done.output
    assert "DEAD LETTER  missing-field: m.toml:2 user_id = u: nothing is given" in done.output
    assert "3 records: 1 events, 1 left out on purpose, 1 dead letters" in done.output
    assert "counts as other: zoomed" in done.output
    shown = CliRunner().invoke(
        command, ["try", mapping, "--events", sample, "--count", "2", "--json"]
    )
    assert shown.exit_code == 0
    report = json.loads(shown.output)
    assert (report["events"], report["left_out"], report["dead_letters"]) == (1, 1, 0)


def test_a_format_that_needs_no_file_is_tried_too(files: tuple[str, str]) -> None:
    done = CliRunner().invoke(command, ["try", "--event-format", "segment", "--events", files[1]])
    assert done.exit_code == 1
    assert "3 dead letters" in done.output


def test_wrong_use_is_told(files: tuple[str, str]) -> None:
    for words in ([], [files[0], "--event-format", "segment"]):
        done = CliRunner().invoke(command, ["try", *words, "--events", files[1]])
        assert "give a mapping FILE, or --event-format NAME" in str(done.exception)
    for more in ([], ["--from-topic", "x", "--events", files[1]]):
        done = CliRunner().invoke(command, ["try", files[0], *more])
        assert "give a sample" in str(done.exception)


def test_a_mapping_is_suggested(files: tuple[str, str]) -> None:
    done = CliRunner().invoke(command, ["suggest", "--events", files[1]])
    assert done.exit_code == 1
    assert "no path looks like user_id" in done.output

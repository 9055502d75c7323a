"""Options that several commands share."""

from __future__ import annotations

from pathlib import Path

import click
from click.testing import CliRunner

from stream.cli import options
from stream.files.places import File, Remote


def test_a_name_of_files_is_a_path_or_an_address() -> None:
    found: list[File] = []

    @click.command()
    @click.option("--events", multiple=True, type=options.FILES)
    def command(events: tuple[File, ...]) -> None:
        found.extend(events)

    words = ["--events", "a/*.csv", "--events", "s3://bucket//events/"]
    assert CliRunner().invoke(command, words).exit_code == 0
    assert found == [Path("a/*.csv"), Remote("s3://bucket//events/")]

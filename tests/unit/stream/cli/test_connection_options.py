"""Every command that goes to Kafka is told in the same way how to reach it."""

from __future__ import annotations

from collections.abc import Iterator

import click
import pytest

from stream.cli.root import COMMANDS, group


def leaves(command: click.Command, name: str) -> Iterator[tuple[str, set[str]]]:
    """Yields each command without sub-commands, and the options that it has."""
    yield name, {option for param in command.params for option in param.opts}
    if isinstance(command, click.Group):
        context = click.Context(command)
        for each in command.list_commands(context):
            found = command.get_command(context, each)
            assert found is not None
            yield from leaves(found, f"{name} {each}")


OPTIONS = dict(
    each
    for name in COMMANDS
    for each in leaves(group.get_command(click.Context(group), name) or click.Command(name), name)
)


@pytest.mark.parametrize("name", [name for name, has in OPTIONS.items() if "--broker" in has])
def test_who_takes_a_broker_takes_the_rest_of_the_connection(name: str) -> None:
    assert {"--config", "--kafka-option"} <= OPTIONS[name]


def test_all_topics_can_be_named_when_they_are_made() -> None:
    topics = ("events", "updates", "profiles", "dead-letters", "popularity")
    for name in ("topics create", "topics check"):
        assert {f"--{topic}-topic" for topic in topics} <= OPTIONS[name]
    assert len([name for name, has in OPTIONS.items() if "--broker" in has]) > 15

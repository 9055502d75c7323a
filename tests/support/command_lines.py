"""Holds the commands of the project as data, and checks written command lines.

A command line is sound if the command would understand it.
"""

from __future__ import annotations

import shlex
from collections.abc import Iterator

import click

from stream.cli.root import group

END = ("&", "|", ">", "\\")
"""Where a command ends on a line of a shell."""


def commands(
    command: click.Command = group, words: tuple[str, ...] = ()
) -> Iterator[tuple[tuple[str, ...], click.Command]]:
    """Every command that does something, by the words that call it."""
    if not isinstance(command, click.Group) or command.invoke_without_command:
        yield words, command
    if not isinstance(command, click.Group):
        return
    context = click.Context(command)
    for name in command.list_commands(context):
        found = command.get_command(context, name)
        assert found is not None
        yield from commands(found, (*words, name))


def parses(line: str) -> None:
    """Raises AssertionError unless what follows `interest-stream` is a sound command line.

    It names a command, options that it has, and values that they take.
    """
    words = shlex.split(line, comments=True)
    words = words[: next((place for place, word in enumerate(words) if word in END), len(words))]
    command: click.Command = group
    context = click.Context(group)
    while isinstance(command, click.Group) and words and not words[0].startswith("-"):
        found = command.get_command(context, words.pop(0))
        assert found is not None, f"no such command: {line}"
        command = found
    context = click.Context(command)
    try:
        given, left, _ = command.make_parser(context).parse_args(words)
        for each in command.params:
            if each.name in given and not isinstance(
                each.type, click.Path
            ):  # files of an example need not be there
                each.type_cast_value(context, given[each.name])
    except click.UsageError as error:
        raise AssertionError(f"interest-stream {line}: {error.format_message()}") from None
    assert not left, f"interest-stream {line}: {left} is no option"

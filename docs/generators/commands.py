"""Writes a page for each command, from the command line itself."""

from __future__ import annotations

import inspect
import re
from collections.abc import Iterator

import click

from docs.generators.markdown import as_text, table
from stream.cli.root import COMMANDS, group


def commands_page() -> str:
    """Returns the table of all commands, each with a link to its page."""
    rows = [(f"[`{name}`]({name}.md)", does) for name, does in COMMANDS.items()]
    return f"""# Commands

Every command is a word after `interest-stream`. Each has `--help` with the text of its page here.
Exit codes are the same everywhere: 0 done, 1 failed and the message says what to do, 2 wrong use;
[Exit codes](../exit-codes.md) has the whole table.

{table(("command", "does"), rows)}"""


def command_page(name: str) -> str:
    """Returns the page of one command with its sub-commands."""
    return "\n\n".join(
        command_section(command, words)
        for words, command in sub_commands(command_of(name), (name,))
    )


def command_of(name: str) -> click.Command:
    """Returns a command of the command line by its name."""
    found = group.get_command(click.Context(group), name)
    assert found is not None
    return found


def sub_commands(
    command: click.Command, words: tuple[str, ...]
) -> Iterator[tuple[tuple[str, ...], click.Command]]:
    """Yields a command and all below it, with the words that call each."""
    yield words, command
    if isinstance(command, click.Group):
        context = click.Context(command)
        for name in command.list_commands(context):
            found = command.get_command(context, name)
            assert found is not None
            yield from sub_commands(found, (*words, name))


def command_section(command: click.Command, words: tuple[str, ...]) -> str:
    """Returns what a command does, its examples, exit codes and options."""
    call = " ".join(words)
    context = click.Context(command, info_name=f"interest-stream {call}")
    usage = " ".join(command.collect_usage_pieces(context))
    parts = [f"{'#' * len(words)} {call}", f"```\ninterest-stream {call} {usage}\n```"]
    parts += help_parts(command)
    records = [each.get_help_record(context) for each in command.get_params(context)]
    options = [record for record in records if record and "--help" not in record[0]]
    if options:
        rows = [(f"`{without_pipes(option)}`", does) for option, does in options]
        parts.append(table(("option", "does"), rows))
    return "\n\n".join(parts)


def help_parts(command: click.Command) -> Iterator[str]:
    """Yields the paragraphs of a help text as Markdown; examples become blocks of code."""
    text = inspect.cleandoc(command.help or "").replace("\f", "")
    for part in re.split(r"\n\s*\n", text):
        if part.startswith("\b\n"):
            head, *lines = part.removeprefix("\b\n").splitlines()
            block = inspect.cleandoc("\n" + "\n".join(lines))
            yield f"{head}\n\n```\n{block}\n```"
        else:
            yield as_text(" ".join(part.split()))


def exit_codes_of(command: click.Command) -> str:
    """Returns the sentence of a help text that lists exit codes; empty when there is none."""
    found = re.search(r"Exit codes: (.+?)(?:\n\s*\n|\Z)", command.help or "", re.DOTALL)
    return " ".join(found[1].split()).removesuffix(".") if found else ""


def without_pipes(option: str) -> str:
    """Returns a list of choices written without the bar that would end a cell of a table."""
    return re.sub(r"\[([\w-]+(?:\|[\w-]+)+)\]", lambda found: found[1].replace("|", " or "), option)

"""Writes the page of the exit codes, from help texts and from `stream.errors`."""

from __future__ import annotations

import inspect
from collections.abc import Iterator

from docs.generators.commands import command_of, exit_codes_of, sub_commands
from docs.generators.markdown import Row, table
from stream import errors
from stream.cli.root import COMMANDS


def exit_codes_page() -> str:
    """Returns the exit codes of all commands, and the errors behind them."""
    shared = table(
        ("exit code", "means"),
        [
            ("0", "done"),
            ("1", "failed; the message says what happened and what to do"),
            ("2", "wrong use: an option, a setting or a file; nothing was done"),
            ("130", "ended by Ctrl-C; a training is saved and the same call goes on"),
            ("137", "killed from outside, for example for lack of memory"),
        ],
    )
    rows = [
        (f"`{' '.join(words)}`", exit_codes_of(command))
        for name in COMMANDS
        for words, command in sub_commands(command_of(name), (name,))
        if exit_codes_of(command)
    ]
    return f"""# Exit codes

{shared}

What a supervisor should do with those of a worker is in the [runbook](../operate/runbook.md).

## By command

{table(("command", "exit codes"), rows)}

## Errors

Every error that the project raises on purpose is a class of
[stream/errors.py](../../stream/errors.py), sorted by what the caller should do. The last line of a
failed command is the message of one of them; an error that is none of them is reported as
*unexpected*, with exit code 1.

{table(("error", "is a", "exit code", "when"), error_rows())}"""


def error_rows() -> Iterator[Row]:
    """Yields each error class with its parent, exit code and meaning."""
    for name, kind in vars(errors).items():
        if isinstance(kind, type) and issubclass(kind, errors.InterestStreamError):
            parent = kind.__base__
            assert parent is not None
            is_a = "" if parent is Exception else f"`{parent.__name__}`"
            meaning = first_line(kind).removeprefix("Says that ")
            yield f"`{name}`", is_a, str(kind.exit_code), meaning[0].upper() + meaning[1:]


def first_line(documented: object) -> str:
    """Returns the first paragraph of a docstring on one line."""
    return " ".join((inspect.getdoc(documented) or "").split("\n\n")[0].split())

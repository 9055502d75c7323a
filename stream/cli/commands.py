"""Groups sub-commands; a mistyped one is answered with the nearest name, numbers are called so."""

from __future__ import annotations

import difflib
import math
from typing import Any

import click


class Group(click.Group):
    """Names the nearest sub-command in the error for an unknown one."""

    def resolve_command(
        self, ctx: click.Context, args: list[str]
    ) -> tuple[str | None, click.Command | None, list[str]]:
        """Returns the sub-command of these words. Raises UsageError with a hint."""
        try:
            return super().resolve_command(ctx, args)
        except click.UsageError as error:
            near = difflib.get_close_matches(args[0], self.list_commands(ctx), n=1, cutoff=0.5)
            hint = (
                f"did you mean '{near[0]}'?"
                if near
                else f"there are: {', '.join(self.list_commands(ctx))}."
            )
            error.message = f"No such command '{args[0]}'; {hint}"
            raise

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        """Returns a sub-command whose options call their numbers so in help and errors."""
        found = super().get_command(ctx, cmd_name)
        return None if found is None else with_plain_numbers(found)


class Finite(click.FloatRange):
    """Takes the numbers of a range; nan, which compares with nothing, and infinity are in none."""

    def convert(
        self, value: Any, param: click.Parameter | None, ctx: click.Context | None
    ) -> float:
        """Returns the number; fails as click does."""
        number: float = super().convert(value, param, ctx)
        if not math.isfinite(number):
            self.fail(f"{value} is no number of a size.", param, ctx)
        return number


def with_plain_numbers(command: click.Command) -> click.Command:
    """Changes what click calls `INTEGER RANGE` to `NUMBER` in a command's own options.

    Options that take a range of numbers refuse nan and infinity from then on.
    """
    for param in command.params:
        if isinstance(param.type, click.FloatRange):
            kind = param.type
            param.type = Finite(kind.min, kind.max, kind.min_open, kind.max_open, kind.clamp)
        if isinstance(param.type, click.types.IntParamType | click.types.FloatParamType):
            if isinstance(param.type, click.IntRange | click.FloatRange):
                # a range is an object of its own; INT and FLOAT are shared by everybody
                param.type.name = "number"
            elif param.metavar is None:
                param.metavar = "NUMBER"
    return command

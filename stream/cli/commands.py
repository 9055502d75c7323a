"""Groups of sub-commands that answer a slip of the pen with the nearest name, and speak of numbers as numbers."""

from __future__ import annotations

import difflib

import click


class Group(click.Group):
    """A group whose error for an unknown sub-command names the nearest known one."""

    def resolve_command(
        self, ctx: click.Context, args: list[str]
    ) -> tuple[str | None, click.Command | None, list[str]]:
        """Raises UsageError with a hint."""
        try:
            return super().resolve_command(ctx, args)
        except click.UsageError as error:
            near = difflib.get_close_matches(args[0], self.list_commands(ctx), n=1, cutoff=0.5)
            hint = f"did you mean '{near[0]}'?" if near else f"there are: {', '.join(self.list_commands(ctx))}."
            error.message = f"No such command '{args[0]}'; {hint}"
            raise

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        """With its numbers called so: click calls them `INTEGER RANGE` in help and errors."""
        found = super().get_command(ctx, cmd_name)
        return None if found is None else with_plain_numbers(found)


def with_plain_numbers(command: click.Command) -> click.Command:
    """The same command; its own options only."""
    for param in command.params:
        if isinstance(param.type, click.types.IntParamType | click.types.FloatParamType):
            if isinstance(param.type, click.IntRange | click.FloatRange):
                param.type.name = "number"  # a range is an object of its own; INT and FLOAT are shared by everybody
            elif param.metavar is None:
                param.metavar = "NUMBER"
    return command

"""Holds the options that say what the lines of event files are, for all commands that read them."""

from __future__ import annotations

from pathlib import Path

import click

from stream.cli.options import together
from stream.config import CONTRACT, MAPPING, OWNERS_FORMATS
from stream.errors import UsageError
from stream.files.events import AUTO
from stream.formats.event_format import EventFormat
from stream.formats.registry import format_named

event_format = together(
    click.option(
        "--mapping",
        type=click.Path(path_type=Path),
        metavar="FILE",
        help="TOML file that says how lines of another shape are read as events.",
    ),
    click.option(
        "--event-format",
        type=click.Choice([AUTO, CONTRACT, *OWNERS_FORMATS]),
        default=AUTO,
        show_default=True,
        metavar="NAME",
        help=(
            f"Whose events the files hold: {', '.join((CONTRACT, *OWNERS_FORMATS))}; or {AUTO}, "
            "which finds it out and says so."
        ),
    ),
)


def event_format_of(
    name: str, mapping: Path | None, columns: str | None, *, sequences: bool = False
) -> str | EventFormat:
    """Returns the format that these options name.

    Raises UsageError if two of them say what the lines are, SettingsError for a bad mapping.
    """
    named = [] if name in (AUTO, CONTRACT) else [f"--event-format {name}"]
    named += ["--mapping"] if mapping else []
    named += ["--columns"] if columns else []
    named += ["--sequences"] if sequences else []
    if len(named) > 1 and named[0] not in ("--columns", "--sequences"):
        raise UsageError(
            f"{named[0]} says which fields are which, and so does {named[1]}; leave one of them out"
        )
    return format_named(MAPPING, str(mapping)) if mapping else name

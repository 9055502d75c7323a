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
from stream.setting_rules import Words, words_of

event_format = together(
    click.option(
        "--consent-purposes",
        metavar="NAME,...",
        help="Purposes of consent of which none may be denied.  [default: those of the format]",
    ),
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
    name: str,
    mapping: Path | None,
    columns: str | None,
    *,
    sequences: bool = False,
    purposes: str | None = None,
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
    if purposes:
        if not named:
            raise UsageError(
                "--consent-purposes is of a tracker's events; name whose the files hold with "
                "--event-format"
            )
        words = words_of(_words(purposes))
        return format_named(MAPPING if mapping else name, str(mapping or ""), words)
    return format_named(MAPPING, str(mapping)) if mapping else name


def _words(text: str) -> str:
    """Returns the names of an option; raises UsageError."""
    try:
        return Words().read(text)
    except ValueError as error:
        raise UsageError(f"--consent-purposes is {text!r}; {error}") from None

"""Holds the options that `train` and `evaluate` share: how events are read and split."""

from __future__ import annotations

from collections.abc import Callable
from datetime import UTC, datetime
from typing import Any

import click

from models.compact import SESSION_GAP_S
from models.data.prepare import Dataset, PrepareConfig
from models.data.splits import MOST_CASES, PROTOCOLS, TEST_FILES, Split, split
from stream.cli import options
from stream.cli.file_options import event_format, event_format_of
from stream.errors import UsageError
from stream.formats.event_format import EventFormat

_OPTIONS = (
    click.option(
        "--columns",
        default=None,
        metavar="FIELD=COLUMN,...",
        help=options.COLUMNS,
    ),
    event_format,
    click.option(
        "--sequences",
        is_flag=True,
        help="Event files have a user id and item ids in order on each line.",
    ),
    click.option(
        "--min-events",
        type=click.IntRange(2),
        default=3,
        show_default=True,
        help="Users with fewer are left out.",
    ),
    click.option(
        "--max-rate",
        type=click.IntRange(0),
        default=5000,
        show_default=True,
        help="More events than this in 24 hours make a robot, who is left out; 0: nobody is.",
    ),
    click.option(
        "--keep-duplicates", is_flag=True, help="Keep an event that repeats the one before."
    ),
    click.option(
        "--protocol",
        type=click.Choice(list(PROTOCOLS)),
        default="leave-one-out",
        show_default=True,
        help="What is held out from training and asked for.",
    ),
    click.option(
        "--session-gap",
        type=click.FloatRange(0),
        default=SESSION_GAP_S,
        show_default=True,
        metavar="SECONDS",
        help="Silence that ends a session, with --protocol sessions.",
    ),
    click.option(
        "--cut",
        default=None,
        metavar="DATE",
        help=(
            "With a protocol that cuts in time: train on what lies before this moment, for example "
            "2026-01-05.  [default: nine tenths lie before it]"
        ),
    ),
    click.option(
        "--test",
        "tests",
        multiple=True,
        type=options.FILES,
        metavar="FILE",
        help=(
            "Events that are asked for, and not learned, instead of a --protocol; repeat for "
            "several files."
        ),
    ),
    click.option(
        "--seed",
        type=int,
        default=0,
        show_default=True,
        help="Of all that is drawn; equal seeds, equal results.",
    ),
    click.option(
        "--threads",
        type=click.IntRange(1),
        default=1,
        show_default=True,
        help="Threads of the model.",
    ),
)


def seen_option(*, hidden: bool = False) -> Callable[..., Any]:
    """Returns the option that says whether a ranking is asked without the items of the history.

    It is a question of an evaluation: a worker never leaves them out. `train` takes it for the
    protocols of published tables, and does not offer it.
    """
    return click.option(
        "--seen",
        type=click.Choice(["keep", "remove"]),
        default="keep",
        show_default=True,
        hidden=hidden,
        help="Whether items of a history stay candidates.",
    )


def prepare_config(given: dict[str, Any], unknown_items: str = "keep") -> PrepareConfig:
    """Returns what these options leave out of the events."""
    return PrepareConfig(
        min_events=given["min_events"],
        max_events_per_day=given["max_rate"],
        keep_duplicates=given["keep_duplicates"],
        unknown_items=unknown_items,
    )


def cut_ms(given: dict[str, Any]) -> int | None:
    """Returns the moment of --cut in Unix milliseconds. Raises UsageError naming what is wrong."""
    if given["cut"] is None:
        return None
    if given["protocol"] == "leave-one-out":
        raise UsageError(
            "--cut is a moment; it goes with --protocol time-split, sessions and others"
        )
    try:
        moment = datetime.fromisoformat(given["cut"])
    except ValueError:
        raise UsageError(
            f"--cut {given['cut']!r} is no date; write 2026-01-05 or 2026-01-05T12:00:00Z"
        ) from None
    return round((moment if moment.tzinfo else moment.replace(tzinfo=UTC)).timestamp() * 1000)


def check_split(given: dict[str, Any]) -> None:
    """Raises UsageError if these options do not go together, before anything is read."""
    format_as_asked(given)
    if given["tests"] and (given["cut"] is not None or given["protocol"] != "leave-one-out"):
        raise UsageError("--test says what is asked for; leave out --protocol and --cut")
    cut_ms(given)


def format_as_asked(given: dict[str, Any]) -> str | EventFormat:
    """Returns whose events the files hold. Raises UsageError, SettingsError."""
    return event_format_of(
        given["event_format"],
        given["mapping"],
        given["columns"],
        sequences=given["sequences"],
        purposes=given["consent_purposes"],
    )


def split_as_asked(dataset: Dataset, given: dict[str, Any]) -> Split:
    """Returns a data set cut as these options say. Raises UsageError, ModelDataError."""
    return split(
        dataset,
        TEST_FILES if given["tests"] else given["protocol"],
        seed=given["seed"],
        most_cases=given.get("most_cases", MOST_CASES),
        session_gap_s=given["session_gap"],
        cut_ms=cut_ms(given),
    )


def data_options(command: Callable[..., Any]) -> Callable[..., Any]:
    """Adds the options to a command, in the order in which they are listed."""
    for option in reversed(_OPTIONS):
        command = option(command)
    return command

"""Options that `train` and `evaluate` share: how event files are read, what is left out, what is asked."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import click

from models.compact import SESSION_GAP_S
from models.prepare import PrepareConfig
from models.protocols import PROTOCOLS

_OPTIONS = (
    click.option(
        "--columns", default=None, metavar="FIELD=COLUMN,...", help="Names of columns that are not recognised."
    ),
    click.option("--sequences", is_flag=True, help="Event files have a user id and item ids in order on each line."),
    click.option(
        "--min-events", type=click.IntRange(2), default=3, show_default=True, help="Users with fewer are left out."
    ),
    click.option(
        "--max-rate",
        type=click.IntRange(0),
        default=5000,
        show_default=True,
        help="More events than this in 24 hours make a robot, who is left out; 0: nobody is.",
    ),
    click.option("--keep-duplicates", is_flag=True, help="Keep an event that repeats the one before."),
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
        "--seen",
        type=click.Choice(["keep", "remove"]),
        default="keep",
        show_default=True,
        help="Whether items of a history stay candidates.",
    ),
    click.option(
        "--seed", type=int, default=0, show_default=True, help="Of all that is drawn; equal seeds, equal results."
    ),
    click.option("--threads", type=click.IntRange(1), default=1, show_default=True, help="Threads of the model."),
)


def prepare_config(given: dict[str, Any], unknown_items: str = "keep") -> PrepareConfig:
    """What these options leave out."""
    return PrepareConfig(
        min_events=given["min_events"],
        max_events_per_day=given["max_rate"],
        keep_duplicates=given["keep_duplicates"],
        unknown_items=unknown_items,
    )


def data_options(command: Callable[..., Any]) -> Callable[..., Any]:
    """Adds them, in this order."""
    for option in reversed(_OPTIONS):
        command = option(command)
    return command

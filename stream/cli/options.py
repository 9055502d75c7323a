"""Holds the options that several sub-commands share."""

from __future__ import annotations

import logging
from collections.abc import Callable
from pathlib import Path
from typing import Any

import click

from stream.config import CONTRACT, DEFAULT_BROKER, EVENT_FORMATS
from stream.errors import UsageError
from stream.files.places import File, place_of


class FilesType(click.ParamType):
    """Reads a name that stands for files: a path, a folder, a pattern, or an address (s3://...)."""

    name = "path"

    def convert(
        self, value: str | File, param: click.Parameter | None, ctx: click.Context | None
    ) -> File:
        """Returns what the name means; whether there are such files is asked when they are read."""
        return place_of(value) if isinstance(value, str) else value


FILES = FilesType()


def together(*options: Callable[..., Any]) -> Callable[[Callable[..., Any]], Callable[..., Any]]:
    """Returns a decorator that adds several options; --help shows the last of them first."""

    def add(command: Callable[..., Any]) -> Callable[..., Any]:
        for option in options:
            command = option(command)
        return command

    return add


config = click.option(
    "--config",
    metavar="FILE",
    help="TOML file of settings; options and the environment come before it.",
)
events_topic = click.option(
    "--events-topic", metavar="NAME", help="The clickstream topic.  [default: clickstream]"
)
schema_registry = click.option(
    "--schema-registry",
    metavar="URL",
    help="Schema registry, as https://host:8081, that knows the values' schemas.",
)
event_format = together(
    schema_registry,
    click.option(
        "--consent-purposes",
        metavar="NAME,...",
        help="Purposes of consent of which none may be denied.  [default: those of the format]",
    ),
    click.option(
        "--mapping",
        metavar="FILE",
        help="TOML file that says how records of another shape are read as events.",
    ),
    click.option(
        "--event-format",
        metavar="NAME",
        help=f"Shape of the events: {', '.join(EVENT_FORMATS)}.  [default: {CONTRACT}]",
    ),
)
"""The shape of the events, as the workers have it."""

pseudonym_key_file = click.option(
    "--pseudonym-key-file",
    metavar="FILE",
    help="The key of the workers' --pseudonym-key-file; ids are looked for by their pseudonyms.",
)
as_json = click.option("--json", "as_json", is_flag=True, help="Print JSON for a program to read.")

EVENTS = (
    "Behaviour events: a file, a folder, a quoted pattern or an address (s3://bucket/events/); "
    "repeat for several."
)
COLUMNS = (
    "Names of columns that are not recognised: user_id=visitor; user_id=user.$oid inside an "
    "object; user_id=1 in a table without a header; title= for none."
)

language_model = click.option(
    "--language-model",
    envvar="INTEREST_STREAM_LANGUAGE_MODEL",
    type=click.Path(path_type=Path),
    default=None,
    metavar="PATH",
    help=(
        "Where the language model of the model directory is now.  [default: where it was in "
        "training]"
    ),
)


def device_of(what: str) -> Callable[[Callable[..., Any]], Callable[..., Any]]:
    """Returns the option of a device for a command; what: its help."""
    return click.option(
        "--device",
        envvar="INTEREST_STREAM_DEVICE",
        type=click.Choice(["cpu", "cuda"]),
        default="cpu",
        show_default=True,
        help=what,
    )


device = device_of("What a language model of your own runs on.")


connection = together(
    config,
    click.option(
        "--kafka-option",
        "kafka_options",
        multiple=True,
        callback=lambda _ctx, _param, value: value or None,
        metavar="KEY=VALUE",
        help="Option of Kafka's clients, as client.rack=zone-a; may be given again.",
    ),
    click.option(
        "--broker",
        metavar="HOST:PORT,...",
        help=f"Kafka; several with commas between them.  [default: {DEFAULT_BROKER}]",
    ),
)
"""How Kafka is reached; security is a matter of the environment and of --config."""

model = together(
    click.option(
        "--demo-model",
        is_flag=True,
        help="The small model of the package, which knows nothing but the simulated shop.",
    ),
    click.option(
        "--model",
        type=click.Path(path_type=Path),
        default=None,
        metavar="DIR",
        help="Model directory, as `train` writes it.",
    ),
)


def ensure_one_model(
    model: Path | str | None, demo_model: bool, option: str = "--model DIR"
) -> None:
    """Raises UsageError unless one model is named.

    The demo model would answer for any events, with confident interests of a shop that is not the
    user's: nobody gets it without asking for it.
    """
    if model and demo_model:
        raise UsageError("--model and --demo-model name two models; give one of them")
    if not (model or demo_model):
        raise UsageError(
            f"no model is named; name a model directory with {option}, or take the one of the "
            "simulated shop with --demo-model"
        )


def _set_level(ctx: click.Context, _param: click.Parameter, value: bool) -> bool:
    ctx.find_root().meta["verbose"] = value
    logging.basicConfig(
        level=logging.INFO if value else logging.WARNING,
        format="%(asctime)s %(levelname)s %(name)s: %(message)s",
    )
    return value


verbose = click.option(
    "-v",
    "--verbose",
    is_flag=True,
    expose_value=False,
    callback=_set_level,
    help="Log more, and show tracebacks.",
)

where_users_are = together(
    pseudonym_key_file,
    event_format,
    click.option("--rekey/--no-rekey", default=None, help="The workers run with --rekey."),
    click.option(
        "--dead-letters-topic", metavar="NAME", help="[default: clickstream-dead-letters]"
    ),
    click.option("--updates-topic", metavar="NAME", help="[default: interest-updates]"),
    click.option("--profiles-topic", metavar="NAME", help="[default: interest-profiles]"),
    events_topic,
    click.option("--app-id", metavar="NAME", help="Worker group.  [default: interest-stream]"),
    connection,
)
"""The pipeline that is asked about a user."""

how_long = together(
    click.option(
        "--count/--no-count",
        default=True,
        show_default=True,
        help="Search updates, events and dead letters too, and say how many are left.",
    ),
    click.option(
        "--wait",
        "wait_s",
        type=click.FloatRange(0, 86_400),
        default=60.0,
        show_default=True,
        metavar="SECONDS",
        help="Wait so long until workers have obeyed; 0: only send.",
    ),
    click.option(
        "--control-key-file",
        metavar="FILE",
        help="The key that signs requests, if workers demand one.",
    ),
)
"""How a request about a user is made."""

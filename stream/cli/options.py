"""Options that several sub-commands share."""

from __future__ import annotations

import logging
from collections.abc import Callable
from pathlib import Path
from typing import Any

import click

from stream.config import DEFAULT_BROKER

broker = click.option(
    "--broker",
    envvar="INTEREST_STREAM_BROKER",
    default=DEFAULT_BROKER,
    show_default=True,
    metavar="URL",
    help="Kafka, as kafka://host:port.",
)
events_topic = click.option("--events-topic", metavar="NAME", help="The clickstream topic.  [default: clickstream]")
as_json = click.option("--json", "as_json", is_flag=True, help="Print JSON for a program to read.")

language_model = click.option(
    "--language-model",
    envvar="INTEREST_STREAM_LANGUAGE_MODEL",
    type=click.Path(path_type=Path),
    default=None,
    metavar="PATH",
    help="Where the language model of the model directory is now.  [default: where it was in training]",
)

device = click.option(
    "--device",
    envvar="INTEREST_STREAM_DEVICE",
    type=click.Choice(["cpu", "cuda"]),
    default="cpu",
    show_default=True,
    help="What a language model of your own runs on.",
)


def together(*options: Callable[..., Any]) -> Callable[[Callable[..., Any]], Callable[..., Any]]:
    """One decorator that adds several options; --help shows the last of them first."""

    def add(command: Callable[..., Any]) -> Callable[..., Any]:
        for option in options:
            command = option(command)
        return command

    return add


def _set_level(ctx: click.Context, _param: click.Parameter, value: bool) -> bool:
    ctx.find_root().meta["verbose"] = value
    logging.basicConfig(
        level=logging.INFO if value else logging.WARNING, format="%(asctime)s %(levelname)s %(name)s: %(message)s"
    )
    return value


verbose = click.option(
    "-v", "--verbose", is_flag=True, expose_value=False, callback=_set_level, help="Log more, and show tracebacks."
)

"""`worker`: consume, keep state, publish updates."""

from __future__ import annotations

import asyncio
import dataclasses
import json
import os
import typing
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import click

from models.errors import ModelDirectoryError
from stream.cli import options
from stream.config import Settings, from_environment
from stream.errors import ModelError, UsageError
from stream.phrases import read_phrases

NAME_WIDTH = 30


def _setting_options(function: Any) -> Any:
    """One option a setting, documented where the setting is."""
    for each in reversed(dataclasses.fields(Settings)):
        if each.name == "broker":
            continue
        name, kind = each.name.replace("_", "-"), typing.get_type_hints(Settings)[each.name]
        default = "" if each.default == "" else f"  [default: {each.default}]"
        flag = f"--{name}/--no-{name}" if kind is bool else f"--{name}"
        extra = {} if kind is bool else {"type": kind}
        function = click.option(flag, default=None, help=each.metadata["doc"] + default, **extra)(function)
    return function


@click.command()
@click.option("--show-settings", is_flag=True, help="Print the effective settings, secrets masked, and exit.")
@click.option("--json", "as_json", is_flag=True, help="With --show-settings: as JSON.")
@click.option("--null-model", is_flag=True, hidden=True, help="Benchmark without a model.")
@options.broker
@options.verbose
@_setting_options
def command(show_settings: bool, as_json: bool, null_model: bool, **given: Any) -> None:
    """Consume events, keep each user's state, publish interest updates.

    Several workers share the work: start the same command again, on this host or another. Settings come from options,
    then the environment (INTEREST_STREAM_<NAME>), then defaults.

    \b
    Examples:
      interest-stream worker --model DIR
      interest-stream worker --model DIR --broker kafka://host:9092
      interest-stream worker --show-settings

    Exit codes: 0 stopped by SIGTERM or Ctrl-C with everything committed, 1 failed or refused to start, 2 wrong use.
    """
    settings = from_environment(**given)
    if show_settings:
        click.echo(json.dumps(settings.masked(), indent=2) if as_json else _readable(settings))
        return
    if as_json:
        raise UsageError("--json goes with --show-settings; the log of a worker is text")
    serve(settings, null_model)


def _readable(settings: Settings) -> str:
    """A line a setting; those that are not the default are marked."""
    defaults = Settings().masked()
    lines = [
        f"{'*' if value != defaults[name] else ' '} {name:<{NAME_WIDTH}} {'-' if value == '' else value}"
        for name, value in settings.masked().items()
    ]
    return "\n".join([*lines, "* not the default"])


def serve(settings: Settings, null_model: bool = False) -> None:
    """Start a worker in this process; returns when it was stopped cleanly, else raises."""
    from models.allocator import keep_freed_memory
    from stream import logs

    keep_freed_memory()  # before there are threads
    verbose = bool(click.get_current_context().find_root().meta.get("verbose"))
    logs.configure(verbose)
    with ThreadPoolExecutor(1) as pool:
        loading = pool.submit(_predictor, settings, null_model)
        from stream import app, failpoints
        from stream.preflight import preflight

        partitions = asyncio.run(preflight(settings))
        predictor = loading.result()
    loop = asyncio.new_event_loop()
    asyncio.set_event_loop(loop)
    app.run(app.build_app(settings, predictor, partitions, failpoints.from_environment(os.environ), loop))


def _predictor(settings: Settings, null_model: bool) -> Any:
    from models import predict
    from stream.asking import UpdateSize

    if null_model:
        return predict.null_predictor()
    base = Path(settings.language_model) if settings.language_model else None
    hosting = predict.Hosting(base, settings.device, settings.precision)
    try:
        loaded = predict.load_predictor(
            Path(settings.model) if settings.model else None, settings.torch_threads, hosting
        )
    except ModelDirectoryError as error:
        raise ModelError(str(error)) from None
    if settings.zero_shot:
        loaded.hear(*read_phrases(Path(settings.zero_shot), loaded.info.items))
    loaded.warm_up(**dataclasses.asdict(UpdateSize.of(settings)))
    return loaded

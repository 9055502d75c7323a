"""`worker`: consumes events, keeps state, publishes updates."""

from __future__ import annotations

import asyncio
import dataclasses
import json
import os
import sys
import typing
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import click

from stream.cli import options
from stream.config import SECRETS, Settings, from_environment
from stream.errors import Failure, UsageError
from stream.files.phrases import read_phrases
from stream.formats.registry import foreign_format
from stream.schema_registry.schemas import schemas_of

NAME_WIDTH = 30


def _setting_options(function: Any) -> Any:
    """Adds an option for each setting, with the help text that the setting has."""
    for each in reversed(dataclasses.fields(Settings)):
        if each.name in ("broker", "kafka_options"):
            continue
        if each.name in SECRETS:
            function = _no_secrets_here(each.name)(function)
            continue
        name, kind = each.name.replace("_", "-"), typing.get_type_hints(Settings)[each.name]
        default = "" if each.default == "" else f"  [default: {each.default}]"
        flag = f"--{name}/--no-{name}" if kind is bool else f"--{name}"
        extra = {} if kind is bool else {"type": kind}
        function = click.option(flag, default=None, help=each.metadata["doc"] + default, **extra)(
            function
        )
    return function


def _no_secrets_here(name: str) -> Any:
    """Returns a hidden option that refuses a secret and names the way that nobody can see."""

    def refuse(_ctx: click.Context, _param: click.Parameter, value: str | None) -> None:
        if value is not None:
            raise UsageError(
                f"a command line can be read by everyone on this machine; write {name} into a "
                f"file and name it with --{name.replace('_', '-')}-file"
            )

    option = f"--{name.replace('_', '-')}"
    return click.option(option, hidden=True, expose_value=False, callback=refuse)


@click.command()
@click.option(
    "--show-settings", is_flag=True, help="Print the effective settings, secrets masked, and exit."
)
@click.option("--json", "as_json", is_flag=True, help="With --show-settings: as JSON.")
@click.option("--null-model", is_flag=True, hidden=True, help="Benchmark without a model.")
@click.option(
    "--wait-for-a-line",
    is_flag=True,
    hidden=True,
    help="Connect when a line comes on standard input: the broker may still be starting.",
)
@options.connection
@options.verbose
@_setting_options
def command(
    show_settings: bool, as_json: bool, null_model: bool, wait_for_a_line: bool, **given: Any
) -> None:
    """Consume events, keep each user's state, publish interest updates.

    Several workers share the work: start the same command again, on this host or another. Settings
    come from options, then the environment (INTEREST_STREAM_<NAME>), then a folder of secrets, then
    the file of --config, then defaults.

    \b
    Examples:
      interest-stream worker --model DIR
      interest-stream worker --model DIR --broker host-1:9092,host-2:9092
      interest-stream worker --config shop.toml
      interest-stream worker --demo-model
      interest-stream worker --show-settings

    Exit codes: 0 stopped by SIGTERM or Ctrl-C with everything committed, 1 failed or refused to
    start, 2 wrong use.
    """
    settings = from_environment(**given)
    if show_settings:
        click.echo(json.dumps(settings.masked(), indent=2) if as_json else _readable(settings))
        return
    if as_json:
        raise UsageError("--json goes with --show-settings; the log of a worker is text")
    settings.check_for_worker()
    # a mapping that cannot be used, or an extra that is missing, is told before anything starts
    schemas_of(foreign_format(settings), settings)
    serve(settings, null_model, wait_for_a_line)


def _readable(settings: Settings) -> str:
    """Returns a line a setting; those that are not the default are marked."""
    defaults = Settings().masked()
    lines = [
        f"{'*' if value != defaults[name] else ' '} {name:<{NAME_WIDTH}} "
        f"{'-' if value == '' else value}"
        for name, value in settings.masked().items()
    ]
    return "\n".join([*lines, "* not the default"])


def serve(settings: Settings, null_model: bool = False, wait_for_a_line: bool = False) -> None:
    """Runs a worker in this process; returns when it was stopped cleanly, else raises.

    `wait_for_a_line`: what takes long is imported at once, and the broker is connected to when a
    line comes on standard input.
    """
    ensure_model_is_named(settings, null_model)
    from models.serving.allocator import keep_freed_memory
    from stream import logs

    keep_freed_memory()  # before there are threads
    verbose = bool(click.get_current_context().find_root().meta.get("verbose"))
    logs.configure(verbose)
    with ThreadPoolExecutor(1) as pool:
        loading = pool.submit(load_model, settings, null_model)
        from stream.schema_registry.updates import registered_encoder
        from stream.worker import app, failpoints, process
        from stream.worker.preflight import preflight

        if wait_for_a_line and not sys.stdin.readline():
            raise Failure("whoever started this worker has ended without letting it go")
        partitions = asyncio.run(preflight(settings))
        encode = asyncio.run(registered_encoder(settings))
        predictor = loading.result()
    loop = asyncio.new_event_loop()
    asyncio.set_event_loop(loop)
    failpoint = failpoints.from_environment(os.environ)
    process.run(app.build_app(settings, predictor, partitions, failpoint, loop, encode))


def ensure_model_is_named(settings: Settings, null_model: bool) -> None:
    """Raises UsageError unless the settings, or a benchmark without a model, name one model."""
    if settings.model or not null_model:
        option = "--model DIR (INTEREST_STREAM_MODEL)"
        options.ensure_one_model(settings.model, settings.demo_model, option)


def load_model(settings: Settings, null_model: bool = False) -> Any:
    """Loads the model of these settings and warms it up; raises ModelDirectoryError, DataError."""
    from models import predict
    from models.contract import Hosting
    from stream.contracts.update import UpdateSize

    if null_model:
        return predict.null_predictor()
    base = Path(settings.language_model) if settings.language_model else None
    hosting = Hosting(base, settings.device, settings.precision)
    loaded = predict.load_predictor(
        Path(settings.model) if settings.model else None, settings.torch_threads, hosting
    )
    if settings.zero_shot:
        loaded.score_phrases(*read_phrases(Path(settings.zero_shot), loaded.info.items))
    loaded.warm_up(**dataclasses.asdict(UpdateSize.of(settings)))
    return loaded

"""`broker`: starts, stops and shows Apache Kafka on this machine."""

from __future__ import annotations

import dataclasses
import json
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import click

from stream.broker import quick_start
from stream.broker.jars import default_cache_dir
from stream.broker.local_kafka import DEFAULT_PORT, BrokerStatus, LocalKafka, default_data_dir
from stream.cli import options
from stream.cli.commands import Group
from stream.errors import BrokerError


def _data_dir(command: Callable[..., Any]) -> Callable[..., Any]:
    return click.option(
        "--data-dir",
        type=click.Path(path_type=Path),
        envvar="INTEREST_STREAM_BROKER_DATA_DIR",
        default=default_data_dir,
        show_default="the user's data folder",
        help="The broker's own folder; its data survives stop and start.",
    )(command)


@click.group(cls=Group)
def command() -> None:
    """Run Apache Kafka on this machine: one KRaft node, no Java or Docker needed.

    \b
    Examples:
      interest-stream broker prepare
      interest-stream broker start
      interest-stream broker start --data-dir ./kafka --port 29092
      interest-stream broker status --json
      interest-stream broker logs -n 50 -f
      interest-stream broker stop

    Exit codes: 0 done, 1 failed (the message says what to do), 2 wrong use.
    """


@command.command()
@_data_dir
@click.option(
    "--port",
    type=click.IntRange(1, 65_535),
    default=DEFAULT_PORT,
    show_default=True,
    help="Port for clients, on 127.0.0.1.",
)
@click.option(
    "--controller-port",
    type=click.IntRange(1, 65_535),
    default=None,
    show_default="--port + 1",
    help="Port of Kafka's own controller.",
)
@click.option(
    "--heap-mb",
    type=click.IntRange(256),
    default=1024,
    show_default=True,
    help="Memory of the Java heap.",
)
@click.option(
    "--timeout",
    type=click.FloatRange(1),
    default=60.0,
    show_default=True,
    help="Seconds until it must serve.",
)
@options.as_json
@options.verbose
def start(
    data_dir: Path,
    port: int,
    controller_port: int | None,
    heap_mb: int,
    timeout: float,
    as_json: bool,
) -> None:
    """Start the broker; returns when it serves, and prints its address. Started already: says so.

    \b
    Examples:
      interest-stream broker start
      interest-stream broker start --data-dir ./kafka --port 29092

    Exit codes: 0 it serves, 1 it cannot start (port taken, folder not usable), 2 wrong use.
    """
    kafka = LocalKafka(data_dir, port, controller_port, heap_mb)
    began = time.monotonic()
    fresh = kafka.start(timeout)
    if as_json:
        _print_json(kafka.status())
    elif fresh:
        click.echo(
            f"Kafka serves at {kafka.url} after {time.monotonic() - began:.1f} s; data in "
            f"{kafka.data_dir}"
        )
    else:
        click.echo(f"Kafka runs already at {kafka.url}; data in {kafka.data_dir}")


@command.command()
@_data_dir
@options.verbose
def stop(data_dir: Path) -> None:
    """Stop the broker of this folder, and no other process. Its data stays.

    \b
    Example:
      interest-stream broker stop

    Exit codes: 0 it is stopped, 1 it could not be stopped, 2 wrong use.
    """
    kafka = LocalKafka(data_dir)
    stopped = kafka.stop()
    click.echo(
        f"Kafka stopped; data stays in {kafka.data_dir}"
        if stopped
        else f"no broker of {kafka.data_dir} runs"
    )


@command.command()
@options.verbose
def prepare() -> None:
    """Fetch Kafka, and keep what Java works out while it starts: once on a machine.

    Later starts need no network and half of the work; without it they do all of it again.
    Takes 110 MB in the user's cache.

    \b
    Example:
      interest-stream broker prepare

    Exit codes: 0 all is there, 1 it could not be fetched or kept, 2 wrong use.
    """
    began, cache = time.monotonic(), default_cache_dir()
    if quick_start.prepare(cache):
        click.echo(f"prepared after {time.monotonic() - began:.1f} s, in {cache}")
    else:
        click.echo(f"prepared already, in {cache}")


@command.command()
@_data_dir
@options.as_json
@options.verbose
def status(data_dir: Path, as_json: bool) -> None:
    """Say whether the broker of this folder runs and serves, and where.

    \b
    Example:
      interest-stream broker status --json

    Exit codes: 0 it serves, 1 it does not, 2 wrong use.
    """
    found = LocalKafka(data_dir).status()
    if as_json:
        _print_json(found)
    elif found.state == "stopped":
        click.echo(f"stopped; data folder {found.data_dir}")
    else:
        click.echo(
            f"{found.state} at {found.url}: Kafka {found.version}, process {found.pid}, data in "
            f"{found.data_dir}"
        )
    if not found.running:
        sys.exit(1)


@command.command()
@_data_dir
@click.option(
    "-n",
    "--lines",
    type=click.IntRange(1),
    default=20,
    show_default=True,
    help="Lines from the end.",
)
@click.option("-f", "--follow", is_flag=True, help="Go on until Ctrl-C.")
@options.verbose
def logs(data_dir: Path, lines: int, follow: bool) -> None:
    """Print the broker's log. Kafka logs warnings and errors only, so an empty log is good.

    \b
    Example:
      interest-stream broker logs -n 50 -f

    Exit codes: 0 printed, 1 there is no log, 2 wrong use.
    """
    kafka = LocalKafka(data_dir)
    if not kafka.folder.log.exists():
        raise BrokerError(f"no log yet: {kafka.folder.log} does not exist; start the broker first")
    with kafka.folder.log.open(encoding="utf-8", errors="replace") as log:
        last = kafka.folder.tail(lines)
        if last:
            click.echo(last)
        log.seek(0, 2)
        while follow:
            line = log.readline()
            if line:
                click.echo(line, nl=False)
            else:
                time.sleep(0.2)


def _print_json(found: BrokerStatus) -> None:
    click.echo(json.dumps(dataclasses.asdict(found)))

"""`bench`: measures throughput and latency of a worker on this machine."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from stream.cli import options
from stream.cli.bench_catalogue import command as catalogue
from stream.cli.bench_compare import command as compare
from stream.cli.bench_conditions import command as conditions
from stream.cli.bench_view import announce, is_named, readable
from stream.config import Settings, from_environment

if TYPE_CHECKING:
    from stream.bench.rate import BenchResult


@click.group(invoke_without_command=True)
@click.option(
    "--events",
    default=400_000,
    show_default=True,
    type=click.IntRange(1_000),
    help="Events of the backlog.",
)
@click.option(
    "--users",
    default=5_000,
    show_default=True,
    type=click.IntRange(1),
    help="Users they belong to.",
)
@click.option(
    "--model",
    type=click.Path(exists=True, file_okay=False, path_type=Path),
    help="Model directory [default: the demo model].",
)
@click.option("--null-model", is_flag=True, help="No model: what the pipeline alone can do.")
@click.option(
    "--max-batch-events",
    default=None,
    type=click.IntRange(1),
    help="Most events in a batch [default: the worker's].",
)
@click.option(
    "--rate", default=1_000.0, show_default=True, help="Events/s of the paced load for latency."
)
@click.option(
    "--for", "seconds", default=10.0, show_default=True, help="Seconds of it; 0: no latency."
)
@options.as_json
@options.connection
@options.verbose
@click.pass_context
def command(
    context: click.Context,
    /,
    events: int,
    users: int,
    model: Path | None,
    null_model: bool,
    max_batch_events: int | None,
    rate: float,
    seconds: float,
    as_json: bool,
    **connection: Any,
) -> None:
    """Drain a backlog of events on a fresh topic, then pace a load through the same worker.

    Prints events/s, updates/s and latency. Where no --broker is named and none serves at the
    default address, a broker is started in a temporary folder and ended with all it holds.

    \b
    Examples:
      interest-stream bench
      interest-stream bench --events 400000 --users 5000 --null-model --json
      interest-stream bench compare --help

    Exit codes: 0 measured and the audit was clean, 1 failed, 2 wrong use.
    """
    if context.invoked_subcommand:
        return
    from models.predict import load_predictor
    from stream.bench import rate as bench
    from stream.bench.broker import on_a_broker

    arguments = ["--null-model"] if null_model else []
    if model:
        arguments += ["--model", str(model)]
    if max_batch_events:
        arguments += ["--max-batch-events", str(max_batch_events)]
    items = load_predictor(model).info.items  # before a broker is started: it may be missing

    def measure(settings: Settings) -> BenchResult:
        return bench.run_bench(
            settings,
            events=events,
            users=users,
            items=items,
            arguments=arguments,
            rate=rate,
            seconds=seconds,
            announce=announce,
        )

    settings = from_environment(**connection)
    result = on_a_broker(settings, is_named(context, settings), announce, measure)
    click.echo(bench.as_json(result) if as_json else readable(result))


command.add_command(catalogue)
command.add_command(compare)
command.add_command(conditions)

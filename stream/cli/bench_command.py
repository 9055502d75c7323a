"""`bench`: throughput and latency of one worker on this machine."""

from __future__ import annotations

import asyncio
import dataclasses
import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import click

from stream.cli import options
from stream.config import from_environment
from stream.errors import UsageError
from stream.kafka_client import check_reachable

CONDITIONS = ("latency", "hot", "two", "recovery", "joins", "overload")


@click.group(invoke_without_command=True)
@click.option("--events", default=400_000, show_default=True, type=click.IntRange(1_000), help="Events of the backlog.")
@click.option("--users", default=5_000, show_default=True, type=click.IntRange(1), help="Users they belong to.")
@click.option(
    "--model",
    type=click.Path(exists=True, file_okay=False, path_type=Path),
    help="Model directory [default: the demo model].",
)
@click.option("--null-model", is_flag=True, help="No model: what the pipeline alone can do.")
@click.option(
    "--max-batch-events", default=None, type=click.IntRange(1), help="Most events in a batch [default: the worker's]."
)
@click.option("--rate", default=1_000.0, show_default=True, help="Events/s of the paced load for latency.")
@click.option("--for", "seconds", default=10.0, show_default=True, help="Seconds of it; 0: no latency.")
@options.as_json
@options.broker
@options.verbose
@click.pass_context
def command(
    context: click.Context,
    events: int,
    users: int,
    model: Path | None,
    null_model: bool,
    max_batch_events: int | None,
    rate: float,
    seconds: float,
    as_json: bool,
    broker: str,
) -> None:
    """Drain a backlog of events on a fresh topic, then pace a load, and print events/s, updates/s and latency.

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
    from stream import bench

    arguments = ["--null-model"] if null_model else []
    if model:
        arguments += ["--model", str(model)]
    if max_batch_events:
        arguments += ["--max-batch-events", str(max_batch_events)]
    items = load_predictor(model).info.items
    result = bench.run_bench(
        from_environment(broker=broker),
        events=events,
        users=users,
        items=items,
        arguments=arguments,
        rate=rate,
        seconds=seconds,
        say=lambda text: click.echo(text, err=True),
    )
    if as_json:
        click.echo(bench.as_json(result))
        return
    click.echo(
        f"{result.events_per_s:,} events/s and {result.updates_per_s:,} updates/s over {result.seconds} s "
        f"({result.events:,} events, {result.users:,} users, {result.events_per_batch:,} events a batch, "
        f"model '{result.model}' busy {result.model_share:.0%})"
    )
    click.echo(f"start to first durable batch {result.start_s} s; audit {result.audit}")
    if result.latency_events:
        click.echo(
            f"event to update at {result.latency_rate:,.0f} events/s, open loop: p50 {result.latency_p50_ms} ms, "
            f"p99 {result.latency_p99_ms} ms ({result.latency_events:,} events)"
        )


@command.command("compare")
@click.option(
    "--repeats",
    default=5,
    show_default=True,
    type=click.IntRange(1),
    metavar="NUMBER",
    help="Runs of each form, interleaved.",
)
@click.option(
    "--many-repeats",
    default=2,
    show_default=True,
    type=click.IntRange(1),
    metavar="NUMBER",
    help="The same for 1,000,000 users, where a run takes longer.",
)
@click.option(
    "--events",
    type=click.IntRange(1_000),
    metavar="NUMBER",
    help="Events of a topic [default: by model and users, 200,000 or 400,000].",
)
@click.option(
    "--window", default=5.0, show_default=True, metavar="NUMBER", help="Seconds that a peer is measured for, at most."
)
@click.option("--users", default="5000,1000000", show_default=True, help="Numbers of users, a topic each.")
@click.option("--models", default="null,real", show_default=True, help="null, real or both.")
@click.option("--only", multiple=True, help="Forms whose name holds this; may be given again.")
@click.option("--quick", is_flag=True, help="One short round of a few forms; warns if ratios have fallen.")
@click.option("--kill", is_flag=True, help="Instead of rates: kill -9 each form, and count what is lost or doubled.")
@click.option("--resume", is_flag=True, help="Keep the runs of this revision that are in --out already.")
@click.option("--show", is_flag=True, help="Measure nothing: the tables of --out.")
@click.option("--markdown", is_flag=True, help="Print the tables as Markdown.")
@click.option("--out", type=click.Path(path_type=Path), help="JSON of all runs; the chart beside it as .svg.")
@click.option("--environment", type=click.Path(path_type=Path), help="Folder of the peers' libraries, made once.")
@options.broker
@options.verbose
def compare(**given: Any) -> None:
    """Measure a worker beside Faust, Quix Streams, Bytewax and a bare loop, in a checkout of the repository.

    The same job in the documented and in the best form of each, and the limits that none can beat. Under 30 minutes; after
    Ctrl-C the same line with --resume goes on. With 1,000,000 users only the forms that keep their state, fewer repeats.

    \b
    Examples:
      interest-stream bench compare --out docs/speed.json
      interest-stream bench compare --out docs/speed.json --resume
      interest-stream bench compare --out docs/speed.json --show --markdown
      interest-stream bench compare --quick

    Exit codes: 0 measured and each audit was clean, 1 failed, 2 wrong use.
    """
    checkout = Path(__file__).parents[2]
    if not (checkout / "tests" / "benchmarks" / "compare.py").exists():
        raise UsageError("bench compare needs the peers' scripts; run it in a checkout of the repository")
    if not given["show"]:
        asyncio.run(check_reachable(from_environment(broker=given["broker"]).bootstrap))
    words: list[str] = []
    for parameter, value in given.items():
        name = parameter.replace("_", "-")
        if value is True:
            words.append(f"--{name}")
        elif isinstance(value, tuple):
            words += [word for each in value for word in (f"--{name}", each)]
        elif value is not None and value is not False:
            words += [f"--{name}", str(value.absolute() if isinstance(value, Path) else value)]
    done = subprocess.run([sys.executable, "-m", "tests.benchmarks.compare", *words], cwd=checkout, check=False)
    raise click.exceptions.Exit(done.returncode)


@command.command("conditions")
@click.option("--only", multiple=True, type=click.Choice(CONDITIONS), help="These alone; may be given again.")
@click.option(
    "--repeats", default=3, show_default=True, type=click.IntRange(1), metavar="NUMBER", help="Of each figure."
)
@click.option(
    "--users",
    default=1_000_000,
    show_default=True,
    type=click.IntRange(1),
    metavar="NUMBER",
    help="Users that are recovered.",
)
@click.option(
    "--session-timeout-s",
    "sessions_s",
    multiple=True,
    default=(6.0,),
    show_default=True,
    type=click.FloatRange(3),
    metavar="SECONDS",
    help="Of joins; may be given again.",
)
@click.option("--out", type=click.Path(path_type=Path), help="JSON of all figures.")
@click.option("--markdown", is_flag=True, help="Print the table as Markdown.")
@options.broker
@options.verbose
def conditions(
    only: tuple[str, ...],
    repeats: int,
    users: int,
    sessions_s: tuple[float, ...],
    out: Path | None,
    markdown: bool,
    broker: str,
) -> None:
    """Measure what a rate does not tell, about ten minutes in all.

    \b
    latency    open loop at half of the sustainable rate; single events, idle
    hot        one user with 30 % of all events; distinct users only
    two        two workers beside one
    recovery   cold starts with the changelog of 1,000,000 users
    joins      a worker joins, is stopped, killed, restarted: until it serves
    overload   open loop at 50 % and 110 % of what it drains: memory, lag

    \b
    Examples:
      interest-stream bench conditions --out conditions.json --markdown
      interest-stream bench conditions --only latency --only joins

    Exit codes: 0 measured and each audit was clean, 1 failed, 2 wrong use.
    """
    from models.predict import load_predictor
    from stream import bench_conditions, bench_joins, bench_overload

    settings = from_environment(broker=broker)
    asyncio.run(check_reachable(settings.bootstrap))
    given = bench_conditions.Bench(settings, load_predictor(None).info.items, repeats, users, sessions_s)
    rows: list[bench_conditions.Row] = []
    for name in only or CONDITIONS:
        elsewhere = {"joins": bench_joins.joins, "overload": bench_overload.overload}
        measure = elsewhere[name] if name in elsewhere else getattr(bench_conditions, name)
        for row in measure(given):
            rows.append(row)
            click.echo(f"{row.condition}: {row.figure}: {row.value:,.2f} {row.unit}", err=True)
            if out:
                out.write_text(json.dumps([dataclasses.asdict(each) for each in rows], indent=1))
    for line in bench_conditions.table(rows, markdown):
        click.echo(line)

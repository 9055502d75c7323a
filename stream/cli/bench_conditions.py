"""`bench conditions`: measures what a rate does not tell, such as recovery and overload."""

from __future__ import annotations

import dataclasses
import json
from pathlib import Path
from typing import Any

import click

from stream.cli import options
from stream.cli.bench_view import announce, is_named
from stream.config import MAPPING, OWNERS_FORMATS, Settings, from_environment

CONDITIONS = ("latency", "hot", "two", "recovery", "joins", "overload", "formats")


@click.command("conditions")
@click.option(
    "--only", multiple=True, type=click.Choice(CONDITIONS), help="These alone; may be given again."
)
@click.option(
    "--repeats",
    default=3,
    show_default=True,
    type=click.IntRange(1),
    metavar="NUMBER",
    help="Of each figure.",
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
@click.option(
    "--event-format",
    "event_formats",
    multiple=True,
    default=("segment", MAPPING),
    show_default=True,
    type=click.Choice([*OWNERS_FORMATS, MAPPING]),
    metavar="NAME",
    help="Of formats; may be given again.",
)
@click.option("--out", type=click.Path(path_type=Path), help="JSON of all figures.")
@click.option("--markdown", is_flag=True, help="Print the table as Markdown.")
@options.connection
@options.verbose
@click.pass_context
def command(
    context: click.Context,
    /,
    only: tuple[str, ...],
    repeats: int,
    users: int,
    sessions_s: tuple[float, ...],
    event_formats: tuple[str, ...],
    out: Path | None,
    markdown: bool,
    **connection: Any,
) -> None:
    """Measure what a rate does not tell, about fifteen minutes in all.

    \b
    latency    open loop at half of the sustainable rate; single events, idle
    hot        one user with 30 % of all events; distinct users only
    two        two workers beside one
    recovery   cold starts with the changelog of 1,000,000 users
    joins      a worker joins, is stopped, killed, restarted: until it serves
    overload   open loop at 50 % and 110 % of what it drains: memory, lag
    formats    topics of other formats beside the contract, with and without model

    Without --broker as for `bench`.

    \b
    Examples:
      interest-stream bench conditions --out conditions.json --markdown
      interest-stream bench conditions --only latency --only joins
      interest-stream bench conditions --only formats --event-format ga4 \\
          --out formats.json

    Exit codes: 0 measured and each audit was clean, 1 failed, 2 wrong use.
    """
    from models.predict import load_predictor
    from stream.bench import conditions as bench_conditions
    from stream.bench import formats as bench_formats
    from stream.bench import joins as bench_joins
    from stream.bench import overload as bench_overload
    from stream.bench.broker import on_a_broker

    # each condition yields its rows; what was measured is kept after each of them
    items = load_predictor(None).info.items
    rows: list[bench_conditions.Row] = []

    def measure(settings: Settings) -> None:
        given = bench_conditions.Bench(settings, items, repeats, users, sessions_s, event_formats)
        elsewhere = {
            "joins": bench_joins.joins,
            "overload": bench_overload.overload,
            "formats": bench_formats.formats,
        }
        for name in only or CONDITIONS:
            yields = elsewhere[name] if name in elsewhere else getattr(bench_conditions, name)
            for row in yields(given):
                rows.append(row)
                announce(f"{row.condition}: {row.figure}: {row.value:,.2f} {row.unit}")
                if out:
                    found = [dataclasses.asdict(each) for each in rows]
                    out.write_text(json.dumps(found, indent=1))

    settings = from_environment(**connection)
    on_a_broker(settings, is_named(context, settings), announce, measure)
    for line in bench_conditions.table(rows, markdown):
        click.echo(line)

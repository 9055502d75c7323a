"""`bench catalogue`: measures what a user costs as the catalogue grows."""

from __future__ import annotations

import json
from dataclasses import asdict
from pathlib import Path

import click

from stream.cli import options
from stream.cli.bench_view import announce

HEADER = ("items", "scored", "us/user", "all items", "recall@10", "load s", "memory MB")


@click.command("catalogue")
@click.option(
    "--items",
    multiple=True,
    type=click.IntRange(100),
    metavar="NUMBER",
    help="Items of a synthetic catalogue; may be given again [default: 400, 10,000 and 100,000].",
)
@click.option(
    "--model",
    "models",
    multiple=True,
    type=click.Path(exists=True, file_okay=False, path_type=Path),
    help="A model directory; may be given again.",
)
@click.option(
    "--users",
    default=1_024,
    show_default=True,
    type=click.IntRange(8),
    metavar="NUMBER",
    help="Users that are answered, with 32 recent events each.",
)
@options.as_json
def command(items: tuple[int, ...], models: tuple[Path, ...], users: int, as_json: bool) -> None:
    """Measure what a user costs as the catalogue grows, without a broker.

    Each model is loaded as a worker loads it, in a process of its own, and answers
    users in one thread: processor time a user, the same with all items scored, how
    many of the first ten of that are served, seconds to load, memory.

    \b
    Examples:
      interest-stream bench catalogue
      interest-stream bench catalogue --items 10000 --items 1000000 --json
      interest-stream bench catalogue --model my-model

    Exit codes: 0 measured, 1 failed, 2 wrong use.
    """
    from stream.bench.catalogue import measure_catalogues

    sizes = items or (() if models else (400, 10_000, 100_000))
    rows = []
    for cost in measure_catalogues(list(sizes), list(models), users, announce):
        rows.append(asdict(cost))
        if not as_json:
            if len(rows) == 1:
                click.echo("".join(f"{each:>11}" for each in HEADER))
            click.echo(
                f"{cost.items:11,}{cost.candidates:11,.0f}{cost.us_per_user:11,.1f}"
                f"{cost.exact_us_per_user:11,.1f}{cost.recall_at_10:11.4f}{cost.load_s:11.2f}"
                f"{cost.memory_mb:11,.0f}"
            )
    if as_json:
        click.echo(json.dumps({"users": users, "rows": rows}, indent=1))

"""`bench compare`: measures a worker against other ways to do the same job."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

import click

from stream.cli import options
from stream.cli.bench_view import announce, is_named, models_option
from stream.config import Settings, from_environment
from stream.errors import UsageError


@click.command("compare")
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
    "--window",
    default=5.0,
    show_default=True,
    metavar="NUMBER",
    help="Seconds that a peer is measured for, at most.",
)
@click.option(
    "--users", default="5000,1000000", show_default=True, help="Numbers of users, a topic each."
)
@models_option("null,real")
@click.option("--only", multiple=True, help="Forms whose name holds this; may be given again.")
@click.option(
    "--quick", is_flag=True, help="One short round of a few forms; warns if ratios have fallen."
)
@click.option(
    "--kill",
    is_flag=True,
    help="Instead of rates: kill -9 each form, and count what is lost or doubled.",
)
@click.option(
    "--resume", is_flag=True, help="Keep the runs of this revision that are in --out already."
)
@click.option("--show", is_flag=True, help="Measure nothing: the tables of --out.")
@click.option("--markdown", is_flag=True, help="Print the tables as Markdown.")
@click.option(
    "--out", type=click.Path(path_type=Path), help="JSON of all runs; the chart beside it as .svg."
)
@click.option(
    "--environment",
    type=click.Path(path_type=Path),
    help="Folder of the peers' libraries, made once.",
)
@options.connection
@options.verbose
@click.pass_context
def command(context: click.Context, /, **given: Any) -> None:
    """Measure a worker beside Faust, Quix Streams, Bytewax and a bare loop.

    Needs a checkout of the repository. The same job in the documented and in the best form of each,
    and the limits that none can beat. Under 30 minutes; after Ctrl-C the same line with --resume
    goes on. With 1,000,000 users only the forms that keep their state, fewer repeats. Without
    --broker as for `bench`.

    \b
    Examples:
      interest-stream bench compare --out docs/measured/speed.json
      interest-stream bench compare --out docs/measured/speed.json --resume
      interest-stream bench compare --out speed.json --show --markdown
      interest-stream bench compare --quick

    Exit codes: 0 measured and each audit was clean, 1 failed, 2 wrong use.
    """
    from stream.bench.broker import on_a_broker
    from stream.broker.processes import run_and_interrupt

    checkout = Path(__file__).parents[2]
    if not (checkout / "tests" / "benchmarks" / "compare.py").exists():
        raise UsageError(
            "bench compare needs the peers' scripts; run it in a checkout of the repository"
        )
    connection = {name: given.pop(name) for name in ("broker", "kafka_options", "config")}
    settings = from_environment(**connection)

    def measure(serving: Settings) -> int:
        line = [sys.executable, "-m", "tests.benchmarks.compare", "--broker", serving.broker]
        return run_and_interrupt([*line, *_as_words(given)], checkout)

    if given["show"]:
        code = measure(settings)
    else:
        code = on_a_broker(settings, is_named(context, settings), announce, measure)
    raise click.exceptions.Exit(code)


def _as_words(given: dict[str, Any]) -> list[str]:
    """Writes parsed options as the words of a command line again."""
    words: list[str] = []
    for parameter, value in given.items():
        name = parameter.replace("_", "-")
        if value is True:
            words.append(f"--{name}")
        elif isinstance(value, tuple):
            words += [word for each in value for word in (f"--{name}", each)]
        elif value is not None and value is not False:
            words += [f"--{name}", str(value.absolute() if isinstance(value, Path) else value)]
    return words

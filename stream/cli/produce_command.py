"""`produce`: events onto the clickstream topic."""

from __future__ import annotations

import asyncio
import itertools
import json
import signal
from collections.abc import Iterator
from pathlib import Path

import click

from stream.cli import options
from stream.config import from_environment
from stream.errors import UsageError
from stream.event_columns import parse_mapping
from stream.event_files import BadLine, EventFiles
from stream.producing import Outgoing, Pace, Sent, looped, of_events, of_population, of_raw_lines, produce

SHOWN = 20
"""Bad lines told with their numbers; all are counted."""

FILE = click.Path(path_type=Path)


@click.command()
@click.option("--events", "files", multiple=True, type=FILE, help="Event file; repeat for several.")
@click.option("--columns", metavar="FIELD=COLUMN,...", help="Names of columns that are not recognised.")
@click.option("--raw", is_flag=True, help="Send each line as it is, broken ones too.")
@click.option("--simulate", is_flag=True, help="A simulated population instead of a file.")
@click.option("--users", default=200, show_default=True, type=click.IntRange(1), help="Users of the population.")
@click.option("--seed", default=0, show_default=True, help="Of the population.")
@click.option("--rate", type=click.FloatRange(0, min_open=True), help="Events/s.")
@click.option("--speed", metavar="Kx", help="Times the recorded time, as 60x.")
@click.option("--loop", is_flag=True, help="Start the files again at their end.")
@click.option("--limit", type=click.IntRange(1), help="Stop after that many events.")
@options.events_topic
@options.as_json
@options.broker
@options.verbose
def command(
    files: tuple[Path, ...],
    columns: str | None,
    raw: bool,
    simulate: bool,
    users: int,
    seed: int,
    rate: float | None,
    speed: str | None,
    loop: bool,
    limit: int | None,
    events_topic: str | None,
    as_json: bool,
    broker: str,
) -> None:
    """Replay a file, or a simulated population, onto the clickstream topic, keyed by user.

    Idempotent, acks=all. Ctrl-C stops; what was acknowledged is said at the end. A simulated population never ends by
    itself: give --limit, or --rate and Ctrl-C.

    \b
    Examples:
      interest-stream produce --events events.tsv.gz --rate 5000
      interest-stream produce --events log.csv --speed 60x \\
          --columns user_id=visitor,item_id=sku
      interest-stream produce --simulate --users 500 --rate 200

    Exit codes: 0 all acknowledged, 1 some were not, or lines were bad, 2 wrong use.
    """
    if bool(files) == simulate:
        raise UsageError("give --events FILE, or --simulate, and not both")
    if rate and speed:
        raise UsageError("--rate and --speed contradict each other; give one")
    source = _Source(files, columns, raw, loop)
    records = of_population(users, seed) if simulate else source.records()
    records = itertools.islice(records, limit) if limit else records
    sent = asyncio.run(
        _run(from_environment(broker=broker, events_topic=events_topic), records, Pace(rate, _speed(speed)), as_json)
    )
    _report(sent, source, as_json)
    click.get_current_context().exit(1 if sent.failed or sent.acknowledged < sent.sent or source.bad else 0)


class _Source:
    """The files, once or for ever, and the bad lines of their first reading."""

    def __init__(self, files: tuple[Path, ...], columns: str | None, raw: bool, loop: bool) -> None:
        self._files, self._raw, self._loop = files, raw, loop
        self._columns = parse_mapping(columns)
        self._again = False
        self.bad = 0
        self.examples: list[str] = []

    def records(self) -> Iterator[Outgoing]:
        return looped(self._once) if self._loop else self._once()

    def _once(self) -> Iterator[Outgoing]:
        if self._raw:
            return of_raw_lines(self._files)
        note = None if self._again else self._note
        self._again = True
        return of_events(
            EventFiles(self._files, self._columns, on_bad=note, chunk=1)
        )  # a line ahead of what is sent, no more

    def _note(self, line: BadLine) -> None:
        self.bad += 1
        if len(self.examples) < SHOWN:
            self.examples.append(str(line))


def _speed(text: str | None) -> float | None:
    if text is None:
        return None
    try:
        speed = float(text.removesuffix("x"))
    except ValueError:
        speed = 0.0
    if speed <= 0:
        raise UsageError(f"--speed {text!r} is not a factor; write 1x or 60x")
    return speed


async def _run(settings: object, records: Iterator[Outgoing], pace: Pace, quiet: bool) -> Sent:
    task = asyncio.ensure_future(produce(settings, records, pace, lambda sent: None if quiet else _tell(sent)))  # type: ignore[arg-type]
    loop = asyncio.get_running_loop()
    for each in (signal.SIGINT, signal.SIGTERM):
        loop.add_signal_handler(each, task.cancel)
    return await task


def _tell(sent: Sent) -> None:
    click.echo(
        f"\r{sent.acknowledged:,} acknowledged, {sent.acknowledged / max(sent.seconds, 1e-9):,.0f}/s ",
        nl=False,
        err=True,
    )


def _report(sent: Sent, source: _Source, as_json: bool) -> None:
    if as_json:
        click.echo(json.dumps({**sent.as_json(), "bad_lines": source.bad, "bad_examples": source.examples}))
        return
    click.echo("", err=True)
    shares = ", ".join(
        f"{partition}: {count:,} (last offset {sent.last_offsets[partition]})"
        for partition, count in sorted(sent.partitions.items())
    )
    stopped = ", interrupted" if sent.interrupted else ""
    click.echo(
        f"{sent.acknowledged:,} of {sent.sent:,} events acknowledged in {sent.seconds:.1f} s{stopped}; by partition {shares or 'none'}"
    )
    if sent.failed:
        click.echo(f"{sent.failed:,} were not acknowledged: {sent.error or 'no reason is known'}", err=True)
    if source.bad:
        click.echo(f"{source.bad:,} bad lines were not sent (--raw sends them, to see their dead letters):", err=True)
        for example in source.examples:
            click.echo(f"  {example}", err=True)
        if source.bad > len(source.examples):
            click.echo(f"  ... and {source.bad - len(source.examples):,} more", err=True)

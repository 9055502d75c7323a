"""`produce`: sends events onto the clickstream topic."""

from __future__ import annotations

import asyncio
import itertools
import json
import signal
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import click

from stream.cli import options
from stream.cli.file_options import event_format, event_format_of
from stream.clients.producer import (
    Outgoing,
    Pace,
    Sent,
    looped,
    of_events,
    of_population,
    of_raw_lines,
    produce,
)
from stream.config import Settings, from_environment
from stream.errors import UsageError
from stream.files.columns import parse_mapping
from stream.files.events import AUTO, EventFiles, limits_of_files
from stream.files.places import File
from stream.formats.event_format import EventFormat
from stream.plain_text import plain


@click.command()
@click.option("--events", "files", multiple=True, type=options.FILES, help=options.EVENTS)
@click.option("--columns", metavar="FIELD=COLUMN,...", help=options.COLUMNS)
@event_format
@click.option("--raw", is_flag=True, help="Send each line as it is, broken ones too.")
@click.option("--simulate", is_flag=True, help="A simulated population instead of a file.")
@click.option(
    "--users",
    default=200,
    show_default=True,
    type=click.IntRange(1),
    help="Users of the population.",
)
@click.option("--seed", default=0, show_default=True, help="Of the population.")
@click.option("--rate", type=click.FloatRange(0, min_open=True), help="Events/s.")
@click.option("--speed", metavar="Kx", help="Times the recorded time, as 60x.")
@click.option("--loop", is_flag=True, help="Start the files again at their end.")
@click.option("--limit", type=click.IntRange(1), help="Stop after that many events.")
@options.events_topic
@options.as_json
@options.connection
@options.verbose
def command(
    files: tuple[File, ...],
    columns: str | None,
    mapping: Path | None,
    event_format: str,
    consent_purposes: str | None,
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
    **connection: Any,
) -> None:
    """Replay a file, or a simulated population, onto the clickstream topic, keyed by user.

    Idempotent, acks=all. Ctrl-C stops; what was acknowledged is printed at the end. A simulated
    population never ends by itself: give --limit, or --rate and Ctrl-C.

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
    lines = event_format_of(event_format, mapping, columns, purposes=consent_purposes)
    if raw and lines != AUTO:
        raise UsageError("--raw sends lines as they are, --event-format reads them; give one")
    source = _Source(files, columns, lines, raw=raw, loop=loop)
    records = of_population(users, seed) if simulate else source.records()
    records = itertools.islice(records, limit) if limit else records
    sent = asyncio.run(
        _run(
            from_environment(**connection, events_topic=events_topic),
            records,
            Pace(rate, _speed(speed)),
            as_json,
        )
    )
    _report(sent, source, as_json)
    click.get_current_context().exit(
        1 if sent.failed or sent.acknowledged < sent.sent or source.bad else 0
    )


class _Source:
    """Reads the files, once or for ever, and keeps what their first reading left out."""

    def __init__(
        self,
        files: tuple[File, ...],
        columns: str | None,
        event_format: str | EventFormat,
        *,
        raw: bool,
        loop: bool,
    ) -> None:
        self._files, self._raw, self._loop = files, raw, loop
        self._columns, self._format = parse_mapping(columns), event_format
        self._first: EventFiles | None = None

    @property
    def bad(self) -> int:
        """Returns how many rows gave no event."""
        return sum(self._first.bad.values()) if self._first else 0

    @property
    def examples(self) -> list[str]:
        """Returns the first bad lines, with file, number and fix."""
        return [str(each) for each in self._first.samples] if self._first else []

    @property
    def told(self) -> str:
        """Returns how many rows gave no event."""
        return self._first.told[0] if self._first else ""

    @property
    def notes(self) -> list[str]:
        """Returns what had to be assumed of the files."""
        return self._first.notes if self._first else []

    def as_json(self) -> dict[str, Any]:
        """Returns what was read for a program: rows_read are events, bad lines and dropped rows."""
        first = self._first
        return {
            "rows_read": first.rows if first else None,
            "left_out": dict(first.dropped) if first else {},
            "bad_lines": self.bad,
            "bad_reasons": dict(first.bad) if first else {},
            "bad_examples": self.examples,
            "notes": self.notes,
        }

    def records(self) -> Iterator[Outgoing]:
        return looped(self._once) if self._loop else self._once()

    def _once(self) -> Iterator[Outgoing]:
        if self._raw:
            return of_raw_lines(self._files)
        # a line ahead of what is sent, no more
        limits = limits_of_files(int(time.time() * 1000), recorded=False)
        files = EventFiles(
            self._files, self._columns, limits=limits, chunk=1, event_format=self._format
        )
        self._first = self._first or files
        return of_events(files)


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


async def _run(settings: Settings, records: Iterator[Outgoing], pace: Pace, quiet: bool) -> Sent:
    task = asyncio.ensure_future(
        produce(settings, records, pace, lambda sent: None if quiet else _show_progress(sent))
    )
    loop = asyncio.get_running_loop()
    for each in (signal.SIGINT, signal.SIGTERM):
        loop.add_signal_handler(each, task.cancel)
    return await task


def _show_progress(sent: Sent) -> None:
    click.echo(
        f"\r{sent.acknowledged:,} acknowledged, "
        f"{sent.acknowledged / max(sent.seconds, 1e-9):,.0f}/s ",
        nl=False,
        err=True,
    )


def _report(sent: Sent, source: _Source, as_json: bool) -> None:
    if as_json:
        click.echo(json.dumps({**sent.as_json(), **source.as_json()}))
        return
    click.echo("", err=True)
    shares = ", ".join(
        f"{partition}: {count:,} (last offset {sent.last_offsets[partition]})"
        for partition, count in sorted(sent.partitions.items())
    )
    stopped = ", interrupted" if sent.interrupted else ""
    click.echo(
        f"{sent.acknowledged:,} of {sent.sent:,} events acknowledged in {sent.seconds:.1f} "
        f"s{stopped}; by partition {shares or 'none'}"
    )
    if sent.failed:
        click.echo(
            f"{sent.failed:,} were not acknowledged: {sent.error or 'no reason is known'}", err=True
        )
    for note in source.notes:
        click.echo(note, err=True)
    if source.bad:
        click.echo(source.told, err=True)
        click.echo(
            f"{source.bad:,} bad lines were not sent (--raw sends them, to see their dead "
            "letters):",
            err=True,
        )
        for example in source.examples:
            click.echo(plain(f"  {example}"), err=True)
        if source.bad > len(source.examples):
            click.echo(f"  ... and {source.bad - len(source.examples):,} more", err=True)

"""`popularity`: counts what all users met lately, for the workers, or shows what was counted."""

from __future__ import annotations

import asyncio
import signal
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any, Final

import click

from stream.cli import options
from stream.config import Settings, from_environment
from stream.errors import TopicError, UsageError
from stream.plain_text import plain

if TYPE_CHECKING:
    from stream.popularity.counts import Snapshot

SHOWN: Final = 20


@click.command()
@click.option(
    "--every",
    type=click.FloatRange(0, min_open=True),
    default=3600.0,
    show_default=True,
    help="Seconds between snapshots; none if nothing happened.",
)
@click.option(
    "--once", is_flag=True, help="Count up to the present end of the topic, publish, exit."
)
@click.option(
    "--show", is_flag=True, help="Count nothing: print the newest snapshot, its first items."
)
@click.option("--json", "as_json", is_flag=True, help="With --show: the whole snapshot as JSON.")
@click.option(
    "--popularity-topic", metavar="NAME", help="Created if missing.  [default: item-popularity]"
)
@click.option(
    "--popularity-min-users",
    type=int,
    metavar="N",
    help="Users who must have met an item before a snapshot lists it.  [default: 10]",
)
@click.option("--rekey/--no-rekey", default=None, help="The workers run with --rekey.")
@options.event_format
@options.events_topic
@options.connection
@options.verbose
def command(every: float, once: bool, show: bool, as_json: bool, **named: Any) -> None:
    """Count what all users met lately, for workers that score with it.

    A snapshot has the decayed shares of the items, half as much a half-life later, and the offsets
    up to which they count. The next start goes on there, so nothing counts twice or not at all,
    however the job ended. One job does for any number of workers; these are started with
    --live-popularity.

    \b
    Examples:
      interest-stream popularity
      interest-stream popularity --every 600 --broker kafka://host:9092
      interest-stream popularity --show

    Exit codes: 0 done, SIGTERM or Ctrl-C with all counts published, 1 no broker or topic, or a
    snapshot that cannot be read, 2 wrong use.
    """
    settings = from_environment(live_popularity=True, **named)
    if as_json and not show:
        raise UsageError("--json goes with --show; the log of the job is text")
    if show and once:
        raise UsageError("--show counts nothing; leave --once out")
    if show:
        _show(settings, as_json)
        return
    from stream import logs

    logs.configure(bool(click.get_current_context().find_root().meta.get("verbose")))
    snapshot = asyncio.run(_count(settings, every, once))
    if once:
        click.echo(
            _summary(snapshot)
            if snapshot
            else f"{settings.source_topic} holds no event of an item yet"
        )


async def _count(settings: Settings, every_s: float, once: bool) -> Snapshot | None:
    from stream.popularity.job import count_forever

    stop, loop = asyncio.Event(), asyncio.get_running_loop()
    for each in (signal.SIGINT, signal.SIGTERM):
        loop.add_signal_handler(each, stop.set)
    return await count_forever(settings, every_s, stop, once=once)


def _show(settings: Settings, as_json: bool) -> None:
    from stream.popularity.counts import encode
    from stream.popularity.job import newest_snapshot

    snapshot = asyncio.run(newest_snapshot(settings))
    if snapshot is None:
        raise TopicError(
            f"topic {settings.popularity_topic} holds no snapshot yet; start 'interest-stream "
            "popularity'"
        )
    if as_json:
        click.echo(plain(encode(snapshot).decode()))
        return
    for item_id, share in snapshot.items[:SHOWN]:
        click.echo(f"{share:>9.3%}  {plain(item_id)}")
    click.echo(_summary(snapshot))


def _summary(snapshot: Snapshot) -> str:
    as_of = (
        datetime.fromtimestamp(snapshot.as_of / 1000, UTC)
        .isoformat(timespec="seconds")
        .replace("+00:00", "Z")
    )
    return f"as of {as_of}: {snapshot.events:,} events counted, {len(snapshot.items):,} items"

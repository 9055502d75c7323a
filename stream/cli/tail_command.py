"""`tail`: subscribes to interest updates and prints them."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from typing import Any, Final

import click
import orjson
from rich.cells import cell_len, set_cell_size

from stream.cli import options
from stream.clients.reader import updates
from stream.config import Settings, from_environment
from stream.plain_text import plain, utc

ARROWS: Final = {"rising": "↑", "fading": "↓", "new": "+", "steady": "·"}
USER: Final = 10
INTEREST: Final = 15
SHOWN: Final = 2


@click.command()
@click.option("--user", help="Only this user.")
@click.option(
    "--from-beginning", is_flag=True, help="From the oldest update still kept, not from now on."
)
@click.option("--limit", type=click.IntRange(1), help="Stop after that many updates.")
@click.option(
    "--unique",
    is_flag=True,
    help="Leave out updates whose update_id was seen, or older than one seen of the user.",
)
@click.option("--updates-topic", metavar="NAME", help="[default: interest-updates]")
@options.as_json
@options.connection
@options.verbose
def command(
    user: str | None,
    from_beginning: bool,
    limit: int | None,
    unique: bool,
    updates_topic: str | None,
    as_json: bool,
    **connection: Any,
) -> None:
    """Subscribe to interest updates and print them, a line each.

    A line: time of the user's last event (UTC), user, the first two interests with probability and
    trend (↑ rising, ↓ fading, + new, · steady), and the event that weighs most. --json prints whole
    updates.

    \b
    Examples:
      interest-stream tail
      interest-stream tail --user user-7 --from-beginning --limit 1
      interest-stream tail --json --from-beginning > predictions.jsonl

    Exit codes: 0 the limit was reached or Ctrl-C, 1 no broker or topic, 2 wrong use.
    """
    settings = from_environment(**connection, updates_topic=updates_topic)
    try:
        asyncio.run(_print(settings, user, from_beginning, limit, unique, as_json))
    except KeyboardInterrupt:
        click.get_current_context().exit(0)


async def _print(
    settings: Settings,
    user: str | None,
    from_beginning: bool,
    limit: int | None,
    unique: bool,
    as_json: bool,
) -> None:
    foreign = 0

    def leave_out(record: Any) -> None:
        nonlocal foreign
        foreign += 1
        if foreign == 1:
            where = f"{record.topic}[{record.partition}] offset {record.offset}"
            click.echo(f"left out, no interest update: {where}; more are counted", err=True)

    found = updates(settings, from_beginning=from_beginning, user=user, foreign=leave_out)
    try:
        await _print_each(found, limit, unique, as_json)
    finally:
        if foreign > 1:
            click.echo(f"{foreign:,} records were left out: no interest updates", err=True)


async def _print_each(
    found: AsyncIterator[dict[str, Any]], limit: int | None, unique: bool, as_json: bool
) -> None:
    shown = 0
    newest: dict[str, int] = {}
    async for update in found:
        offset = update["source"]["offset"]
        if unique and newest.get(update["user_id"], -1) >= offset:
            continue
        newest[update["user_id"]] = offset
        line = orjson.dumps(update).decode() if as_json else readable(update)
        click.echo(plain(line))
        shown += 1
        if limit and shown >= limit:
            return


def readable(update: dict[str, Any]) -> str:
    """Returns one update as a line; the items and further causes are in --json."""
    moment = utc(update["time"], "%m-%d %H:%M:%S")
    user = plain(update["user_id"])
    if cell_len(user) <= USER:
        user = set_cell_size(user, USER)
    interests = "".join(
        f"{set_cell_size(plain(each['interest']), INTEREST)}{each['probability']:>4.0%} "
        f"{ARROWS.get(each['trend'], '?')}  "
        for each in update["interests"][:SHOWN]
    )
    because = plain(
        ", ".join(f"{each['action']} {subject(each)}" for each in update["because"][:1])
    )
    return f"{moment}  {user}  {interests}{because}".rstrip()


def subject(cause: dict[str, Any]) -> str:
    """Returns what a cause is about."""
    return str(cause.get("item_id") or cause.get("query") or cause.get("title") or "?")

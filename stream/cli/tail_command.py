"""`tail`: subscribe to interest updates."""

from __future__ import annotations

import asyncio
from datetime import UTC, datetime
from typing import Any, Final

import click
import orjson
from rich.cells import cell_len, set_cell_size

from stream.cli import options
from stream.config import Settings, from_environment
from stream.subscribe import updates

ARROWS: Final = {"rising": "↑", "fading": "↓", "new": "+", "steady": "·"}
USER: Final = 10
INTEREST: Final = 15
SHOWN: Final = 2


@click.command()
@click.option("--user", help="Only this user.")
@click.option("--from-beginning", is_flag=True, help="From the oldest update still kept, not from now on.")
@click.option("--limit", type=click.IntRange(1), help="Stop after that many updates.")
@click.option(
    "--unique", is_flag=True, help="Leave out updates whose update_id was seen, or older than one seen of the user."
)
@click.option("--updates-topic", metavar="NAME", help="[default: interest-updates]")
@options.as_json
@options.broker
@options.verbose
def command(
    user: str | None,
    from_beginning: bool,
    limit: int | None,
    unique: bool,
    updates_topic: str | None,
    as_json: bool,
    broker: str,
) -> None:
    """Subscribe to interest updates and print them, a line each.

    A line: time of the user's last event (UTC), user, the first two interests with probability and trend (↑ rising,
    ↓ fading, + new, · steady), and the event that weighs most. --json prints whole updates.

    \b
    Examples:
      interest-stream tail
      interest-stream tail --user user-7 --from-beginning --limit 1
      interest-stream tail --json --from-beginning > predictions.jsonl

    Exit codes: 0 the limit was reached or Ctrl-C, 1 no broker or topic, 2 wrong use.
    """
    settings = from_environment(broker=broker, updates_topic=updates_topic)
    try:
        asyncio.run(_print(settings, user, from_beginning, limit, unique, as_json))
    except KeyboardInterrupt:
        click.get_current_context().exit(0)


async def _print(
    settings: Settings, user: str | None, from_beginning: bool, limit: int | None, unique: bool, as_json: bool
) -> None:
    shown = 0
    newest: dict[str, int] = {}
    async for update in updates(settings, from_beginning=from_beginning, user=user):
        offset = update["source"]["offset"]
        if unique and newest.get(update["user_id"], -1) >= offset:
            continue
        newest[update["user_id"]] = offset
        click.echo(orjson.dumps(update).decode() if as_json else readable(update))
        shown += 1
        if limit and shown >= limit:
            return


def readable(update: dict[str, Any]) -> str:
    """One update as a line; the items and further causes are in --json."""
    moment = datetime.fromtimestamp(update["time"] / 1000, UTC).strftime("%m-%d %H:%M:%S")
    user = update["user_id"] if cell_len(update["user_id"]) > USER else set_cell_size(update["user_id"], USER)
    interests = "".join(
        f"{set_cell_size(each['interest'], INTEREST)}{each['probability']:>4.0%} {ARROWS[each['trend']]}  "
        for each in update["interests"][:SHOWN]
    )
    because = ", ".join(f"{each['action']} {subject(each)}" for each in update["because"][:1])
    return f"{moment}  {user}  {interests}{because}".rstrip()


def subject(cause: dict[str, Any]) -> str:
    """What a cause is about."""
    return str(cause.get("item_id") or cause.get("query") or cause.get("title") or "?")

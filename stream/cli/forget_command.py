"""`forget`: forgets what a user did with one item, or one thing that the user searched."""

from __future__ import annotations

from typing import Any

import click

from stream.cli import options
from stream.config import from_environment
from stream.errors import UsageError


@click.command()
@click.option("--user", required=True, help="The user_id.")
@click.option("--item", "item_id", metavar="ITEM_ID", help="Forget what the user did with it.")
@click.option("--query", metavar="TEXT", help="Forget that the user searched it.")
@options.how_long
@options.as_json
@options.where_users_are
@options.verbose
def command(
    user: str,
    item_id: str | None,
    query: str | None,
    wait_s: float,
    count: bool,
    as_json: bool,
    **named: Any,
) -> None:
    """Forget a part: the events of a user about one item, or of one search.

    The memory is made anew from the recent events that are left, so what lay further back is
    forgotten with it. Updates and events that lie in logs stay until Kafka deletes them.

    \b
    Examples:
      interest-stream forget --user alice@example.com --item item-0042
      interest-stream forget --user alice@example.com --query "pregnancy test"

    Exit codes: 0 done, 1 not in time, refused or no broker, 2 wrong use.
    """
    from stream.cli import privacy_view
    from stream.clients.requests import Ask, new_request_id

    if bool(item_id) == bool(query):
        raise UsageError("name what to forget: one of --item and --query")
    privacy_view.request(
        from_environment(**named),
        [user],
        Ask("forget", new_request_id("forget"), item_id or None, query or None),
        wait_s=wait_s,
        dry_run=False,
        count=count,
        as_json=as_json,
    )

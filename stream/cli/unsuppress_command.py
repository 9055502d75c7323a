"""`unsuppress`: takes events of a suppressed user again."""

from __future__ import annotations

from typing import Any

import click

from stream.cli import options
from stream.config import from_environment


@click.command()
@click.option("--user", required=True, help="The user_id.")
@options.how_long
@options.as_json
@options.where_users_are
@options.verbose
def command(user: str, wait_s: float, count: bool, as_json: bool, **named: Any) -> None:
    """Take events of a user again who was suppressed, those that happen from now on.

    What happened before is not applied, even if it is sent again.

    \b
    Example:
      interest-stream unsuppress --user alice@example.com

    Exit codes: 0 done, 1 not in time, refused or no broker, 2 wrong use.
    """
    from stream.cli import privacy_view
    from stream.clients.requests import Ask, new_request_id

    privacy_view.request(
        from_environment(**named),
        [user],
        Ask("unsuppress", new_request_id("unsuppress")),
        wait_s=wait_s,
        dry_run=False,
        count=count,
        as_json=as_json,
    )

"""`erase`: forgets users, and says what is left where and until when."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click

from stream.cli import options
from stream.config import from_environment
from stream.errors import UsageError


@click.command()
@click.option("--user", help="The user_id.")
@click.option(
    "--users",
    type=click.Path(path_type=Path),
    metavar="FILE",
    help="A file of user_ids, one a line.",
)
@click.option("--suppress", is_flag=True, help="Drop events that come later, until `unsuppress`.")
@click.option("--dry-run", is_flag=True, help="Say what is held and would be done, send nothing.")
@click.option("--status", metavar="REQUEST_ID", help="Say how far an earlier request has come.")
@options.how_long
@options.as_json
@options.where_users_are
@options.verbose
def command(
    user: str | None,
    users: Path | None,
    suppress: bool,
    dry_run: bool,
    status: str | None,
    wait_s: float,
    count: bool,
    as_json: bool,
    **named: Any,
) -> None:
    """Forget a user: state and profile are emptied, what lies in logs is told until when.

    The request goes into the topic of the events, in order with those of the user. Workers replace
    the state by a marker without events, and the profile by a null; what the user did before is
    never applied again, even if it is sent again. Erasing somebody of whom nothing is held does no
    harm.

    \b
    Examples:
      interest-stream erase --user alice@example.com
      interest-stream erase --user alice@example.com --dry-run
      interest-stream erase --users leavers.txt --suppress --json
      interest-stream erase --user alice@example.com --status REQUEST_ID --json

    Exit codes: 0 erased (also if nothing was held), 1 not in time, refused or no broker, 2 wrong
    use, 3 with --status: not yet.
    """
    from stream.cli import privacy_view
    from stream.clients.erasing import look_again
    from stream.clients.requests import Ask, new_request_id
    from stream.clients.user_ids import read_user_ids

    if (user is None) == (users is None):
        raise UsageError("name one user with --user, or a file of them with --users")
    settings = from_environment(**named)
    ids = [user] if user is not None else read_user_ids(users or Path())
    if status is not None:
        show = privacy_view.Progress()
        outcome = privacy_view.run(look_again(settings, ids, status, show))
        show.end()
        privacy_view.tell(outcome, as_json=as_json, wait_s=wait_s, status=True)
        return
    control = "suppress" if suppress else "erase"
    privacy_view.request(
        settings,
        ids,
        Ask(control, new_request_id(control)),
        wait_s=wait_s,
        dry_run=dry_run,
        count=count,
        as_json=as_json,
    )

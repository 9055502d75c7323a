"""`export`: writes all that is held about one user into one file."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click

from stream.cli import options
from stream.config import from_environment
from stream.plain_text import plain


@click.command()
@click.option("--user", required=True, help="The user_id.")
@click.option(
    "--out",
    required=True,
    type=click.Path(path_type=Path),
    metavar="FILE",
    help="A new file; only its owner can read it.",
)
@options.where_users_are
@options.verbose
def command(user: str, out: Path, **named: Any) -> None:
    """Write everything that is held about one user into one JSON file that a person can read.

    State in words, profile, updates, events, dead letters, requests and suppression; each with the
    offsets that were read and until when it can be read. What trained models and copies outside the
    topics hold is not in it.

    \b
    Example:
      interest-stream export --user alice@example.com --out alice.json

    Exit codes: 0 written (also if nothing is held), 1 no broker or topic, 2 wrong use or the file
    exists.
    """
    from stream.cli.privacy_view import Progress, run
    from stream.clients.exporting import collect, write
    from stream.errors import UsageError

    if out.exists():
        raise UsageError(f"{out} exists; name a new file with --out")
    show = Progress()
    found = run(collect(from_environment(**named), user, show))
    show.end()
    write(found, out)
    for warning in found["warnings"]:
        click.echo(plain(f"warning: {warning}"), err=True)
    state = found["state"]["state"]
    counts = [
        f"{0 if state is None else len(state['recent_events'])} recent events of the state",
        f"{0 if found['profile']['profile'] is None else 1} profile",
        *(
            f"{found[name]['found']:,} {name.replace('_', ' ')}"
            for name in ("updates", "events", "dead_letters", "raw_events")
            if name in found
        ),
    ]
    click.echo(plain(f"{out}: {', '.join(counts)}"))

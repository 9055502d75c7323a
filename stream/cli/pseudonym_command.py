"""`pseudonym`: says by which pseudonym a user is known behind `--rekey --pseudonym-key-file`."""

from __future__ import annotations

import click

from stream.cli import options
from stream.clients.user_ids import user_key
from stream.config import from_environment
from stream.errors import UsageError


@click.command()
@click.option("--user", required=True, help="The user_id, as events have it before they come in.")
@options.pseudonym_key_file
@options.config
@options.verbose
def command(user: str, pseudonym_key_file: str | None, config: str | None) -> None:
    """Print the pseudonym of one user: the HMAC-SHA-256 of the id under the key of a file.

    Workers with --rekey --pseudonym-key-file replace each user_id by it. Whoever has the key can
    find the users behind pseudonyms of whom the ids are known.

    \b
    Example:
      interest-stream pseudonym --user alice@example.com \\
          --pseudonym-key-file ids.key

    Exit codes: 0 printed, 2 wrong use or a key that cannot be read.
    """
    key = from_environment(config, pseudonym_key_file=pseudonym_key_file).pseudonym_key()
    if key is None:
        raise UsageError("no key is named; give --pseudonym-key-file FILE")
    click.echo(user_key(user, key).decode())

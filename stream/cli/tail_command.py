"""`tail`: subscribes to interest updates, and prints them or sends them to a webhook."""

from __future__ import annotations

import asyncio
import signal
from collections.abc import AsyncIterator
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import click
import orjson
from rich.cells import cell_len, set_cell_size

from stream.cli import options
from stream.clients.reader import updates
from stream.config import Settings, from_environment
from stream.errors import UsageError
from stream.plain_text import plain, utc
from stream.setting_rules import SecretUrl

if TYPE_CHECKING:
    from stream.clients.forwarding import Route

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
@click.option(
    "--webhook",
    metavar="URL",
    help="Post profiles there, signed, in place of printing; needs the next two.",
)
@click.option(
    "--webhook-secret-file",
    type=click.Path(path_type=Path, dir_okay=False),
    metavar="FILE",
    help="The secret that signs them: a line whsec_BASE64; several lines while you change it.",
)
@click.option("--group", metavar="NAME", help="Consumer group: where a webhook goes on.")
@click.option(
    "--webhook-batch",
    type=click.IntRange(1, 1_000),
    default=100,
    show_default=True,
    help="Most profiles in one request.",
)
@click.option("--profiles-topic", metavar="NAME", help="[default: interest-profiles]")
@options.schema_registry
@options.as_json
@options.connection
@options.verbose
def command(
    user: str | None,
    from_beginning: bool,
    limit: int | None,
    unique: bool,
    as_json: bool,
    webhook: str | None,
    webhook_secret_file: Path | None,
    group: str | None,
    webhook_batch: int,
    **given: Any,
) -> None:
    """Subscribe to interest updates and print them, a line each.

    A line: time of the user's last event (UTC), user, the first two interests with probability and
    trend (↑ rising, ↓ fading, + new, · steady), and the event that weighs most. --json prints whole
    updates.

    --webhook posts profiles as JSON, each update and a null for who is erased, again and again
    until they are taken. An answer that says they never will be, such as 400, ends it.

    \b
    Examples:
      interest-stream tail
      interest-stream tail --user user-7 --from-beginning --limit 1
      interest-stream tail --json --from-beginning > predictions.jsonl
      interest-stream tail --webhook https://crm/in \\
          --webhook-secret-file FILE --group crm

    Exit codes: 0 the limit was reached or Ctrl-C, 1 no broker or topic, or the webhook refuses,
    2 wrong use.
    """
    settings = from_environment(**given)
    if webhook is not None:
        secrets = _secrets(webhook, webhook_secret_file, group, unique or as_json)
        from stream.clients.forwarding import Route

        route = Route(group or "", user, from_beginning, webhook_batch, limit)
        asyncio.run(_send_on(settings, webhook, secrets, route))
        return
    if group is not None or webhook_secret_file is not None:
        raise UsageError("--group and --webhook-secret-file are for --webhook URL; give it, too")
    try:
        asyncio.run(_print(settings, user, from_beginning, limit, unique, as_json))
    except KeyboardInterrupt:
        click.get_current_context().exit(0)


def _secrets(webhook: str, file: Path | None, group: str | None, of_printing: bool) -> list[bytes]:
    """Returns what signs; raises UsageError for what cannot work together."""
    from stream.contracts.webhook import read_secrets

    try:
        if not SecretUrl().read(webhook):
            raise ValueError("use https://host/path")
    except ValueError as error:
        raise UsageError(f"--webhook: {error}") from None
    if file is None or group is None:
        missing = "--webhook-secret-file FILE" if file is None else "--group NAME"
        why = "proves who sends" if file is None else "says where to go on after a restart"
        raise UsageError(f"--webhook needs {missing}, which {why}")
    if of_printing:
        raise UsageError("--unique and --json are for printing; leave them out with --webhook")
    try:
        return read_secrets(file.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        reason = error.strerror if isinstance(error, OSError) else error
        raise UsageError(f"--webhook-secret-file {file}: {reason}") from None


async def _send_on(settings: Settings, url: str, secrets: list[bytes], route: Route) -> None:
    """Sends profiles on until a limit or a signal; what is on its way then is sent again."""
    from stream.clients.forwarding import Forwarder
    from stream.clients.webhook import Webhook

    task = asyncio.current_task()
    assert task is not None
    for each in (signal.SIGINT, signal.SIGTERM):
        asyncio.get_running_loop().add_signal_handler(each, task.cancel)

    def tell(text: str) -> None:
        click.echo(plain(text), err=True)

    async with Webhook(url, secrets, tell) as webhook:
        forwarder = Forwarder(settings, route, webhook, tell)
        try:
            await forwarder.run()
        except asyncio.CancelledError:
            tell("stopped: what was not taken yet is sent at the next start")
        finally:
            left_out = f", {forwarder.foreign:,} left out" if forwarder.foreign else ""
            tell(f"{forwarder.sent:,} profiles were taken{left_out}")


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
            what = "no interest update"
            if record.value[:1] == b"\0" and not settings.schema_registry:
                what += ", or one whose schema a registry has: name it with --schema-registry"
            click.echo(f"left out, {what}: {where}; more are counted", err=True)

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

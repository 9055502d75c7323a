"""`dead-letters`: shows what was parked and why, and sends it again once the cause is mended."""

from __future__ import annotations

import asyncio
import json
from collections import Counter
from typing import TYPE_CHECKING, Any, Final

import click

from stream.cli import options
from stream.cli.commands import Group
from stream.config import from_environment
from stream.contracts.faults import REASONS, BadEvent
from stream.contracts.times import parse_time
from stream.plain_text import plain, utc

if TYPE_CHECKING:
    from stream.clients.dead_letter_replay import Parked

SHOWN: Final = 20
MESSAGE: Final = 100


class Moment(click.ParamType):
    """Turns an RFC 3339 time with a zone into Unix milliseconds."""

    name = "time"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> int:
        try:
            return value if isinstance(value, int) else parse_time(value)
        except BadEvent as error:
            self.fail(str(error), param, ctx)


# which dead letters are meant
_choice = options.together(
    click.option("--rekey/--no-rekey", default=None, help="The workers run with --rekey."),
    click.option(
        "--dead-letters-topic", metavar="NAME", help="[default: clickstream-dead-letters]"
    ),
    options.events_topic,
    click.option("--until", type=Moment(), metavar="TIME", help="Parked before then."),
    click.option(
        "--since",
        type=Moment(),
        metavar="TIME",
        help="Parked at this time or later: RFC 3339 with zone.",
    ),
    click.option(
        "--reason",
        "reasons",
        multiple=True,
        type=click.Choice(REASONS),
        metavar="REASON",
        help="Only with this reason; repeat it.",
    ),
    options.connection,
)


@click.group(cls=Group)
def command() -> None:
    """Show the bad records that were parked, and send them again once the cause is mended.

    \b
    Examples:
      interest-stream dead-letters list
      interest-stream dead-letters replay --reason future-time --dry-run
      interest-stream dead-letters replay --since 2026-11-25T10:00:00Z

    Exit codes: 0 done, 1 no broker or topic, or Kafka refused, 2 wrong use.
    """


@command.command("list")
@_choice
@click.option(
    "--limit",
    type=click.IntRange(0),
    default=SHOWN,
    show_default=True,
    help="Show as many, the newest.",
)
@options.as_json
@options.verbose
def list_(
    reasons: tuple[str, ...],
    since: int | None,
    until: int | None,
    limit: int,
    as_json: bool,
    **named: Any,
) -> None:
    """Show how many there are by reason, and the newest of them.

    Of each: when it was parked, where the original was, its key, and what to mend.

    \b
    Example:
      interest-stream dead-letters list --reason not-json --json

    Exit codes: 0 done, 1 no broker or topic, 2 wrong use.
    """
    from stream.clients.dead_letter_replay import matching, read

    letters = asyncio.run(read(from_environment(**named)))
    found = matching(letters.parked, reasons, since, until)
    shown = found[max(0, len(found) - limit) :]
    counts = Counter(letter.reason for letter in found)
    if as_json:
        click.echo(
            json.dumps(
                {
                    "dead_letters": len(found),
                    "foreign": letters.foreign,
                    "reasons": counts,
                    "newest": [_facts(each) for each in shown],
                }
            )
        )
        return
    for reason, count in counts.most_common():
        click.echo(plain(f"{count:>12,}  {reason}"))
    for letter in shown:
        again = f"  (a replay of {letter.replay_of})" if letter.replay_of else ""
        click.echo(
            plain(
                f"{_time(letter)}  {letter.place}  {letter.key!r}  {letter.reason}: "
                f"{letter.message[:MESSAGE]}{again}"
            )
        )
    _tell_foreign(letters.foreign)
    click.echo(
        f"{len(found):,} dead letters"
        + (f", the newest {len(shown)} shown" if len(shown) < len(found) else "")
    )


def _tell_foreign(count: int) -> None:
    """Says that records were left out because they are no dead letters of workers."""
    if count:
        click.echo(f"{count:>12,}  left out: no dead letter of a worker (another service's?)")


@command.command()
@_choice
@click.option("--dry-run", is_flag=True, help="Say what would be sent, send nothing.")
@options.as_json
@options.verbose
def replay(
    reasons: tuple[str, ...],
    since: int | None,
    until: int | None,
    dry_run: bool,
    as_json: bool,
    **named: Any,
) -> None:
    """Send the original records again, to the end of the topic they came from.

    Their header is.replay says what they are. Mend the cause first: what is refused again is parked
    again, and then stays. A dead letter is sent once, however often the command is run; a replayed
    event is a new event, after all that its user did in the meantime.

    \b
    Examples:
      interest-stream dead-letters replay --dry-run
      interest-stream dead-letters replay --reason too-large

    Exit codes: 0 done (also if there was nothing to send), 1 no broker or topic, or Kafka refused,
    2 wrong use.
    """
    from stream.clients import dead_letter_replay as replaying

    settings = from_environment(**named)
    held = asyncio.run(replaying.read(settings))
    letters = replaying.matching(held.parked, reasons, since, until)
    before = asyncio.run(replaying.sent_before(settings, letters))
    selection = replaying.select(letters, before, replaying.own_topics(settings))
    # A dry run sends nothing, and without a letter no connection is needed.
    sent = 0
    if selection.selected and not dry_run:
        sent = asyncio.run(replaying.send(settings, selection.selected))
    counts = Counter(letter.reason for letter in selection.selected)
    if as_json:
        click.echo(
            json.dumps(
                {
                    "dry_run": dry_run,
                    "chosen": len(selection.selected),
                    "sent": sent,
                    "foreign": held.foreign,
                    "reasons": counts,
                    "left_out": selection.left_out,
                }
            )
        )
        return
    for reason, count in counts.most_common():
        click.echo(plain(f"{count:>12,}  {reason}"))
    for why, count in selection.left_out.most_common():
        click.echo(f"{count:>12,}  left out: {why}")
    _tell_foreign(held.foreign)
    click.echo(
        f"{len(selection.selected):,} would be sent again" if dry_run else f"{sent:,} sent again"
    )


def _facts(letter: Parked) -> dict[str, Any]:
    return {
        "original": letter.place,
        "parked_at": _time(letter),
        "key": None if letter.key is None else letter.key.decode(errors="backslashreplace"),
        "reason": letter.reason,
        "message": letter.message,
        "cut": letter.cut,
        "replay_of": letter.replay_of,
    }


def _time(letter: Parked) -> str:
    return utc(letter.parked_at_ms, "%Y-%m-%dT%H:%M:%SZ")

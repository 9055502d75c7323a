"""`dead-letters`: what was parked and why; sent again once the cause is mended."""

from __future__ import annotations

import asyncio
import json
from collections import Counter
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any, Final

import click

from stream.cli import options
from stream.cli.commands import Group
from stream.config import from_environment
from stream.event_faults import REASONS, BadEvent
from stream.events import parse_time

if TYPE_CHECKING:
    from stream.replaying import Parked

SHOWN: Final = 20
MESSAGE: Final = 100


class Moment(click.ParamType):
    """RFC 3339 with a zone, to Unix milliseconds."""

    name = "time"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> int:
        try:
            return value if isinstance(value, int) else parse_time(value)
        except BadEvent as error:
            self.fail(str(error), param, ctx)


# which dead letters are meant
_choice = options.together(
    click.option("--rekey/--no-rekey", default=None, help="The workers run with --rekey."),
    click.option("--dead-letters-topic", metavar="NAME", help="[default: clickstream-dead-letters]"),
    options.events_topic,
    click.option("--until", type=Moment(), metavar="TIME", help="Parked before then."),
    click.option("--since", type=Moment(), metavar="TIME", help="Parked at this time or later: RFC 3339 with zone."),
    click.option(
        "--reason",
        "reasons",
        multiple=True,
        type=click.Choice(REASONS),
        metavar="REASON",
        help="Only with this reason; repeat it.",
    ),
    options.broker,
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
@click.option("--limit", type=click.IntRange(0), default=SHOWN, show_default=True, help="Show as many, the newest.")
@options.as_json
@options.verbose
def list_(
    reasons: tuple[str, ...], since: int | None, until: int | None, limit: int, as_json: bool, **named: Any
) -> None:
    """How many there are by reason, and the newest of them: when, where the original was, its key, what to mend.

    \b
    Example:
      interest-stream dead-letters list --reason not-json --json

    Exit codes: 0 done, 1 no broker or topic, 2 wrong use.
    """
    from stream.replaying import matching, read

    found = matching(asyncio.run(read(from_environment(**named))), reasons, since, until)
    shown = found[max(0, len(found) - limit) :]
    counts = Counter(letter.reason for letter in found)
    if as_json:
        click.echo(
            json.dumps({"dead_letters": len(found), "reasons": counts, "newest": [_facts(each) for each in shown]})
        )
        return
    for reason, count in counts.most_common():
        click.echo(f"{count:>12,}  {reason}")
    for letter in shown:
        again = f"  (a replay of {letter.replay_of})" if letter.replay_of else ""
        click.echo(
            f"{_time(letter)}  {letter.place}  {letter.key!r}  {letter.reason}: {letter.message[:MESSAGE]}{again}"
        )
    click.echo(f"{len(found):,} dead letters" + (f", the newest {len(shown)} shown" if len(shown) < len(found) else ""))


@command.command()
@_choice
@click.option("--dry-run", is_flag=True, help="Say what would be sent, send nothing.")
@options.as_json
@options.verbose
def replay(
    reasons: tuple[str, ...], since: int | None, until: int | None, dry_run: bool, as_json: bool, **named: Any
) -> None:
    """Send the original records again, to the end of the topic they came from; the header is.replay says that they are.

    Mend the cause first: what is refused again is parked again, and then stays. A dead letter is sent once, however often
    the command is run; a replayed event is a new event, after all that its user did in the meantime.

    \b
    Examples:
      interest-stream dead-letters replay --dry-run
      interest-stream dead-letters replay --reason too-large

    Exit codes: 0 done (also if there was nothing to send), 1 no broker or topic, or Kafka refused, 2 wrong use.
    """
    from stream import replaying

    settings = from_environment(**named)
    letters = replaying.matching(asyncio.run(replaying.read(settings)), reasons, since, until)
    before = asyncio.run(replaying.sent_before(settings, letters))
    selection = replaying.select(letters, before, replaying.own_topics(settings))
    sent = 0 if dry_run else asyncio.run(replaying.send(settings, selection.chosen)) if selection.chosen else 0
    counts = Counter(letter.reason for letter in selection.chosen)
    if as_json:
        click.echo(
            json.dumps(
                {
                    "dry_run": dry_run,
                    "chosen": len(selection.chosen),
                    "sent": sent,
                    "reasons": counts,
                    "left_out": selection.left_out,
                }
            )
        )
        return
    for reason, count in counts.most_common():
        click.echo(f"{count:>12,}  {reason}")
    for why, count in selection.left_out.most_common():
        click.echo(f"{count:>12,}  left out: {why}")
    click.echo(f"{len(selection.chosen):,} would be sent again" if dry_run else f"{sent:,} sent again")


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
    return datetime.fromtimestamp(letter.parked_at_ms / 1000, UTC).isoformat(timespec="seconds").replace("+00:00", "Z")

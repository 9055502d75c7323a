"""`mapping`: proposes how records of an unknown shape are read, and shows what becomes of them."""

from __future__ import annotations

import asyncio
import json
import time
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import click
import msgspec

from stream.cli import options
from stream.cli.commands import Group
from stream.config import CONTRACT, MAPPING, Settings, from_environment
from stream.contracts.event import limits_of
from stream.errors import DataError, UsageError
from stream.plain_text import plain, utc

if TYPE_CHECKING:
    from stream.clients.samples import SampleRecord
    from stream.formats.event_format import EventFormat
    from stream.formats.mappings.trial import Trial, Tried

SUGGESTED_FROM: Final = 500
FILE: Final = click.Path(path_type=Path)

_sample = options.together(
    click.option(
        "--from-topic", metavar="NAME", help="The newest records of this topic are the sample."
    ),
    click.option(
        "--events",
        "files",
        multiple=True,
        type=FILE,
        help="File of records, a JSON object a line or an array; repeat for several.",
    ),
    options.schema_registry,
    options.connection,
)


@click.group(cls=Group)
def command() -> None:
    """Read a topic whose records have a shape of their own.

    \b
    Examples:
      interest-stream mapping suggest --from-topic clicks > clicks.toml
      interest-stream mapping try clicks.toml --from-topic clicks
      interest-stream worker --mapping clicks.toml --events-topic clicks \\
          --model DIR

    Exit codes: 0 done, 1 no broker or topic, or something that cannot be read, 2 wrong use.
    """


@command.command("suggest")
@_sample
@options.verbose
def suggest_(files: tuple[Path, ...], from_topic: str | None, **connection: Any) -> None:
    """Print a mapping file for records like those of a sample.

    It goes by what fields are called and hold, and says in how many records each line finds
    something. Names of actions are copied from the sample into it, and no other value. Read it,
    then `mapping try` it.

    \b
    Examples:
      interest-stream mapping suggest --events sample.jsonl > clicks.toml
      interest-stream mapping suggest --from-topic clicks > clicks.toml

    Exit codes: 0 a mapping that can be used, 1 a field is missing in it, 2 wrong use.
    """
    from stream.clients.samples import documents_of
    from stream.formats.mappings.suggestion import suggest
    from stream.formats.registry import foreign_format

    settings = from_environment(**connection, event_format=CONTRACT, mapping="")
    event_format = foreign_format(settings)
    records = _records(settings, files, from_topic, SUGGESTED_FROM, event_format)
    found = suggest(documents_of(records, event_format))
    click.echo(plain_toml(found.text), nl=False)
    if found.missing:
        names = ", ".join(found.missing)
        click.echo(f"no path looks like {names}; name one in the file", err=True)
        click.get_current_context().exit(1)


@command.command("try")
@click.argument("file", type=FILE, required=False)
@click.option("--event-format", metavar="NAME", help="Try a format that needs no file instead.")
@click.option(
    "--count", default=20, show_default=True, type=click.IntRange(1, 100_000), help="Records."
)
@_sample
@options.as_json
@options.verbose
def try_(
    file: Path | None,
    event_format: str | None,
    count: int,
    files: tuple[Path, ...],
    from_topic: str | None,
    as_json: bool,
    **connection: Any,
) -> None:
    """Show what each record of a sample becomes, or why it becomes nothing.

    \b
    Examples:
      interest-stream mapping try clicks.toml --events sample.jsonl
      interest-stream mapping try clicks.toml --from-topic clicks --count 1000
      interest-stream mapping try --event-format segment --from-topic track

    Exit codes: 0 all was read or left out on purpose, 1 some would be dead letters, 2 wrong use.
    """
    from stream.formats.mappings.trial import tried_on
    from stream.formats.registry import foreign_format, format_named

    if (file is None) == (event_format is None):
        raise UsageError("give a mapping FILE, or --event-format NAME, and not both")
    named = {"event_format": event_format or MAPPING, "mapping": str(file or "")}
    settings = from_environment(**connection, **named)
    named_format = settings.event_format, settings.mapping, settings.purposes
    tried_format = foreign_format(settings) or format_named(*named_format)
    records = _records(settings, files, from_topic, count, tried_format)
    limits = limits_of(settings)
    trial = tried_on(records, tried_format, limits, int(time.time() * 1000))
    click.echo(json.dumps(_as_json(trial)) if as_json else _readable(trial))
    click.get_current_context().exit(1 if trial.bad else 0)


def plain_toml(text: str) -> str:
    """Returns the text of a file with all that a terminal would obey made visible."""
    return "".join(f"{plain(line)}\n" for line in text.splitlines())


def _records(
    settings: Settings,
    files: Sequence[Path],
    topic: str | None,
    most: int,
    event_format: EventFormat | None,
) -> list[SampleRecord]:
    from stream.clients.samples import of_files, of_topic

    if bool(files) == bool(topic):
        raise UsageError("give a sample: --events FILE, or --from-topic NAME")
    if topic:
        found = asyncio.run(of_topic(settings, topic, most, event_format))
    else:
        found = of_files(files, most)
    if not found:
        raise DataError(f"{topic or files[0]}: holds no record; give a sample that has some")
    return found


def _readable(trial: Trial) -> str:
    """Returns a line an event, what was left out, what could not be read, then the counts."""
    lines = [line for tried in trial.tried for line in _lines(tried)]
    lines += [
        "",
        f"{len(trial.tried):,} records: {trial.events:,} events, {trial.dropped:,} left out on "
        f"purpose, {trial.bad:,} dead letters",
    ]
    if trial.other_actions:
        names = ", ".join(name for name, _ in trial.other_actions.most_common(10))
        lines.append(
            f"{trial.other_actions.total():,} events have an action that is none of the contract's "
            f"and counts as other: {plain(names)}; [actions] says what they mean"
        )
    if trial.other_keys:
        lines.append(
            f"{trial.other_keys:,} records are keyed by something else than their user: start the "
            "workers with --rekey"
        )
    return "\n".join(lines)


def _lines(tried: Tried) -> list[str]:
    """Returns what became of one record."""
    lines = [plain(tried.place)]
    for event in tried.events:
        moment = utc(event.time) if isinstance(event.time, int) else event.time
        what = [event.action, event.user_id, event.item_id or "-"]
        more = [event.title, event.query and f'"{event.query}"', *(event.categories or ())]
        said = "  ".join([*what, moment, *(each for each in more if each)])
        lines.append(f"  event  {plain(said)}")
    lines += [f"  left out  {reason} ({count})" for reason, count in tried.dropped.items()]
    lines += [f"  DEAD LETTER  {plain(fault)}" for fault in tried.faults]
    return lines


def _as_json(trial: Trial) -> dict[str, Any]:
    """Returns the trial for a program to read."""
    return {
        "records": [
            {
                "place": tried.place,
                "events": [msgspec.to_builtins(event) for event in tried.events],
                "left_out": tried.dropped,
                "faults": tried.faults,
            }
            for tried in trial.tried
        ],
        "events": trial.events,
        "left_out": trial.dropped,
        "dead_letters": trial.bad,
        "other_actions": dict(trial.other_actions),
        "keyed_otherwise": trial.other_keys,
    }

"""`audit`: compares states with the topic, to show that every event was applied exactly once."""

from __future__ import annotations

import asyncio
import json
import sys
from collections.abc import Callable
from typing import Any

import click

from stream.cli import options
from stream.config import from_environment
from stream.plain_text import plain_lines

ROWS: tuple[tuple[str, Callable[[dict[str, Any]], int]], ...] = (
    ("users compared", lambda report: report["users"]["compared"]),
    (
        "users ahead of the committed offsets, not comparable yet",
        lambda report: report["users"]["ahead"],
    ),
    (
        "users whose first events were deleted, not comparable",
        lambda report: report["users"]["truncated"],
    ),
    ("events in the topic", lambda report: report["events"]["read"]),
    ("repeats by event_id, counted once", lambda report: report["events"]["repeated"]),
    ("events from before their user was erased", lambda report: report["events"]["erased"]),
    ("events left out on purpose, by their format", lambda report: report["events"]["dropped"]),
    ("events of suppressed users", lambda report: report["events"]["suppressed"]),
    ("requests to erase, suppress or forget", lambda report: report["controls"]),
    ("events not committed yet", lambda report: report["not_committed"]),
    ("events deleted by retention before the audit", lambda report: report["deleted_by_retention"]),
    ("invalid records", lambda report: report["invalid"]),
    ("dead letters", lambda report: report["dead_letters"]),
    ("states missing", lambda report: report["missing"]),
    ("states that lost events", lambda report: report["lost"]),
    ("states that doubled events", lambda report: report["doubled"]),
    ("states with other events than the topic", lambda report: report["wrong"]),
    ("states of another partition or topic", lambda report: report["misplaced"]),
    ("states without an event", lambda report: report["unexpected"]),
    ("corrupt changelog records", lambda report: report["corrupt"]),
    ("changelog records that went back in offset", lambda report: report["regressions"]),
    ("users in two partitions", lambda report: report["users_in_two_partitions"]),
    ("invalid records without a dead letter", lambda report: report["dead_letters_missing"]),
    ("dead letters with other bytes", lambda report: report["dead_letters_changed"]),
    ("dead letters of valid events", lambda report: report["dead_letters_of_valid"]),
)
ALWAYS = {
    "users compared",
    "events in the topic",
    "states missing",
    "states that lost events",
    "states that doubled events",
    "dead letters",
}
"""Rows that are shown even when they are zero."""

STILL_MOVING = 3
"""Exit code where nothing differs and events are not committed yet."""


@click.command()
@click.option("--app-id", metavar="NAME", help="Worker group.  [default: interest-stream]")
@options.event_format
@options.events_topic
@click.option("--dead-letters-topic", metavar="NAME", help="[default: clickstream-dead-letters]")
@click.option(
    "--rekey",
    is_flag=True,
    default=None,
    help="Audit the topic that --rekey of the worker forwards to.",
)
@click.option(
    "--control-key-file",
    metavar="FILE",
    help="The key that signs requests about users, if the workers demand one.",
)
@click.option(
    "--user-ttl-days",
    type=float,
    default=None,
    metavar="DAYS",
    help="As the workers have it: a silence that begins a blank state.  [default: 0, none]",
)
@click.option(
    "--late-window-days",
    type=float,
    default=None,
    metavar="DAYS",
    help="As the workers have it: how long after an erasure events may come late.  [default: 30]",
)
@options.as_json
@options.connection
@options.verbose
def command(as_json: bool, **given: Any) -> None:
    """Compare the input topic with every user's state.

    Compared are count, last offset and digest of the applied events, by code that shares nothing
    with the worker but the published contracts. It may run while events flow: each state is
    compared at the offset where it stands. Of a user who was erased the state must say so, and
    nothing else. Events not yet committed may be in the states or not; wait until workers are idle
    for a complete answer.

    \b
    Examples:
      interest-stream audit
      interest-stream audit --broker kafka://host:9092 --json

    Exit codes: 0 no difference, 1 a difference or no broker, 2 wrong use, 3 no difference, but
    events are not committed yet.
    """
    from rich.console import Console
    from rich.progress import Progress

    from stream.audit.reader import audit

    settings = from_environment(**given)
    with Progress(
        console=Console(stderr=True), transient=True, disable=as_json or not sys.stderr.isatty()
    ) as bars:
        tasks: dict[str, Any] = {}

        def advance(topic: str, done: int, total: int) -> None:
            if topic not in tasks:
                tasks[topic] = bars.add_task(f"reading {topic}", total=total)
            bars.update(tasks[topic], completed=done)

        report = asyncio.run(audit(settings, advance))
    click.echo(json.dumps(report) if as_json else plain_lines(_readable(report)))
    click.get_current_context().exit(_exit_code(report))


def _exit_code(report: dict[str, Any]) -> int:
    if not report["clean"]:
        return 1
    return STILL_MOVING if report["not_committed"] else 0


def _readable(report: dict[str, Any]) -> str:
    """Returns what was compared, then what is not zero: a clean audit is short."""
    rows = [(name, count(report)) for name, count in ROWS]
    lines = [f"{found:>12,}  {name}" for name, found in rows if found or name in ALWAYS]
    lines += ["", *report["examples"], *report["dead_letter_examples"]]
    verdict = "every event was applied exactly once" if report["clean"] else "DIFFERENCES FOUND"
    if report["clean"] and report["not_committed"]:
        verdict = (
            f"STILL MOVING: every event was applied exactly once but {report['not_committed']:,}, "
            "which are not committed yet; run it again when the workers have caught up, and start "
            "one if none runs"
        )
    if report["clean"] and report["deleted_by_retention"]:
        verdict += (
            ", as far as the topic still tells: users whose first events are gone cannot be audited"
        )
    return "\n".join([*lines, verdict])

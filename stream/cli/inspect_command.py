"""`inspect`: what is held about one user."""

from __future__ import annotations

import asyncio
import json
from datetime import UTC, datetime
from typing import Any

import click

from stream.cli import options
from stream.cli.tail_command import ARROWS, subject
from stream.config import from_environment
from stream.errors import DataError
from stream.subscribe import Held, look_up, recent_events

SHOWN = 10


@click.command()
@click.option("--user", required=True, help="The user_id.")
@click.option("--app-id", metavar="NAME", help="Worker group.  [default: interest-stream]")
@click.option("--profiles-topic", metavar="NAME", help="[default: interest-profiles]")
@options.as_json
@options.broker
@options.verbose
def command(user: str, app_id: str | None, profiles_topic: str | None, as_json: bool, broker: str) -> None:
    """Show what is held about one user: the state in the changelog, and the latest profile, in words.

    \b
    Examples:
      interest-stream inspect --user user-7
      interest-stream inspect --user user-7 --json

    Exit codes: 0 shown, 1 nothing is held, or no broker, 2 wrong use.
    """
    settings = from_environment(broker=broker, app_id=app_id, profiles_topic=profiles_topic)
    held = asyncio.run(look_up(settings, user))
    if held.state is None and held.profile is None:
        raise DataError(
            f"nothing is held about user {user!r} by {settings.app_id}; check --user and --app-id, or whether the worker has caught up"
        )
    found = as_dictionary(user, held)
    click.echo(json.dumps(found, ensure_ascii=False) if as_json else in_words(found))


def as_dictionary(user: str, held: Held) -> dict[str, Any]:
    """Everything, for a program to read."""
    state = None
    if held.state is not None:
        header = held.state.header
        state = {
            "partition": held.partition,
            "count": int(header["count"]),
            "last_offset": int(header["offset"]),
            "digest": f"{int(header['digest']):016x}",
            "time": int(header["time_ms"]),
            "model_fingerprint": f"{int(header['fingerprint']):016x}",
            "bytes": held.state_bytes,
            "recent": recent_events(held.state),
        }
    return {"user_id": user, "state": state, "profile": held.profile}


def in_words(found: dict[str, Any]) -> str:
    """For a person."""
    lines = [f"user {found['user_id']}"]
    state, profile = found["state"], found["profile"]
    if state:
        lines.append(
            f"  {state['count']:,} events applied, the last at offset {state['last_offset']} of partition "
            f"{state['partition']}, {_moment(state['time'])}"
        )
        lines.append(
            f"  state of {state['bytes']:,} bytes by model {state['model_fingerprint']}, digest {state['digest']}"
        )
        lines.append(f"  last {min(SHOWN, len(state['recent']))} of {len(state['recent'])} events kept, newest first:")
        for event in state["recent"][:SHOWN]:
            text = event.get("query") or event.get("item or title")
            lines.append(f"    {_moment(event['time'])}  {event['action']:<16} {text}")
    else:
        lines.append("  no state")
    if profile:
        lines.append("  interests now:")
        for each in profile["interests"]:
            bar = "█" * round(each["probability"] * 30)
            lines.append(f"    {each['interest']:<28} {each['probability']:>4.0%} {ARROWS[each['trend']]} {bar}")
        lines.append("  next: " + ", ".join(each["item_id"] for each in profile["items"]))
        lines.append("  because: " + ", ".join(f"{each['action']} {subject(each)}" for each in profile["because"]))
    else:
        lines.append("  no profile")
    return "\n".join(lines)


def _moment(time_ms: int) -> str:
    return datetime.fromtimestamp(time_ms / 1000, UTC).strftime("%Y-%m-%d %H:%M:%S")

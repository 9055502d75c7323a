"""`inspect`: shows what is held about one user."""

from __future__ import annotations

import asyncio
import json
from pathlib import Path
from typing import Any

import click
from rich.cells import set_cell_size

from stream.cli import options
from stream.cli.tail_command import ARROWS, subject
from stream.clients.reader import Held, look_up, recent_events
from stream.config import from_environment
from stream.errors import DataError, ModelError
from stream.plain_text import plain, utc

SHOWN = 10
NAME = 24
BAR = 24


@click.command()
@click.option("--user", required=True, help="The user_id.")
@click.option("--app-id", metavar="NAME", help="Worker group.  [default: interest-stream]")
@click.option("--profiles-topic", metavar="NAME", help="[default: interest-profiles]")
@click.option(
    "--explain", is_flag=True, help="Two sentences by a language model, from the profile only."
)
@click.option(
    "--model",
    type=click.Path(path_type=Path),
    default=None,
    metavar="DIR",
    help=(
        "With --explain: the model directory, for titles and its language model.  [default: the "
        "demo model]"
    ),
)
@options.language_model
@options.as_json
@options.connection
@options.verbose
def command(
    user: str,
    app_id: str | None,
    profiles_topic: str | None,
    explain: bool,
    model: Path | None,
    language_model: Path | None,
    as_json: bool,
    **connection: Any,
) -> None:
    """Show in words what is held about one user: the state in the changelog, the latest profile.

    \b
    Examples:
      interest-stream inspect --user user-7
      interest-stream inspect --user user-7 --json
      interest-stream inspect --user user-7 --explain --model DIR \\
          --language-model ~/models/SmolLM2-135M-Instruct

    Exit codes: 0 shown, 1 nothing is held, or no broker, 2 wrong use.
    """
    settings = from_environment(**connection, app_id=app_id, profiles_topic=profiles_topic)
    held = asyncio.run(look_up(settings, user))
    for place in held.foreign:
        click.echo(plain(f"left out, not what its topic is for: {place}"), err=True)
    if held.state is not None and held.state.is_marker:
        raise DataError(
            f"nothing is held about user {user!r}: erased on {utc(held.state.erased_ms)} UTC"
            + ("; new events are dropped until 'unsuppress'" if held.state.suppressed else "")
        )
    if held.state is None and held.profile is None:
        raise DataError(
            f"nothing is held about user {user!r} by {settings.app_id}; check --user and --app-id, "
            "or whether the worker has caught up"
        )
    found = as_dictionary(user, held)
    if explain and held.profile is not None:
        found["explanation"] = explanation(held.profile, model, language_model)
    click.echo(plain(json.dumps(found, ensure_ascii=False)) if as_json else in_words(found))


def explanation(
    profile: dict[str, Any], model: Path | None, language_model: Path | None
) -> dict[str, Any]:
    """Returns two sentences and who made them. Raises ModelError, ModelDirectoryError."""
    from models.llm.base_model import load
    from models.llm.explain import explain, facts_of, writer
    from models.model_files import read_titles

    titles, known = read_titles(model)
    place = language_model or known
    if place is None:
        raise ModelError("--explain needs a language model; name one with --language-model PATH")
    text, by_model = explain(facts_of(profile, titles), writer(load(place)))
    return {
        "text": text,
        "by": "language model" if by_model else "rule: what the model said did not hold",
    }


def as_dictionary(user: str, held: Held) -> dict[str, Any]:
    """Returns everything that is held, for a program to read."""
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
    """Returns what the user wants, then what is known, then how it is kept, for a person."""
    state, profile = found["state"], found["profile"]
    parts = [_interests(profile) if profile else ["No profile is published yet."]]
    parts.append(
        _history(state) if state else ["No state is held: the profile is older than the changelog."]
    )
    if "explanation" in found:
        said = found["explanation"]["text"].splitlines()
        parts.insert(1, [*said, f"(by {found['explanation']['by']})"])
    return "\n\n".join("\n".join(map(plain, each)) for each in ([_heading(found)], *parts))


def _heading(found: dict[str, Any]) -> str:
    state = found["state"]
    if not state:
        return str(found["user_id"])
    events = "1 event" if state["count"] == 1 else f"{state['count']:,} events"
    return f"{found['user_id']}: {events}, the last on {utc(state['time'])} UTC"


def _interests(profile: dict[str, Any]) -> list[str]:
    lines = ["Interests now"]
    for each in profile["interests"]:
        filled = round(each["probability"] * BAR)
        bar = "━" * filled + "─" * (BAR - filled)
        name = set_cell_size(plain(each["interest"]), NAME)
        arrow = ARROWS.get(each["trend"], "?")
        lines.append(f"  {name} {bar} {each['probability']:>4.0%} {arrow} {each['trend']}")
    because = [f"{each['action']} {subject(each)}" for each in profile["because"]]
    lines.append(f"Because of   {', '.join(because) or '-'}")
    lines.append(f"Likely next  {', '.join(each['item_id'] for each in profile['items']) or '-'}")
    return lines


def _history(state: dict[str, Any]) -> list[str]:
    kept = state["recent"]
    lines = [f"Last {min(SHOWN, len(kept))} of {len(kept)} events kept"]
    for event in kept[:SHOWN]:
        query = event.get("query")
        what = f"“{query}”" if query else event.get("item or title")
        lines.append(f"  {utc(event['time'])}  {event['action']:<12} {what}")
    return [
        *lines,
        f"Kept as      {state['bytes']:,} bytes in partition {state['partition']}, up to offset "
        f"{state['last_offset']}",
        f"Digest       {state['digest']} of all events; model {state['model_fingerprint']}",
    ]

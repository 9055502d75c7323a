"""Sends requests about users for the commands, and says in words what became of them."""

from __future__ import annotations

import asyncio
import json
import signal
import sys
import time
from collections.abc import Awaitable, Collection
from contextlib import suppress
from typing import TYPE_CHECKING, Any, Final

import click

from stream.config import Settings
from stream.errors import Failure
from stream.plain_text import plain, utc

if TYPE_CHECKING:
    from stream.clients.erasing import Held, Outcome
    from stream.clients.requests import Ask

NAME: Final = 14
MINUTE: Final = "%Y-%m-%d %H:%M UTC"
PROGRESS_S: Final = 0.2
"""Between two lines of progress."""

MOST_PARTITIONS: Final = 4
"""Numbers of partitions that are told one by one."""

STILL_WAITING: Final = 3
"""Exit code of --status where workers have not come to the request."""


def request(settings: Settings, ids: Collection[str], ask: Ask, **how: Any) -> None:
    """Sends requests, waits, prints what became of them and exits; raises Failure."""
    from stream.clients.erasing import ask_workers

    as_json, show = how.pop("as_json"), Progress()
    outcome = run(ask_workers(settings, ids, ask, progress=show, **how))
    show.end()
    tell(outcome, as_json=as_json, wait_s=how["wait_s"])


def run(work: Any) -> Any:
    """Runs a coroutine that Ctrl-C and SIGTERM cancel, and returns what it says then."""

    async def watched(work: Awaitable[Any]) -> Any:
        task = asyncio.ensure_future(work)
        loop = asyncio.get_running_loop()
        for each in (signal.SIGINT, signal.SIGTERM):
            loop.add_signal_handler(each, task.cancel)
        return await task

    try:
        return asyncio.run(watched(work))
    except asyncio.CancelledError:
        raise KeyboardInterrupt from None


class Progress:
    """Shows on standard error how far a command is, on one line, if a person looks at it."""

    def __init__(self) -> None:
        self._shown, self._on = 0.0, sys.stderr.isatty()

    def __call__(self, what: str, done: int, total: int) -> None:
        now = time.monotonic()
        if self._on and now - self._shown > PROGRESS_S:
            self._shown = now
            click.echo(f"\r\x1b[K{plain(what)}: {done:,} of {total:,} ", nl=False, err=True)

    def end(self) -> None:
        """Clears the line."""
        if self._on and self._shown:
            click.echo("\r\x1b[K", nl=False, err=True)


def tell(outcome: Outcome, *, as_json: bool, wait_s: float, status: bool = False) -> None:
    """Prints an outcome and exits with its code; raises Failure where it is not what was asked."""
    for warning in outcome.warnings:
        click.echo(plain(f"warning: {warning}"), err=True)
    if as_json:
        click.echo(plain(json.dumps(outcome.as_json(), ensure_ascii=False)))
    else:
        for line in in_words(outcome):
            click.echo(plain(line))
    if outcome.interrupted and not outcome.dry_run:
        click.echo(_interrupted(outcome), err=True)
        click.get_current_context().exit(130)
    if outcome.dry_run or (outcome.state == "waiting" and not wait_s and not status):
        return
    if outcome.state == "waiting" and status:
        click.echo(f"waiting: {outcome.why}", err=True)
        click.get_current_context().exit(STILL_WAITING)
    if outcome.state != "done":
        raise Failure(_not_done(outcome, wait_s))


def _interrupted(outcome: Outcome) -> str:
    total = len(outcome.requests)
    if outcome.sent == total:
        return (
            f"interrupted; {_requests(total)} in the topic, and workers obey it. "
            f"--status {outcome.ask.request_id} says how far they are"
        )
    return (
        f"interrupted: {outcome.sent:,} of {total:,} requests were sent, and workers obey those. "
        "It is safe to run the command again: a request that is made twice does no harm"
    )


def _requests(count: int) -> str:
    return "the request is" if count == 1 else f"all {count:,} requests are"


def _not_done(outcome: Outcome, wait_s: float) -> str:
    requests = outcome.requests
    refused = sum(each.state == "refused" for each in requests)
    if refused:
        share = f"{refused:,} of {len(requests):,} requests were" if len(requests) > 1 else "it was"
        return f"{share} refused: {outcome.why}"
    waiting = sum(each.state == "waiting" for each in requests)
    share = f"{waiting:,} of {len(requests):,} requests are" if len(requests) > 1 else "it is"
    return (
        f"{share} not obeyed within {wait_s:g} s: {outcome.why}. See later with --status "
        f"{outcome.ask.request_id}"
    )


def in_words(outcome: Outcome) -> list[str]:
    """Returns what was done, then place by place what is left where, and what is not touched."""
    lines = [_headline(outcome)]
    if outcome.sent == 1:
        (one,) = (each for each in outcome.requests if each.offset is not None)
        lines.append(
            f"Request {outcome.ask.request_id}, partition {one.partition}, offset {one.offset}"
        )
    elif outcome.sent:
        lines.append(f"Request {outcome.ask.request_id}, {outcome.sent:,} records")
    if outcome.ask.control == "unsuppress":
        return lines
    lines.append("")
    for held in outcome.places:
        lines += _place(held, outcome)
    if outcome.places:
        lines += ["", "Not touched:", *(f"  {each}" for each in _not_touched())]
    return lines


def _not_touched() -> tuple[str, ...]:
    from stream.clients.erasing import NOT_TOUCHED

    return NOT_TOUCHED


DONE_WORDS: Final = {
    "erase": "erased",
    "suppress": "erased, and new events are dropped",
    "unsuppress": "not suppressed any more",
    "forget": "obeyed",
}


def _headline(outcome: Outcome) -> str:
    many, held = len(outcome.requests), len(outcome.held)
    who = (
        f"User {outcome.requests[0].user}"
        if many == 1
        else f"{many:,} users ({held:,} with a state)"
    )
    nobody = "; nothing was held" if many == 1 and not held else ""
    if outcome.ask.control == "unsuppress":
        nobody = ""
    if outcome.dry_run:
        return f"{who}: nothing was sent (--dry-run){nobody}"
    if outcome.state == "done":
        return f"{who}: {DONE_WORDS[outcome.ask.control]}{nobody}"
    return f"{who}: {outcome.ask.control} was asked for, and is {outcome.state}{nobody}"


def _place(held: Held, outcome: Outcome) -> list[str]:
    place = held.place
    numbers = sorted(place.ranges)
    shown = f"[{','.join(map(str, numbers))}]" if len(numbers) <= MOST_PARTITIONS else ""
    lines = [f"{place.name:<{NAME}}{place.topic}{shown}: {_found(held, outcome)}"]
    if not place.found:
        return lines
    will = "would be " if outcome.dry_run and place.name in ("state", "profile") else ""
    lines.append(f"{'':<{NAME}}{will}{held.done}")
    if held.endless:
        lines.append(f"{'':<{NAME}}it stays without end: see `interest-stream topics check`")
    elif held.gone_by_ms is not None:
        key = "" if held.key_gone_by_ms is None else f", the key by {_minute(held.key_gone_by_ms)}"
        lines.append(f"{'':<{NAME}}can be read until {_minute(held.gone_by_ms)}{key}")
    return lines


def _found(held: Held, outcome: Outcome) -> str:
    place = held.place
    if not place.found:
        return "nothing"
    who = f" of {len(place.users):,} users" if len(outcome.requests) > 1 else ""
    if place.name == "state":
        return f"{held.details['events_kept']:,} events kept of {held.details['events']:,}{who}"
    if place.name == "profile":
        return f"the latest update{who}" if not who else f"{place.found:,} profiles"
    newest = "" if place.newest_ms is None else f", the newest of {utc(place.newest_ms)} UTC"
    return f"{place.found:,} record{'s' if place.found > 1 else ''}{who}{newest}"


def _minute(time_ms: int) -> str:
    with suppress(OverflowError):
        return utc(time_ms + 59_999, MINUTE)
    return f"{time_ms} ms"

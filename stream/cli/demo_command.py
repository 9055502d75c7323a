"""`demo`: the whole pipeline on this machine, live."""

from __future__ import annotations

import asyncio
import json
import signal
import sys
import time
from typing import Any

import click
from rich.console import Console
from rich.live import Live

from stream.cli import options
from stream.demo import Demo, DemoOptions
from stream.view import layout, plain_line

UNATTENDED_S = 60.0


@click.command()
@click.option(
    "--for",
    "seconds",
    type=click.FloatRange(1),
    help="Stop after that many seconds.  [default: Ctrl-C; 60 without a terminal]",
)
@click.option("--users", default=60, show_default=True, type=click.IntRange(1), help="Simulated users.")
@click.option("--rate", default=150.0, show_default=True, type=click.FloatRange(0.1), help="Events/s.")
@click.option("--workers", default=1, show_default=True, type=click.IntRange(1, 4), help="Worker processes.")
@click.option("--model", default="", help="Model directory.  [default: the demo model]")
@click.option("--seed", default=0, show_default=True, help="Of the population.")
@options.as_json
@options.verbose
def command(seconds: float | None, as_json: bool, **given: Any) -> None:
    """Start a real Kafka, workers and a simulated population, and watch interests change.

    \b
    On a terminal a live view until Ctrl-C; otherwise, or with --for, it ends by itself with a summary. Nothing is left running.

    \b
    Examples:
      interest-stream demo
      interest-stream demo --for 60 --json
      interest-stream demo --users 500 --rate 2000 --workers 2

    Exit codes: 0 every event sent was applied, 1 one was not, or something failed, 2 wrong use.
    """
    live = sys.stdout.isatty() and not as_json
    if seconds is None and not live:
        seconds = UNATTENDED_S
    summary = asyncio.run(_run(DemoOptions(seconds=seconds, **given), live, as_json))
    click.echo(json.dumps(summary) if as_json else _readable(summary))
    click.get_current_context().exit(0 if summary["complete"] else 1)


async def _run(demo_options: DemoOptions, live: bool, as_json: bool) -> dict[str, Any]:
    console = Console(stderr=as_json)
    screen = Live(console=console, auto_refresh=False, screen=True) if live else None
    told = 0.0

    def say(text: str) -> None:
        console.print(f"[dim]{text} ...[/dim]")

    def show(demo: Demo) -> None:
        nonlocal told
        now = time.monotonic()
        if screen is not None:
            if demo.tracker.first_update_at is not None:
                screen.start()
                screen.update(
                    layout(demo.tracker, demo.titles, demo.views, now, demo.elapsed_s, console.width, console.height),
                    refresh=True,
                )
        elif demo.tracker.sent and now - told >= 1:
            told = now
            click.echo(plain_line(demo.tracker, demo.views, now, demo.elapsed_s), err=as_json)

    demo = Demo(demo_options, say, show)
    loop = asyncio.get_running_loop()
    for each in (signal.SIGINT, signal.SIGTERM):
        loop.add_signal_handler(each, demo.interrupt)
    try:
        return await demo.run()
    finally:
        if screen is not None:
            screen.stop()


def _readable(summary: dict[str, Any]) -> str:
    verdict = "every event was applied" if summary["complete"] else "NOT EVERY EVENT WAS APPLIED"
    return (
        f"{summary['events_sent']:,} events sent, {summary['events_applied']:,} applied: {verdict}\n"
        f"{summary['updates_seen']:,} updates of {summary['users']:,} users in {summary['seconds']} s, "
        f"{summary['events_per_s']:,} events/s\n"
        f"event to update p50 {summary['latency_p50_ms']} ms, p99 {summary['latency_p99_ms']} ms; first update "
        f"{summary['first_update_after_s']} s after the start\n"
        f"the tracked top interest was the simulated truth {summary['top_interest_is_truth']:.0%} of the time "
        f"(category of the last event: {summary['last_category_is_truth']:.0%})"
    )

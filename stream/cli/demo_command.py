"""`demo`: runs the whole pipeline on this machine and shows it live."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any, Final

import click
from rich.console import Console, RenderableType
from rich.live import Live

from stream.cli import options
from stream.demo.run import Demo, DemoOptions
from stream.demo.view import layout, plain_line, svg

UNATTENDED_S: Final = 60.0
PICTURE_SIZE: Final = (118, 34)


@click.command()
@click.option(
    "--for",
    "seconds",
    type=click.FloatRange(1),
    help="Stop after that many seconds.  [default: Ctrl-C; 60 without a terminal]",
)
@click.option(
    "--users", default=60, show_default=True, type=click.IntRange(1), help="Simulated users."
)
@click.option(
    "--rate", default=150.0, show_default=True, type=click.FloatRange(0.1), help="Events/s."
)
@click.option(
    "--workers", default=1, show_default=True, type=click.IntRange(1, 4), help="Worker processes."
)
@click.option(
    "--model",
    type=click.Path(exists=True, file_okay=False, path_type=Path),
    help="Model directory, trained on the simulation.  [default: the demo model]",
)
@click.option("--seed", default=0, show_default=True, help="Of the population.")
@click.option(
    "--picture",
    type=click.Path(dir_okay=False, path_type=Path),
    help="Draw the last view as an SVG.",
)
@options.as_json
@options.verbose
def command(
    seconds: float | None, model: Path | None, picture: Path | None, as_json: bool, **given: Any
) -> None:
    """Start a real Kafka, workers and a simulated population, and watch interests change.

    A page shows every user in a browser, at the address that is printed. On a terminal there is a
    live view until Ctrl-C. Without a terminal, or with --for, a line a second, and the end comes by
    itself. A summary closes both, and nothing is left running.

    \b
    Examples:
      interest-stream demo
      interest-stream demo --for 60 --json
      interest-stream demo --users 500 --rate 2000 --workers 2

    Exit codes: 0 every event sent was applied, 1 one was not, or something failed, 2 wrong use, 130
    ended before the first event.
    """
    live = _is_live_terminal() and seconds is None and not as_json
    if seconds is None and not live:
        seconds = UNATTENDED_S
    view = (LiveView if live else Lines)(Console(stderr=as_json, highlight=False))
    demo = Demo(
        DemoOptions(seconds=seconds, model=str(model or ""), **given), view.announce, view.show
    )
    try:
        summary = demo.run()
    except KeyboardInterrupt:
        click.echo("ended before the first event; nothing is left running", err=True)
        raise
    finally:
        view.close()
    if picture and view.seen:
        picture.write_text(svg(view.seen, *PICTURE_SIZE, "make demo"), encoding="utf-8")
    click.echo(json.dumps(summary) if as_json else _readable(summary))
    click.get_current_context().exit(0 if summary["complete"] else 1)


def _is_live_terminal() -> bool:
    return sys.stdout.isatty() and not Console().is_dumb_terminal


class Lines:
    """Shows the demo as a line a second."""

    def __init__(self, console: Console) -> None:
        self._console, self._shown_at, self._page = console, 0.0, ""
        self.seen: RenderableType | None = None  # for a picture

    def announce(self, text: str) -> None:
        """Prints what is being done."""
        self._console.print(f"{text} ...", style="dim")

    def show(self, demo: Demo) -> None:
        """Prints the figures, if the last are a second old."""
        scene = demo.scene()
        self._keep(demo)
        if scene.page and not self._page:
            self._page = scene.page
            self._console.print(f"the page: {scene.page}")
        if demo.sending and scene.now - self._shown_at >= 1:
            self._shown_at = scene.now
            click.echo(plain_line(scene), err=self._console.stderr)

    def _keep(self, demo: Demo) -> None:
        if demo.sending:
            self.seen = layout(demo.scene(), *PICTURE_SIZE)

    def close(self) -> None:
        """Does nothing: lines leave nothing to put back."""


class LiveView(Lines):
    """Shows the demo on the whole terminal, whatever its size, and puts it back at the end."""

    def __init__(self, console: Console) -> None:
        super().__init__(console)
        self._screen = Live(console=console, auto_refresh=False, screen=True)

    def announce(self, text: str) -> None:
        """Prints what is being done, outside of the view."""
        self.close()
        super().announce(text)

    def show(self, demo: Demo) -> None:
        """Draws the screen, from the first update on."""
        if demo.tracker.first_update_at is not None:
            self._screen.start()
            self._screen.update(layout(demo.scene(), *self._console.size), refresh=True)
        self._keep(demo)

    def close(self) -> None:
        """Gives the terminal back."""
        self._screen.stop()


def _readable(summary: dict[str, Any]) -> str:
    verdict = "every event was applied" if summary["complete"] else "NOT EVERY EVENT WAS APPLIED"
    return (
        f"{summary['events_sent']:,} events sent, {summary['events_applied']:,} applied: "
        f"{verdict}\n"
        f"{summary['updates_seen']:,} updates of {summary['users']:,} users in "
        f"{summary['seconds']} s, "
        f"{summary['events_per_s']:,} events/s\n"
        f"event to update p50 {summary['latency_p50_ms']} ms, p99 {summary['latency_p99_ms']} ms; "
        "first update "
        f"{summary['first_update_after_s']} s after the start\n"
        f"the tracked top interest was the simulated truth {summary['top_interest_is_truth']:.0%} "
        "of the time\n"
        f"(the category of the last event: {summary['last_category_is_truth']:.0%}, always the "
        "most popular interest: "
        f"{summary['most_popular_is_truth']:.0%})"
    )

"""Lays out what a comparison found: tables for the terminal and for Markdown.

It also warns where ratios have fallen; `tests.benchmarks.compare` is the command that uses it.
"""

from __future__ import annotations

import statistics
from collections.abc import Iterator
from typing import Any, Final

import click
from rich.console import Console
from rich.table import Column, Table

Run = dict[str, Any]
Groups = dict[tuple[str, int], dict[str, list[float]]]
"""Events/s of all repeats: {(model, users): {form: rates}}."""

COLUMNS: Final = (
    "form",
    "events/s",
    "least",
    "most",
    "runs",
    "ours is",
    "events a batch",
    "memory, MB",
)
WIDTH: Final = 125
FALLEN: Final = 0.8
"""Share of the recorded ratio below which there is a warning."""


def say(text: str) -> None:
    """Writes to standard error, so that tables can be redirected."""
    click.echo(text, err=True)


def grouped(runs: list[Run]) -> Groups:
    """Returns events/s of all repeats, by model and number of users, and by form."""
    groups: Groups = {}
    for run in runs:
        if "failed" not in run:
            groups.setdefault((run["model"], run["users"]), {}).setdefault(run["form"], []).append(
                run["events_per_s"]
            )
    return groups


def _rows(runs: list[Run]) -> Iterator[tuple[str, list[tuple[str, ...]]]]:
    """Yields a title and rows for each model and number of users."""
    for (model, users), forms in grouped(runs).items():
        ours = statistics.median(forms.get("interest-stream", [float("nan")]))
        rows = []
        for name, rates in forms.items():
            median = statistics.median(rates)
            same = [
                run
                for run in runs
                if (run["form"], run["model"], run["users"]) == (name, model, users)
            ]
            batch, memory = (
                statistics.median(run.get(field, 0) for run in same)
                for field in ("events_per_batch", "memory_mb")
            )
            ratio = (
                f"{ours / median:.2f}x"
                if median and name != "interest-stream" and ours == ours
                else ""
            )
            figures = (f"{each:,.0f}" for each in (median, min(rates), max(rates), len(rates)))
            rows.append((name, *figures, ratio, f"{batch:,.0f}", f"{memory:,.0f}"))
        yield f"{model} model, {users:,} users", rows


def show(runs: list[Run]) -> None:
    """Prints tables for a terminal."""
    for title, rows in _rows(runs):
        table = Table(*(Column(name, no_wrap=True) for name in COLUMNS), title=title)
        for row in rows:
            table.add_row(*row)
        Console(width=WIDTH).print(table)


def show_markdown(runs: list[Run]) -> None:
    """Prints the same for docs/measured/speed.md."""
    for title, rows in _rows(runs):
        click.echo(
            f"{title[0].upper()}{title[1:]}:\n\n| {' | '.join(COLUMNS)} |\n|{'---|' * len(COLUMNS)}"
        )
        for name, *figures in rows:
            shown = f"**{name}**" if name.startswith("interest-stream") else name
            click.echo(f"| {' | '.join((shown, *figures))} |")
        click.echo()


def show_kills(runs: list[Run]) -> None:
    """Prints what each form lost and doubled."""
    table = Table(
        "form",
        "events lost",
        "events doubled",
        "users wrong",
        "first update after, s",
        title="kill -9, started again",
    )
    for run in runs:
        table.add_row(
            run["form"],
            *(f"{run[name]:,}" for name in ("lost", "doubled", "users_wrong", "resumed_s")),
        )
    Console().print(table)


def warn_of_regressions(groups: Groups, recorded: dict[str, dict[str, float]]) -> None:
    """Compares ratios, not times, with recorded ones, and writes a line for each.

    A ratio is our rate by the other's, of the best run of each.
    """
    for (model, users), forms in groups.items():
        rates = {name: max(values) for name, values in forms.items()}
        for name, before in recorded.get(f"{model} {users}", {}).items():
            if rates.get(name) and rates.get("interest-stream"):
                ratio = rates["interest-stream"] / rates[name]
                word = "WARNING: fell" if ratio < FALLEN * before else "ok"
                say(f"{model} model, against {name!r}: {ratio:.2f}, recorded {before:.2f}: {word}")

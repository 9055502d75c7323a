"""Shows what `train` and `evaluate` find: tables, and progress.

Progress is bars on a terminal, and a line an epoch elsewhere.
"""

from __future__ import annotations

import sys
from collections.abc import Iterable
from contextlib import AbstractContextManager
from pathlib import Path
from types import TracebackType
from typing import Any, Final

import click
from rich.console import Console
from rich.progress import (
    BarColumn,
    MofNCompleteColumn,
    Progress,
    TaskID,
    TextColumn,
    TimeElapsedColumn,
)
from rich.table import Table as Grid

from models.evaluation import Table, calibration_words, reasons, result_tables, trials_table
from stream.plain_text import plain

WIDE: Final = 130
"""The width in cells that the tables of results take with everything in them."""


def print_training(out: Path, report: dict[str, Any]) -> None:
    """Prints what a training found: trials, results, verdict, and where the model is."""
    print_tables([trials_table(report.get("settings", {}).get("trials", []))])
    print_results(report["evaluation"])
    for line in [
        *report["evaluation"]["verdict"],
        *reasons(report),
        *calibration_words(report),
    ]:
        click.echo(line)
    click.echo(
        f"\nTrained in {report['seconds']:.0f} s. Model: {out}. Report: {out / 'report.html'}"
    )


def print_private_training(out: Path, report: dict[str, Any]) -> None:
    """Prints what a training with a privacy budget found, and what the budget is of."""
    print_results(report["evaluation"])
    for line in report["evaluation"]["verdict"]:
        click.echo(line)
    privacy = report["privacy"]
    click.echo(
        f"\nEpsilon {privacy['epsilon']:g}, delta {privacy['delta']:g}, for {privacy['unit']}.\n"
        f"Released: {'; '.join(privacy['releases'])}.\n"
        f"Not trained: {'; '.join(privacy['not_trained'])}.\n"
        f"Not covered: {'; '.join(privacy['outside'])}.\n"
        f"Trained in {report['seconds']:.0f} s. Model: {out}."
    )


def print_samples(preparation: dict[str, Any]) -> None:
    """Prints the first bad lines of event and catalogue files, on standard error."""
    for line in [
        *preparation.get("bad_line_samples", []),
        *preparation.get("catalogue_problem_samples", []),
    ]:
        click.echo(plain(f"  {line}"), err=True)


def print_results(evaluation: dict[str, Any]) -> None:
    """Prints the tables of an evaluation, as many figures as the terminal is wide."""
    print_tables(result_tables(evaluation, wide=_console().width >= WIDE))


def print_tables(tables: Iterable[Table]) -> None:
    """Prints tables on standard output; those without rows are left out."""
    console = _console()
    for table in tables:
        if not table.rows:
            continue
        grid = Grid(
            box=None, pad_edge=False, title=table.title, title_justify="left", title_style="bold"
        )
        for place, name in enumerate(table.header):
            column = [row[place] for row in table.rows]
            grid.add_column(
                name,
                justify="right" if place and _numbers(table, place) else "left",
                no_wrap=not place and len(max(column, key=len)) < 40,
            )
        for row in table.rows:
            grid.add_row(*(plain(cell).replace("[", r"\[") for cell in row))
        console.print(grid)
        if table.note:
            console.print(table.note, style="dim", markup=False)
        console.print()


def _console() -> Console:
    """Returns a console as wide as the terminal, or as everything needs where there is none."""
    return Console(highlight=False, width=None if sys.stdout.isatty() else 160)


def _numbers(table: Table, column: int) -> bool:
    return any(row[column][:1].isdigit() for row in table.rows)


class ProgressView(AbstractContextManager["ProgressView"]):
    """Shows progress on standard error; called as (stage, done, total, figures)."""

    def __init__(self) -> None:
        self._bars = sys.stderr.isatty()
        self._tasks: dict[str, TaskID] = {}
        self._shown: dict[str, int] = {}
        self._progress = Progress(
            TextColumn("{task.description:<10}"),
            BarColumn(),
            MofNCompleteColumn(),
            TimeElapsedColumn(),
            TextColumn("{task.fields[figures]}"),
            console=Console(stderr=True),
        )

    def __enter__(self) -> ProgressView:
        return self  # bars begin with the first stage: a view of nothing shows nothing

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        if self._tasks:
            self._progress.stop()

    def __call__(
        self, stage: str, done: int, total: int, figures: dict[str, Any] | None = None
    ) -> None:
        """Shows how far a stage is.

        Epochs give figures and a line each; counting stages give a line when they are through.
        """
        text = " ".join(
            f"{name} {value}"
            for name, value in (figures or {}).items()
            if not isinstance(value, dict)
        )
        if self._bars:
            if not self._tasks:
                self._progress.start()
            if stage not in self._tasks:
                self._tasks[stage] = self._progress.add_task(stage, total=total, figures="")
            self._progress.update(self._tasks[stage], completed=done, total=total, figures=text)
        elif done and (text or done == total) and self._shown.get(stage) != done:
            self._shown[stage] = done
            click.echo(f"{stage} {done}/{total} {text}".rstrip(), err=True)

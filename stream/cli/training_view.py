"""What `train` and `evaluate` show: tables, and progress as bars on a terminal or a line an epoch elsewhere."""

from __future__ import annotations

import sys
from collections.abc import Iterable
from contextlib import AbstractContextManager
from types import TracebackType
from typing import Any, Final

import click
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TaskID, TextColumn, TimeElapsedColumn
from rich.table import Table as Grid

from models.report import Table, result_tables

WIDE: Final = 130
"""Columns that the tables of results take with everything in them."""


def print_results(evaluation: dict[str, Any]) -> None:
    """The tables of an evaluation, as many figures as the terminal is wide."""
    print_tables(result_tables(evaluation, wide=_console().width >= WIDE))


def print_tables(tables: Iterable[Table]) -> None:
    """On standard output."""
    console = _console()
    for table in tables:
        if not table.rows:
            continue
        grid = Grid(box=None, pad_edge=False, title=table.title, title_justify="left", title_style="bold")
        for place, name in enumerate(table.header):
            column = [row[place] for row in table.rows]
            grid.add_column(
                name,
                justify="right" if place and _numbers(table, place) else "left",
                no_wrap=not place and len(max(column, key=len)) < 40,
            )
        for row in table.rows:
            grid.add_row(*(cell.replace("[", r"\[") for cell in row))
        console.print(grid)
        if table.note:
            console.print(table.note, style="dim", markup=False)
        console.print()


def _console() -> Console:
    """As wide as the terminal; as wide as everything needs where it is none."""
    return Console(highlight=False, width=None if sys.stdout.isatty() else 160)


def _numbers(table: Table, column: int) -> bool:
    return any(row[column][:1].isdigit() for row in table.rows)


class ProgressView(AbstractContextManager["ProgressView"]):
    """Called as (stage, done, total, figures); writes to standard error."""

    def __init__(self) -> None:
        self._bars = sys.stderr.isatty()
        self._tasks: dict[str, TaskID] = {}
        self._said: dict[str, int] = {}
        self._progress = Progress(
            TextColumn("{task.description:<10}"),
            BarColumn(),
            MofNCompleteColumn(),
            TimeElapsedColumn(),
            TextColumn("{task.fields[figures]}"),
            console=Console(stderr=True),
        )

    def __enter__(self) -> ProgressView:
        if self._bars:
            self._progress.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        if self._bars:
            self._progress.stop()

    def __call__(self, stage: str, done: int, total: int, figures: dict[str, Any] | None = None) -> None:
        """Epochs give figures and a line each; counting stages give a line when they are through."""
        text = " ".join(f"{name} {value}" for name, value in (figures or {}).items() if not isinstance(value, dict))
        if self._bars:
            if stage not in self._tasks:
                self._tasks[stage] = self._progress.add_task(stage, total=total, figures="")
            self._progress.update(self._tasks[stage], completed=done, total=total, figures=text)
        elif done and (text or done == total) and self._said.get(stage) != done:
            self._said[stage] = done
            click.echo(f"{stage} {done}/{total} {text}".rstrip(), err=True)

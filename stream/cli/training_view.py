"""What `train` and `evaluate` show: tables, and progress as bars on a terminal or a line an epoch elsewhere."""

from __future__ import annotations

import sys
from collections.abc import Iterable
from contextlib import AbstractContextManager
from types import TracebackType
from typing import Any

import click
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TaskID, TextColumn, TimeElapsedColumn
from rich.table import Table as Grid

from models.report import Table


def print_tables(tables: Iterable[Table]) -> None:
    """On standard output, as wide as they need where it is no terminal."""
    console = Console(highlight=False, width=None if sys.stdout.isatty() else 160)
    for table in tables:
        if not table.rows:
            continue
        grid = Grid(box=None, pad_edge=False, title=table.title, title_justify="left", title_style="bold")
        for place, name in enumerate(table.header):
            grid.add_column(name, justify="left" if place == 0 or not _numbers(table, place) else "right")
        for row in table.rows:
            grid.add_row(*(cell.replace("[", r"\[") for cell in row))
        console.print(grid)
        if table.note:
            console.print(table.note, style="dim", markup=False)
        console.print()


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

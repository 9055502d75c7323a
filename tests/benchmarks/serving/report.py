"""Keeps the figures of a measurement, and which of its parts are done, in its folder."""

from __future__ import annotations

import json
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import click

from tests.benchmarks.serving.open_loop import percentile

Row = dict[str, Any]


def say(text: str) -> None:
    """Writes to standard error, so that the rows can be redirected."""
    click.echo(text, err=True)


@dataclass
class Report:
    """Holds the figures, as rows, and what was wrong."""

    path: Path
    rows: list[Row] = field(default_factory=list)
    wrong: list[str] = field(default_factory=list)
    done: list[str] = field(default_factory=list)  # parts

    @classmethod
    def of(cls, folder: Path) -> Report:
        """Returns the report of a folder, an empty one if nothing was measured there."""
        path = folder / "report.json"
        found = json.loads(path.read_text(encoding="utf-8")) if path.exists() else {}
        return cls(path, **found)

    def end(self, part: str) -> None:
        """Notes that a part is done; the next run of this folder goes on behind it."""
        self.done.append(part)
        held = {"rows": self.rows, "wrong": self.wrong, "done": self.done}
        self.path.write_text(json.dumps(held), encoding="utf-8")

    def add(self, condition: str, figure: str, unit: str, value: float) -> None:
        """Takes a figure and says it."""
        self.rows.append({"condition": condition, "figure": figure, "unit": unit, "value": value})
        say(f"  {figure}: {value:,.2f} {unit}")

    def add_spread(self, condition: str, what: str, seconds: list[float]) -> None:
        """Takes the middle and the end of latencies."""
        for name, share in (("p50", 0.5), ("p99", 0.99)):
            self.add(condition, f"{what}, {name}", "ms", percentile(seconds, share) * 1000)

    def check(self, holds: bool, what: str) -> None:
        """Notes what was wrong."""
        if not holds:
            self.wrong.append(what)
            say(f"  WRONG: {what}")

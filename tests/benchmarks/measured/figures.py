"""Answers what tables ask of the rows: means over seeds, the best baseline, medians of repeats."""

from __future__ import annotations

import statistics
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tests.benchmarks.measured.rows import ROWS, Measured, Run, load

Row = dict[str, Any]


@dataclass(frozen=True, slots=True)
class Spread:
    """A figure of several runs."""

    middle: float
    least: float
    most: float
    runs: int


class Figures:
    """Reads the rows of a folder, each file once."""

    def __init__(self, folder: Path = ROWS) -> None:
        self._folder = folder
        self._read: dict[str, Measured | None] = {}

    def runs(self, name: str) -> list[Run]:
        """Returns the runs of a file; none where nothing was measured."""
        if name not in self._read:
            self._read[name] = load(name, self._folder)
        found = self._read[name]
        return found["runs"] if found else []

    def answers(self, study: str, way: str = "") -> Answers | None:
        """Returns what the models of a study answered, or None where none was asked that way.

        way: "" for the report of the training, else "live", "new_items" or "new_items_live".
        """
        found = [run[way] if way else run for run in self.runs(f"accuracy-{study}")]
        return Answers(found) if found else None

    def spread(self, name: str, figure: str, /, **where: Any) -> Spread | None:
        """Returns median, least and most of a figure over the rows that are as `where` says."""
        rows = (row for run in self.runs(name) for row in run["rows"])
        return _spread(
            row[figure]
            for row in rows
            if row.get(figure) is not None
            and all(row.get(key) == value for key, value in where.items())
        )

    def named(self, name: str, ending: str) -> Spread | None:
        """Returns the same of rows of `bench conditions`, whose figure ends like this."""
        rows = (row for run in self.runs(name) for row in run["rows"])
        return _spread(row["value"] for row in rows if row["figure"].endswith(ending))


class Answers:
    """Holds what the models of one study answered, one model a seed."""

    def __init__(self, runs: list[Run]) -> None:
        self._runs = runs
        self.seeds = len(runs)
        self.cases: int = runs[0]["cases"]
        scorers: list[str] = [row["name"] for row in runs[0]["rows"]]
        self.models = [name for name in scorers if name.startswith("model")]
        self.baselines = [name for name in scorers if name not in self.models]
        self.counters: list[str] = [
            row["name"] for row in runs[0]["interests"] if not row["name"].startswith("model")
        ]

    def of(self, scorer: str, measure: str) -> Spread:
        """Returns a measure of next items over the seeds; its middle is the mean."""
        return self._over_seeds("rows", scorer, measure)

    def of_interests(self, scorer: str, measure: str) -> Spread:
        """Returns a measure of interests over the seeds; its middle is the mean."""
        return self._over_seeds("interests", scorer, measure)

    @property
    def reliability(self) -> list[tuple[int, Row]]:
        """Returns each seed with how reliable its published interests are, where it was asked."""
        return [
            (run.get("seed", 0), run["reliability"]) for run in self._runs if "reliability" in run
        ]

    def best_baseline(self, measure: str) -> str:
        """Returns the name of the baseline that is first by this measure."""
        return max(self.baselines, key=lambda name: self.of(name, measure).middle)

    def ahead(self, baseline: str, measure: str) -> tuple[float, float]:
        """Returns how far the model is ahead: the outermost ends of the seeds' 95 % intervals."""
        ends = [
            self._row(run, "rows", baseline)[f"model minus this, {measure}"] for run in self._runs
        ]
        return min(low for low, _ in ends), max(high for _, high in ends)

    def is_ahead_of_all(self, measures: Iterable[str] = ("HR@10", "NDCG@10")) -> bool:
        """Returns whether each seed is ahead of each baseline by more than chance."""
        return all(
            self.ahead(baseline, measure)[0] > 0
            for baseline in self.baselines
            for measure in measures
        )

    def _over_seeds(self, table: str, scorer: str, measure: str) -> Spread:
        values = [self._row(run, table, scorer)[measure] for run in self._runs]
        return Spread(statistics.fmean(values), min(values), max(values), len(values))

    @staticmethod
    def _row(run: Run, table: str, scorer: str) -> Row:
        return next(row for row in run[table] if row["name"] == scorer)


def _spread(values: Iterable[float]) -> Spread | None:
    found = list(values)
    if not found:
        return None
    return Spread(statistics.median(found), min(found), max(found), len(found))

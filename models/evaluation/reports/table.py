"""Defines the tables of text that reports consist of, and how their figures are written.

They are shown on a terminal and in the page of page.py. The tables of a training are laid out in
training.py, those of an evaluation in results.py, and those of two models compared, of an ablation,
of drift and of explanations in studies.py. All functions are pure: from a report (a JSON object) to
text.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime

Row = Sequence[str]


@dataclass(frozen=True)
class Table:
    """Holds rows of texts under a header; a column whose cells are numbers is set to the right."""

    title: str
    header: Row
    rows: Sequence[Row]
    note: str = ""


def moment(time_ms: int) -> str:
    """Returns a time in milliseconds as date and minute, UTC."""
    return datetime.fromtimestamp(time_ms / 1000, UTC).strftime("%Y-%m-%d %H:%M")


def interval(pair: Sequence[float]) -> str:
    """Returns the two ends of an interval."""
    return f"{pair[0]:.4f}..{pair[1]:.4f}"


def signed(pair: Sequence[float] | None) -> str:
    """Returns the interval of a difference with its signs; nothing if there is none."""
    return "" if pair is None else f"{pair[0]:+.4f}..{pair[1]:+.4f}"


def verdict_on(pair: Sequence[float]) -> str:
    """Returns whether two models differ, from the interval of their difference."""
    return "differ" if pair[0] > 0 or pair[1] < 0 else "not told apart"

"""Shows what `evaluate` measured, as tables on the terminal or as an HTML page."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click

from models.evaluation import (
    ablation_table,
    comparison_table,
    drift_page,
    drift_tables,
    evaluation_page,
    explanations_table,
    membership_table,
    preparation_tables,
)
from stream.cli.training_view import print_results, print_tables
from stream.errors import UsageError
from stream.plain_text import plain


def print_model(report: dict[str, Any]) -> None:
    """Prints the evaluation of a model: its data, results, verdict and notes."""
    print_tables(preparation_tables(report["preparation"]))
    print_results(report)
    for line in [*report["verdict"], *report["notes"]]:
        click.echo(plain(line))


def print_comparison(report: dict[str, Any]) -> None:
    """Prints two models side by side."""
    print_tables([comparison_table(report)])
    for line in report["notes"]:
        click.echo(plain(line))


def print_parts(report: dict[str, Any]) -> None:
    """Prints every scorer alone and the blend without one."""
    print_tables([ablation_table(report)])
    for line in report["notes"]:
        click.echo(plain(line))


def print_drift(report: dict[str, Any]) -> None:
    """Prints how soon changed interests are named."""
    print_tables(drift_tables(report))


def print_explanations(report: dict[str, Any]) -> None:
    """Prints what removing the events named as causes does."""
    print_tables([explanations_table(report)])


def print_membership(report: dict[str, Any]) -> None:
    """Prints whether losses tell who was trained on."""
    print_tables([membership_table(report)])
    for line in report["notes"]:
        click.echo(plain(line))


def print_predictions(report: dict[str, Any]) -> None:
    """Prints a line for each figure of a worker's updates."""
    for name, value in report.items():
        if name in ("interests", "first interest"):
            for inner, figure in value.items():
                if inner not in ("calibration", "bins"):
                    click.echo(f"{name}, {inner}: {_figure(figure)}")
        elif value not in ({}, ""):
            figure = f"{value:.4f}" if isinstance(value, float) else plain(value)
            click.echo(f"{name.replace('_', ' ')}: {figure}")


def _figure(value: object) -> str:
    """Returns a figure as text; of a pair both, from and to."""
    if isinstance(value, tuple | list):
        return " .. ".join(map(_figure, value))
    return f"{value:.4f}" if isinstance(value, float) else str(value)


def write_page(path: Path, report: dict[str, Any], of_drift: bool) -> None:
    """Writes an evaluation, or one of drift, as an HTML page. Raises UsageError."""
    text = (
        drift_page("Changed interests", report)
        if of_drift
        else evaluation_page("Evaluation", report)
    )
    try:
        path.write_text(text, encoding="utf-8")
    except OSError as error:
        raise UsageError(f"--html {path} cannot be written: {error.strerror}") from None

"""The report of a training or an evaluation as one HTML page that needs nothing else. Pure: from a JSON object to text."""

from __future__ import annotations

import html
from collections.abc import Iterable
from typing import Any, Final

from models.report import (
    Row,
    Table,
    blend_table,
    example_table,
    preparation_tables,
    reasons,
    result_tables,
    trials_table,
)

_STYLE: Final = """
body{font:15px/1.5 system-ui,sans-serif;max-width:60rem;margin:2rem auto;padding:0 1rem;color:#222;background:#fff}
table{border-collapse:collapse;margin:.5rem 0 1.5rem}td,th{padding:.2rem .8rem .2rem 0;text-align:left;border-bottom:1px solid #ddd}
td.number,th.number{text-align:right;font-variant-numeric:tabular-nums}caption{text-align:left;font-weight:600;padding:.3rem 0}
svg{background:#fafafa;border:1px solid #ddd;margin:.3rem 1rem .3rem 0}p.note{color:#555}
"""
_COLOURS: Final = ("#1f77b4", "#d62728", "#2ca02c", "#9467bd", "#ff7f0e")
_WIDTH, _HEIGHT, _EDGE = 360, 200, 34


def to_html(title: str, report: dict[str, Any]) -> str:
    """One page: data, settings, curves, results, calibration, verdict."""
    parts = [f"<h1>{html.escape(title)}</h1>"]
    if report.get("evaluation"):
        lines = [*report["evaluation"]["verdict"], *(reasons(report) if report.get("curves") else [])]
        parts += [f"<p>{html.escape(line)}</p>" for line in lines]
        parts += map(_html_table, result_tables(report["evaluation"]))
        parts.append(_calibration(report["evaluation"]["interests"]["calibration"]))
    if report.get("examples"):
        parts.append(_html_table(example_table(report["examples"])))
    if report.get("preparation"):
        parts.append("<h2>Data</h2>")
        parts += map(_html_table, preparation_tables(report["preparation"]))
    if report.get("curves"):
        parts.append("<h2>Training</h2>")
        parts += [_curve(stage, points) for stage, points in report["curves"].items() if points]
    if report.get("settings"):
        parts += [f"<p>{html.escape(line)}</p>" for line in report["settings"]["reasons"]]
        parts.append(_html_table(trials_table(report["settings"]["trials"])))
    if report.get("blend"):
        parts.append(_html_table(blend_table(report["blend"])))
    if report.get("config"):
        rows = [(name, str(value)) for name, value in report["config"].items()]
        parts.append(_html_table(Table("All settings", ("setting", "value"), rows)))
    head = f'<!doctype html><html lang="en"><meta charset="utf-8"><title>{html.escape(title)}</title><style>{_STYLE}</style>'
    return head + "\n".join(parts) + "</html>\n"


def _html_table(table: Table) -> str:
    if not table.rows:
        return ""
    right = [
        any(row[column][:1].isdigit() or row[column][:1] in "+-" for row in table.rows if row[column])
        for column in range(len(table.header))
    ]

    def cells(row: Row, tag: str) -> str:
        return "".join(
            f"<{tag}{' class=number' if number else ''}>{html.escape(cell)}</{tag}>"
            for cell, number in zip(row, right, strict=True)
        )

    body = "".join(f"<tr>{cells(row, 'td')}</tr>" for row in table.rows)
    note = f'<p class="note">{html.escape(table.note)}</p>' if table.note else ""
    return (
        f"<table><caption>{html.escape(table.title)}</caption><tr>{cells(table.header, 'th')}</tr>{body}</table>{note}"
    )


def _curve(stage: str, points: list[dict[str, Any]]) -> str:
    """Each figure of a stage over its epochs, one small chart each."""
    figures = [name for name, value in points[0].items() if isinstance(value, int | float)]
    charts = [
        _chart(
            f"{stage}: {name}",
            [(float(epoch + 1), float(point[name])) for epoch, point in enumerate(points) if name in point],
        )
        for name in figures
    ]
    return "".join(charts)


def _calibration(bins: list[dict[str, float]]) -> str:
    points = [(each["probability"], each["happened"]) for each in bins]
    return "<h2>Calibration</h2>" + _chart("said and happened", points, square=True)


def _chart(title: str, points: Iterable[tuple[float, float]], *, square: bool = False) -> str:
    xs, ys = zip(*points, strict=True) if (points := list(points)) else ((0.0,), (0.0,))
    low_x, high_x = (0.0, 1.0) if square else (min(xs), max(xs))
    low_y, high_y = (0.0, 1.0) if square else (min(ys), max(ys))
    span_x, span_y = (high_x - low_x) or 1.0, (high_y - low_y) or 1.0

    def place(x: float, y: float) -> tuple[float, float]:
        right = _EDGE + (x - low_x) / span_x * (_WIDTH - 2 * _EDGE)
        return round(right, 1), round(_HEIGHT - _EDGE - (y - low_y) / span_y * (_HEIGHT - 2 * _EDGE), 1)

    spots = [place(x, y) for x, y in zip(xs, ys, strict=True)]
    line = " ".join(f"{x},{y}" for x, y in spots)
    ideal = "{},{} {},{}".format(*place(0, 0), *place(1, 1)) if square else ""
    dots = "".join(f'<circle cx="{x}" cy="{y}" r="2.5" fill="{_COLOURS[0]}"/>' for x, y in spots)
    return (
        f'<svg width="{_WIDTH}" height="{_HEIGHT}" font-size="11" font-family="sans-serif" role="img">'
        f'<text x="{_EDGE}" y="18" font-weight="bold">{html.escape(title)}</text>'
        f'<text x="2" y="{_HEIGHT - _EDGE}">{low_y:.3g}</text><text x="2" y="{_EDGE}">{high_y:.3g}</text>'
        f'<text x="{_EDGE}" y="{_HEIGHT - 8}">{low_x:.3g}</text>'
        f'<text x="{_WIDTH - _EDGE}" y="{_HEIGHT - 8}" text-anchor="end">{high_x:.3g}</text>'
        f'<polyline points="{ideal}" fill="none" stroke="#bbb" stroke-dasharray="4"/>'
        f'<polyline points="{line}" fill="none" stroke="{_COLOURS[0]}" stroke-width="1.5"/>{dots}</svg>'
    )

"""Writes the report of a training or an evaluation as one HTML page that needs nothing else.

All functions are pure: from a report (a JSON object) to text.
"""

from __future__ import annotations

import html
from typing import Any, Final

from models.evaluation.reports.charts import line_chart
from models.evaluation.reports.results import result_tables
from models.evaluation.reports.studies import drift_tables, noise_of
from models.evaluation.reports.table import Row, Table
from models.evaluation.reports.training import (
    blend_table,
    calibration_words,
    preparation_tables,
    reasons,
    sample_cases_table,
    trials_table,
)

_STYLE: Final = """
body{font:15px/1.5 system-ui,sans-serif;max-width:60rem;margin:2rem auto;padding:0 1rem;
color:#222;background:#fff}
table{border-collapse:collapse;margin:.5rem 0 1.5rem}
td,th{padding:.2rem .8rem .2rem 0;text-align:left;border-bottom:1px solid #ddd}
td.number,th.number{text-align:right;font-variant-numeric:tabular-nums}
caption{text-align:left;font-weight:600;padding:.3rem 0}
svg{background:#fafafa;border:1px solid #ddd;margin:.3rem 1rem .3rem 0;max-width:100%}
p.note{color:#555}
"""


HOUR_MS: Final = 3_600_000


def to_html(title: str, report: dict[str, Any]) -> str:
    """Returns the page of a training: reliability, verdict, results, data, settings, curves.

    Each part stands there if the report has it: one of --start-from, for example, has no curves.
    """
    # What the model is worth.
    parts = [f"<h1>{html.escape(title)}</h1>"]
    if report.get("evaluation"):
        lines = [
            *report["evaluation"]["verdict"],
            *(reasons(report) if report.get("curves") else []),
            *calibration_words(report),
        ]
        parts += _reliability_of(report["evaluation"])
        parts += [f"<p>{html.escape(line)}</p>" for line in lines]
        parts += map(_html_table, result_tables(report["evaluation"]))
        parts += _charts_of(report["evaluation"])
    if report.get("examples"):
        parts.append(_html_table(sample_cases_table(report["examples"])))

    # How it came about: data, training, settings.
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
    return _page(title, parts)


def evaluation_page(title: str, evaluation: dict[str, Any]) -> str:
    """Returns the page of an evaluation: reliability, verdict, results."""
    lines = [*evaluation["verdict"], *evaluation.get("notes", [])]
    parts = [f"<h1>{html.escape(title)}</h1>", *_reliability_of(evaluation)]
    parts += [f"<p>{html.escape(line)}</p>" for line in lines]
    parts += [*map(_html_table, result_tables(evaluation)), *_charts_of(evaluation)]
    return _page(title, parts)


def drift_page(title: str, drift: dict[str, Any]) -> str:
    """Returns the page on how soon changed interests are named, at each level of noise."""
    parts = [f"<h1>{html.escape(title)}</h1>", *map(_html_table, drift_tables(drift))]
    for level in drift["levels"]:
        found = {"model": level["model"], "filter that knows the rates": level["knows the rates"]}
        if level["best"] is not None:
            found[level["best"]] = level["trackers"][level["best"]]
        lines = {
            name: [(float(events), share) for events, share in enumerate(each["noticed within"], 1)]
            for name, each in found.items()
        }
        parts.append(
            line_chart(f"noise {noise_of(drift, level)}: named within so many events", lines)
        )
    return _page(title, parts)


def _reliability_of(evaluation: dict[str, Any]) -> list[str]:
    """Returns the picture of what published probabilities say and what happens, and in words."""
    interests = evaluation["interests"]
    found = interests.get("reliability")
    if found is None:  # a report that was written before this was measured
        points = {"all interests": interests["calibration"]}
        words = "All interests of every case, bins of equal width."
    else:
        first = found["first"]
        points = {"first interest": first["bins"], "first five": found["first_five"]["bins"]}
        before = found.get("uncorrected")
        if before is not None:
            points["first interest, before calibration"] = before["first"]["bins"]
        words = (
            f"The first interest of an update says {first['said']:.3f} on average, and the next "
            f"event touches it in {first['happened']:.3f} of {first['cases']:,} cases. "
            + "; ".join(
                f"{each['what']} {each['reached']:.3f} (target {each['target']}: {each['verdict']})"
                for each in found["targets"]
            )
            + "."
        )
        if before is not None:
            words += f" Before calibration it said {before['first']['said']:.3f}."
    lines = {
        name: [(each["probability"], each["happened"]) for each in bins]
        for name, bins in points.items()
    }
    return [
        "<h2>Calibration</h2>",
        line_chart("said (across) and happened (up)", lines, square=True),
        f"<p>{html.escape(words)}</p>",
    ]


def _charts_of(evaluation: dict[str, Any]) -> list[str]:
    """Returns the chart of accuracy over time, if it is known."""
    if not evaluation.get("over_time"):
        return []
    lines = over_time_lines(evaluation["over_time"], HOUR_MS)
    return [
        "<h2>Over time</h2>",
        line_chart("HR@10 by hours since the first tenth of the cases", lines),
    ]


def over_time_lines(windows: dict[str, Any], unit_ms: int) -> dict[str, list[tuple[float, float]]]:
    """Returns HR@10 of each scorer's windows, against the time since the end of the first one."""
    begin = min(found[0]["until_ms"] for found in windows.values())
    return {
        name: [((each["until_ms"] - begin) / unit_ms, each["HR@10"]) for each in found]
        for name, found in windows.items()
    }


def _curve(stage: str, points: list[dict[str, Any]]) -> str:
    """Returns a small chart for each figure of a stage over its epochs."""
    figures = [name for name, value in points[0].items() if isinstance(value, int | float)]
    return "".join(
        line_chart(
            f"{stage}: {name}",
            {
                "": [
                    (float(epoch + 1), float(point[name]))
                    for epoch, point in enumerate(points)
                    if name in point
                ]
            },
        )
        for name in figures
    )


def _page(title: str, parts: list[str]) -> str:
    """Returns a whole HTML document."""
    head = (
        '<!doctype html><html lang="en"><meta charset="utf-8">'
        f"<title>{html.escape(title)}</title><style>{_STYLE}</style>"
    )
    return head + "\n".join(parts) + "</html>\n"


def _html_table(table: Table) -> str:
    """Returns a table as HTML, columns of numbers to the right; nothing if it has no rows."""
    if not table.rows:
        return ""
    right = [
        any(
            row[column][:1].isdigit() or row[column][:1] in "+-"
            for row in table.rows
            if row[column]
        )
        for column in range(len(table.header))
    ]

    def cells(row: Row, tag: str) -> str:
        return "".join(
            f"<{tag}{' class=number' if number else ''}>{html.escape(cell)}</{tag}>"
            for cell, number in zip(row, right, strict=True)
        )

    body = "".join(f"<tr>{cells(row, 'td')}</tr>" for row in table.rows)
    note = f'<p class="note">{html.escape(table.note)}</p>' if table.note else ""
    head = f"<caption>{html.escape(table.title)}</caption><tr>{cells(table.header, 'th')}</tr>"
    return f"<table>{head}{body}</table>{note}"

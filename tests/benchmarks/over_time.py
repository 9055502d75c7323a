"""Draws accuracy over time as a picture, from the report of a prequential evaluation.

    python -m tests.benchmarks.over_time report.json docs/measured/over-time.svg

It writes the picture: the model with and without new events, and baselines. report.json is what
`train --protocol prequential --json` or `evaluate --protocol prequential --json` printed.
"""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any, Final

from models.evaluation.reports.charts import line_chart
from models.evaluation.reports.page import over_time_lines

SHOWN: Final = (
    "model",
    "model, states frozen at the cut",
    "first-order Markov",
    "co-occurrence",
    "popularity, last 7 days",
)
DAY_MS: Final = 86_400_000


def chart(evaluation: dict[str, Any]) -> str:
    """Returns an SVG: HR@10 of each tenth of the cases, against days since the first tenth."""
    windows = {
        name: evaluation["over_time"][name] for name in SHOWN if name in evaluation["over_time"]
    }
    lines = over_time_lines(windows, DAY_MS)
    return line_chart("HR@10 of each tenth of the cases, by days", lines)


def main(report: Path, out: Path) -> None:
    """Writes the picture."""
    found = json.loads(report.read_text(encoding="utf-8"))
    svg = chart(found.get("evaluation", found))
    out.write_text(
        svg.replace("<svg ", '<svg xmlns="http://www.w3.org/2000/svg" ', 1) + "\n", encoding="utf-8"
    )


if __name__ == "__main__":
    if len(sys.argv) != 3:
        sys.exit("python -m tests.benchmarks.over_time REPORT.json OUT.svg")
    main(Path(sys.argv[1]), Path(sys.argv[2]))

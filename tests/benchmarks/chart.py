"""Draws a bar chart as SVG, without a plotting library."""

from __future__ import annotations

import statistics
from html import escape

BAR, GAP, LEFT, WIDTH = 16, 6, 250, 420


def bar_chart(grouped: dict[tuple[str, int], dict[str, list[float]]]) -> str:
    """Returns a panel for each model and number of users, with a bar a form.

    A bar is the median, with a line from the least to the most.
    """
    parts, top = [], 10
    for (model, users), forms in grouped.items():
        # A title, then a bar, a name and a figure for each form.
        parts.append(_text(10, top + 14, f"{model} model, {users:,} users, events/s", bold=True))
        top += 26
        most = max(max(rates) for rates in forms.values()) or 1.0
        for name, rates in forms.items():
            median = statistics.median(rates)
            colour = (
                "#2a6f97"
                if name.startswith("interest-stream")
                else "#c9a227"
                if name.startswith("limit")
                else "#8d99ae"
            )
            middle = top + BAR / 2
            low, high = (LEFT + each / most * WIDTH for each in (min(rates), max(rates)))
            parts.append(_text(LEFT - 8, top + 12, name, end=True))
            parts.append(
                f'<rect x="{LEFT}" y="{top}" width="{median / most * WIDTH:.1f}" '
                f'height="{BAR}" fill="{colour}"/>'
            )
            parts.append(
                f'<path d="M{low:.1f} {middle}H{high:.1f}" stroke="#222" stroke-width="1.5"/>'
            )
            parts.append(_text(int(high) + 6, top + 12, f"{median:,.0f}"))
            top += BAR + GAP
        top += 14
    size = f'width="{LEFT + WIDTH + 90}" height="{top}"'
    return (
        f'<svg xmlns="http://www.w3.org/2000/svg" {size} font-family="sans-serif" font-size="12">\n'
        + "\n".join(parts)
        + "\n</svg>\n"
    )


def _text(x: int, y: int, text: str, *, bold: bool = False, end: bool = False) -> str:
    """Returns a text of the chart."""
    style = ' font-weight="bold"' if bold else ""
    anchor = ' text-anchor="end"' if end else ""
    return f'<text x="{x}" y="{y}"{style}{anchor}>{escape(text)}</text>'

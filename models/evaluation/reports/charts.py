"""Draws line charts as SVG text, for pages that need nothing else; pure functions."""

from __future__ import annotations

import html
from collections.abc import Mapping, Sequence
from typing import Final

Point = tuple[float, float]

COLOURS: Final = (
    "#1f77b4",
    "#d62728",
    "#2ca02c",
    "#9467bd",
    "#ff7f0e",
    "#8c564b",
    "#17becf",
    "#7f7f7f",
)
WIDTH, HEIGHT, EDGE, LINE = 400, 200, 38, 15
"""Pixels: width and height of the plane with its margins, the margin, a line of the legend."""


def line_chart(title: str, lines: Mapping[str, Sequence[Point]], *, square: bool = False) -> str:
    """Returns a chart as SVG: a line for each name, with the names below the plane.

    A line whose name is empty has none below. square: both axes go from 0 to 1, and the diagonal is
    drawn.
    """
    # The span of both axes, and where a point of them stands in the picture.
    points = [point for line in lines.values() for point in line] or [(0.0, 0.0)]
    (low_x, high_x), (low_y, high_y) = (
        (0.0, 1.0) if square else (min(values), max(values)) for values in zip(*points, strict=True)
    )
    span_x, span_y = (high_x - low_x) or 1.0, (high_y - low_y) or 1.0

    def place(point: Point) -> Point:
        right = EDGE + (point[0] - low_x) / span_x * (WIDTH - 2 * EDGE)
        return round(right, 1), round(
            HEIGHT - EDGE - (point[1] - low_y) / span_y * (HEIGHT - 2 * EDGE), 1
        )

    # The diagonal, then each line with its points and its name in the legend.
    drawn = [_line([place((0, 0)), place((1, 1))], "#bbb", dashed=True)] if square else []
    named = [name for name in lines if name]
    for number, (name, line) in enumerate(lines.items()):
        colour = COLOURS[number % len(COLOURS)]
        spots = [place(point) for point in line]
        drawn.append(_line(spots, colour))
        drawn += [f'<circle cx="{x}" cy="{y}" r="2.5" fill="{colour}"/>' for x, y in spots]
        if name:
            drawn.append(_text(EDGE, HEIGHT + LINE * named.index(name), name, f'fill="{colour}"'))

    # The frame: the title, and the ends of both axes in figures.
    height = HEIGHT + LINE * len(named)
    return (
        f'<svg width="{WIDTH}" height="{height}" viewBox="0 0 {WIDTH} {height}" font-size="11" '
        'font-family="sans-serif" role="img">'
        + _text(EDGE, 18, title, 'font-weight="bold"')
        + _text(2, HEIGHT - EDGE, f"{low_y:.3g}")
        + _text(2, EDGE, f"{high_y:.3g}")
        + _text(EDGE, HEIGHT - EDGE + 14, f"{low_x:.3g}")
        + _text(WIDTH - EDGE, HEIGHT - EDGE + 14, f"{high_x:.3g}", 'text-anchor="end"')
        + "".join(drawn)
        + "</svg>"
    )


def _line(spots: Sequence[Point], colour: str, *, dashed: bool = False) -> str:
    points = " ".join(f"{x},{y}" for x, y in spots)
    dash = ' stroke-dasharray="4"' if dashed else ""
    return f'<polyline points="{points}" fill="none" stroke="{colour}" stroke-width="1.5"{dash}/>'


def _text(x: float, y: float, text: str, how: str = "") -> str:
    return f'<text x="{x}" y="{y}" {how}>{html.escape(text)}</text>'

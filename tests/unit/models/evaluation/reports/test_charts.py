"""Checks that a chart shows every line by its name, and that names are escaped."""

from __future__ import annotations

import xml.etree.ElementTree as ET

from models.evaluation.reports.charts import COLOURS, EDGE, HEIGHT, WIDTH, line_chart


def drawn(chart: str) -> ET.Element:
    return ET.fromstring(chart)


def test_each_line_has_its_name_and_colour_and_stays_inside() -> None:
    chart = drawn(line_chart("title", {"first": [(0, 1), (5, 3)], "<b>second</b>": [(1, -2)]}))
    texts = {each.text: each.get("fill") for each in chart.iter("text")}
    assert texts["first"] == COLOURS[0]
    assert texts["<b>second</b>"] == COLOURS[1]
    spots = [(float(each.get("cx", 0)), float(each.get("cy", 0))) for each in chart.iter("circle")]
    low, high = HEIGHT - EDGE, EDGE
    assert [y for _, y in spots] == [low - (low - high) * 3 / 5, high, low]
    assert [x for x, _ in spots] == [EDGE, WIDTH - EDGE, EDGE + (WIDTH - 2 * EDGE) / 5]


def test_a_square_one_has_the_diagonal_and_a_single_point_is_no_error() -> None:
    assert (
        len(list(drawn(line_chart("said", {"": [(0.2, 0.3)]}, square=True)).iter("polyline"))) == 2
    )
    assert len(list(drawn(line_chart("empty", {"": []})).iter("circle"))) == 0

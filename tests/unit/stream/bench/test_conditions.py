"""Figures of repeats are shown with their median and their spread."""

from __future__ import annotations

from stream.bench.conditions import Row, table


def test_a_table_has_median_and_spread_of_each_figure() -> None:
    rows = [Row("joins", "a worker joins", "s", value) for value in (3.0, 1.0, 2.0)]
    assert (
        list(table(rows, markdown=True))[-1]
        == "| joins | a worker joins | 2.00 s | 1.00 s | 3.00 s | 3 |"
    )

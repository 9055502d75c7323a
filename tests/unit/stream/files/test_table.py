"""A stray quote costs its own row, and cells over several lines stay whole."""

from __future__ import annotations

import pytest

from stream.files.table import MOST_LINES, StrayQuote, table_rows


def rows(text: str, delimiter: str = ",", width: int = 3) -> list[tuple[int, list[str] | str]]:
    lines = iter(list(enumerate(text.split("\n"), start=1)))
    found = table_rows(lines, delimiter, width, lambda cells: len(cells) == width)
    return [(line, "stray" if isinstance(row, StrayQuote) else row) for line, row in found]


@pytest.mark.parametrize(
    ("text", "found"),
    [
        ("a,b,c", [(1, ["a", "b", "c"])]),
        ('a,"b, ""b""",c', [(1, ["a", 'b, "b"', "c"])]),
        ('a,"b\nb",c\nd,e,f', [(1, ["a", "b\nb", "c"]), (3, ["d", "e", "f"])]),
        ('a,b,"c\nd,e,f', [(1, "stray"), (2, ["d", "e", "f"])]),
        ('a,b,"c\nd,e,f"', [(1, "stray"), (2, ["d", "e", 'f"'])]),
        ('a,"b" b,c', [(1, ["a", '"b" b', "c"])]),
        ('a,5",c', [(1, ["a", '5"', "c"])]),
        ('"a,b,c', [(1, "stray")]),
    ],
)
def test_rows_with_quotes(text: str, found: list[tuple[int, list[str] | str]]) -> None:
    assert rows(text) == found


def test_with_tabs_a_quote_is_a_character() -> None:
    assert rows('a\t"b\tc\nd\te\t"f"', "\t") == [(1, ["a", '"b', "c"]), (2, ["d", "e", '"f"'])]


def test_a_row_goes_over_a_bounded_number_of_lines() -> None:
    found = rows('a,"b\n' + "x\n" * (MOST_LINES + 1) + 'x",c')
    assert found[0] == (1, "stray")
    assert len(found) == MOST_LINES + 3

"""Reads the header and rows of a table of text, so that a stray quote costs one row and no other.

A cell that begins with a quote goes on to the closing quote, over lines if need be. In other
people's tables a quote may also be a sign for inches: then "the closing quote" is that of a later
row, or there is none. What is read over several lines is therefore believed only if it is a whole
row, and if the lines that it took in do not look like rows themselves.
"""

from __future__ import annotations

import csv
import io
from collections import deque
from collections.abc import Callable, Iterator
from typing import Final, Literal

from stream.errors import DataError

DELIMITERS: Final = "\t,;|"
COLONS: Final = "::"
"""What stands between the cells of MovieLens' .dat files."""

MOST_LINES: Final = 500
MOST_CHARACTERS: Final = 131_072
"""Of a row whose cells go over several lines: more is taken for a quote that nobody closed."""

STRAY: Final = (
    "a quote opens a cell and is not closed in this row; "
    'write it twice inside a quoted cell ("20"" screen"), or save the table with tabs'
)


Line = tuple[int, str]
Cells = list[str]


class StrayQuote(ValueError):
    """Says that a quote opens a cell that no quote of the same row closes."""


def header_of(file: str, line: bytes) -> tuple[list[str], str]:
    """Returns the cells of a table's first line, and what separates them; raises DataError."""
    try:
        header = io.TextIOWrapper(io.BytesIO(line), "utf-8").read()
    except UnicodeDecodeError:
        raise DataError(f"{file}: is not UTF-8 text; save it as UTF-8") from None
    if b"\r" in line:
        raise DataError(f"{file}: its lines end with CR alone; save it with LF or CRLF")
    if header.count(COLONS) > 1 and "\t" not in header:
        return header.split(COLONS), COLONS
    delimiter = max(DELIMITERS, key=header.count)
    quoting: Literal[0, 3] = csv.QUOTE_NONE if delimiter == "\t" else csv.QUOTE_MINIMAL
    return next(csv.reader([header], delimiter=delimiter, quoting=quoting)), delimiter


def decoded_lines(lines: Iterator[tuple[int, bytes]]) -> Iterator[Line]:
    """Yields lines as text; bytes that are not UTF-8 are surrogates: their line alone is bad."""
    return ((number, line.decode("utf-8", "surrogateescape")) for number, line in lines)


def is_utf8(row: Cells) -> bool:
    """Returns whether the cells of a decoded row were UTF-8."""
    return all(
        text.isascii() or not any("\udc80" <= character <= "\udcff" for character in text)
        for text in row
    )


def table_rows(
    lines: Iterator[Line], delimiter: str, width: int, is_row: Callable[[Cells], bool]
) -> Iterator[tuple[int, Cells | StrayQuote]]:
    """Yields the number of each row's first line and its cells, or what is wrong with its quotes.

    `is_row` says whether cells look like a whole row of the table.
    """
    left = _Lines(lines)
    for number, text in left:
        # In tables with tabs or colons a quote is a character like any other.
        if delimiter in ("\t", COLONS) or '"' not in text:
            plain = text.split(delimiter)
            yield number, [_unquoted(cell) for cell in plain] if '"' in text else plain
            continue
        taken = [(number, text)]
        cells, closed = _quoted(taken, left, delimiter)
        if closed and len(taken) == 1:
            # Where text follows a closing quote, the quotes belong to the text.
            yield number, text.split(delimiter) if cells is None else cells
            continue
        inner = [is_row(each.split(delimiter)) for _, each in taken[1:]]
        if cells is not None and len(cells) == width and 2 * sum(inner) < len(inner):
            yield number, cells
        else:
            left.again(taken[1:])
            yield number, StrayQuote(STRAY)


def _unquoted(cell: str) -> str:
    """Returns what a program meant that quotes cells with quotes in them, in a table with tabs.

    It doubles the inner ones; a cell of other quotes holds them as they are.
    """
    inner = cell[1:-1]
    if len(cell) < 4 or cell[0] + cell[-1] != '""' or '"' not in inner:
        return cell
    whole = inner.replace('""', "\0")
    return cell if '"' in whole else whole.replace("\0", '"')


def _quoted(taken: list[Line], left: _Lines, delimiter: str) -> tuple[Cells | None, bool]:
    """Returns the cells of a row with quotes, and whether these are closed.

    It appends the further lines that the row goes over. There are no cells where a quote is not
    closed, or where other text than a delimiter follows a closed one.
    """
    closed = True

    def pulled() -> Iterator[str]:
        nonlocal closed
        size = len(taken[0][1])
        yield taken[0][1] + "\n"
        for number, text in left:
            taken.append((number, text))
            size += len(text)
            if len(taken) > MOST_LINES or size > MOST_CHARACTERS:
                break
            yield text + "\n"
        closed = False

    try:
        return next(csv.reader(pulled(), delimiter=delimiter, strict=True)), closed
    except csv.Error:
        return None, closed


class _Lines:
    """Iterates over lines, of which some may be given back to be read again."""

    def __init__(self, lines: Iterator[Line]) -> None:
        self._lines = lines
        self._waiting: deque[Line] = deque()

    def __iter__(self) -> _Lines:
        return self

    def __next__(self) -> Line:
        return self._waiting.popleft() if self._waiting else next(self._lines)

    def again(self, lines: list[Line]) -> None:
        """Takes lines back, which come next."""
        self._waiting.extendleft(reversed(lines))

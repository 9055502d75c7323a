"""Turns tables of text into events: CSV and TSV with a header, and some public files without."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from itertools import chain
from typing import Any

from stream.contracts.event import Event, Limits, check_event
from stream.contracts.faults import BadEvent
from stream.errors import DataError
from stream.files.columns import by_place, looks_like_data, match_columns, path_of, path_values
from stream.files.objects import say_of_columns
from stream.files.places import File
from stream.files.report import ReadReport
from stream.files.rows import RowReader
from stream.files.shapes import MIND_BEHAVIORS, Shape, mind_time, shape_of, shown_items
from stream.files.table import StrayQuote, decoded_lines, header_of, is_utf8, table_rows

Lines = Iterator[tuple[int, bytes]]


def events_of_table(
    report: ReadReport, file: File, first: tuple[int, bytes], lines: Lines
) -> Iterator[Event]:
    """Yields the events of a table. Raises DataError if its columns cannot be matched."""
    cells, delimiter = header_of(str(file), first[1])
    if len(cells) < 2:
        raise DataError(
            f"{file}: the first line is neither a JSON object nor a header of columns "
            f"(tab, comma, semicolon, | or ::): {''.join(cells)[:80]!r}; "
            "add a header such as user_id,item_id,event_type,timestamp"
        )
    shape = None if report.columns else shape_of(cells, delimiter)
    names, has_header = _names(report, file, cells, shape)
    if shape is None:
        fields: Mapping[str, str] = match_columns(names, report.columns, str(file))
        say_of_columns(report, file, names, fields)
    else:
        fields = _fields_of(report, file, shape)
    if not has_header:
        lines = chain([first], lines)

    # Rows: one that cannot be one is told, the others give an event, or some.
    layout = TableLayout(names, fields, report.limits)
    report.rows.columns = fields
    read = _clicks if shape is MIND_BEHAVIORS else _event
    for number, row in table_rows(decoded_lines(lines), delimiter, len(names), layout.is_row):
        if isinstance(row, StrayQuote):
            report.total += 1
            report.reject(file, number, "stray-quote", str(row))
        elif len(row) != len(names):
            report.total += 1
            what = f"{len(row)} columns where the header has {len(names)}"
            report.reject(file, number, "wrong-columns", what)
        elif not is_utf8(row):
            report.total += 1
            what = "the line is not UTF-8; save the file as UTF-8"
            report.reject(file, number, "not-utf8", what)
        else:
            yield from read(report, file, number, layout.values(row))


class TableLayout:
    """Holds which cells of a row are which field of an event."""

    def __init__(self, names: Sequence[str], fields: Mapping[str, str], limits: Limits) -> None:
        self.names = names
        self._paths = {field: path_of(each, names) or (each,) for field, each in fields.items()}
        self._places = {path[0]: names.index(path[0]) for path in self._paths.values()}
        self._judge = RowReader(limits)  # of lines that may be rows; what it counts is not told

    def values(self, row: Sequence[str]) -> dict[str, Any]:
        """Returns {field: value} of a row."""
        return path_values({name: row[place] for name, place in self._places.items()}, self._paths)

    def is_row(self, row: Sequence[str]) -> bool:
        """Returns whether cells look like a row: there are as many as names, the time is a time.

        With more cells than names any of them may be the time: a comma stands in another.
        """
        if "time" not in self._paths:
            return len(row) == len(self.names)
        if len(row) == len(self.names):
            return self._is_time(self.values(row)["time"])
        return len(row) > len(self.names) and any(map(self._is_time, row))

    def _is_time(self, value: Any) -> bool:
        written = str(value or "").strip()
        try:
            self._judge.moment(written)
        except BadEvent:
            return False
        return True


def _names(
    report: ReadReport, file: File, cells: list[str], shape: Shape | None
) -> tuple[list[str], bool]:
    """Returns the names of the columns, and whether the first line holds them.

    Columns without a header are called 1, 2, ... Raises DataError if nobody says what they are.
    """
    places = [str(place) for place in range(1, len(cells) + 1)]
    if shape is not None:
        return places, False
    data = looks_like_data(cells)
    if by_place(report.columns, cells):
        if not data:
            report.say(file, "the first line is taken for a header, not for a row")
        return places, not data
    if data:
        raise DataError(
            f"{file}: the first line looks like a row, not like a header: a number or a time "
            "stands in it. Name the columns by their place, for example "
            "--columns user_id=1,item_id=2,time=4, or add a header such as "
            "user_id,item_id,event_type,timestamp"
        )
    return cells, True


def _fields_of(report: ReadReport, file: File, shape: Shape) -> Mapping[str, str]:
    """Returns the places of the fields in a file of a known shape; notes what it is."""
    if not shape.events:
        raise DataError(f"{file}: holds {shape.title}, and no events; {shape.instead}")
    report.say(file, "; ".join(filter(None, (f"read as {shape.title}", shape.unread))))
    return shape.events


def _event(report: ReadReport, file: File, number: int, values: dict[str, Any]) -> Iterator[Event]:
    """Yields the event of a row; a bad one is reported."""
    report.total += 1
    try:
        event = report.rows.event(values)
        check_event(event, report.limits)
    except BadEvent as error:
        report.reject(file, number, error.reason, str(error))
        return
    yield event


def _clicks(report: ReadReport, file: File, number: int, values: dict[str, Any]) -> Iterator[Event]:
    """Yields a click for each item of a row of MIND that was clicked; the others are counted."""
    try:
        when = mind_time(values["time"])
    except BadEvent as error:
        report.total += 1
        report.reject(file, number, error.reason, str(error))
        return
    for item_id, why_not in shown_items(values["item_id"]):
        if why_not:
            report.total += 1
            report.drop(why_not)
        else:
            row = {**values, "time": when, "item_id": item_id, "action": "click"}
            yield from _event(report, file, number, row)

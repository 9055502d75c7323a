"""Turns JSON documents into events: JSON lines, elements of an array, rows of a Parquet file.

Documents are bytes with a number, so a row of Parquet is read as the same object in JSON would be,
and what reads the document of a topic can read the document of a file.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from itertools import chain
from typing import Any, Final

import msgspec

from stream.contracts.event import Event, check_event
from stream.contracts.faults import BadEvent, fault_of
from stream.errors import DataError
from stream.files.columnar import ColumnFile
from stream.files.columns import is_review, match_columns, path_of, path_values, plain_name
from stream.files.places import File
from stream.files.report import ReadReport
from stream.files.values import is_literal, read_object

Documents = Iterable[tuple[int, bytes]]

REQUIRED: Final = frozenset(("user_id", "action", "time"))
FIELDS: Final = frozenset(Event.__struct_fields__)

_decode: Final = msgspec.json.Decoder(Event).decode


def events_of_documents(
    report: ReadReport, file: File, first: tuple[int, bytes], others: Documents
) -> Iterator[Event]:
    """Yields the events of documents.

    The first object decides whether the fields have the contract's names; if they have not, they
    are matched as the columns of a table are. Raises DataError if these cannot be used.
    """
    line = first[1]
    renamed = report.columns or is_literal(line) or _is_renamed(line)
    form = ObjectLayouts(report.columns, str(file)) if renamed else None
    if form is None:
        report.say_unread(file, _keys(line) or (), FIELDS)
    else:
        form.match(line)
        say_of_layouts(report, file, form)
    if is_literal(line):
        report.say(file, "objects are written as Python writes them: read as JSON")
    yield from _events(report, file, chain([first], others), form)
    if form is not None:
        say_of_layouts(report, file, form)


def events_of_columns(report: ReadReport, file: File, table: ColumnFile) -> Iterator[Event]:
    """Yields the events of a Parquet or Arrow file, of which only the columns used are read.

    Its values have types, and other ones than the contract's JSON: an id may be a number. Raises
    DataError if no column is the user or the item.
    """
    form = ObjectLayouts(report.columns, str(file))
    try:
        fields = match_columns(table.names, report.columns, str(file))
    except DataError:
        # what lies inside the columns makes a better message
        fields = match_columns(table.names, report.columns, str(file), table.example())
    say_of_columns(report, file, table.names, fields)
    used = {(path_of(column, table.names) or (column,))[0] for column in fields.values()}
    names = [name for name in table.names if name in used]
    form.know(tuple(names), fields)
    yield from _events(report, file, table.documents(names), form)


def _events(
    report: ReadReport, file: File, documents: Documents, form: ObjectLayouts | None
) -> Iterator[Event]:
    """Yields the events of documents, and counts those that are none."""
    for number, document in documents:
        report.total += 1
        try:
            event = _event(report, document, form)
            check_event(event, report.limits, len(document))
        except BadEvent as error:
            report.reject(file, number, error.reason, str(error))
            continue
        yield event


def say_of_layouts(report: ReadReport, file: File, form: ObjectLayouts) -> None:
    """Notes how objects are read that have other names than the contract's."""
    for names, fields in form.fields.items():
        say_of_columns(report, file, names, fields)


def say_of_columns(
    report: ReadReport, file: File, names: Sequence[str], fields: Mapping[str, str]
) -> None:
    """Notes which columns of a file are not read though they look as if they mattered."""
    title = next((name for name in names if plain_name(name) == "title"), None)
    unread = title is not None and title not in fields.values() and "title" not in report.columns
    if unread and is_review(names, {"title": str(title)}):
        report.say(
            file,
            f"column {title} is taken for the title of a review and not read "
            f"(--columns title={title} reads it as the item's)",
        )
    if fields.get("item_id") == "parent_asin" and "asin" in names:
        report.say(
            file,
            "item_id is read from parent_asin, as catalogues of Amazon have it "
            "(--columns item_id=asin tells variants apart)",
        )
    used = [path_of(column, names) or (column,) for column in fields.values()]
    report.say_unread(file, names, [name for name, *_ in used])


class ObjectLayouts:
    """Reads objects whose fields have other names than the contract's, from line to line others."""

    def __init__(self, columns: Mapping[str, str], file: str) -> None:
        self.fields: dict[tuple[str, ...], dict[str, str]] = {}  # by the names that an object has
        self._paths: dict[tuple[str, ...], dict[str, tuple[str, ...]]] = {}
        self._columns = columns
        self._file = file

    def match(self, line: bytes) -> None:
        """Matches the names of the first object; raises DataError if they cannot be used.

        A line that is no object decides nothing.
        """
        try:
            found = read_object(line)
        except BadEvent:
            return
        self._match(found, self._columns)

    def row(self, line: bytes) -> tuple[dict[str, str], dict[str, Any]]:
        """Returns the columns and the values of one line, both by field; raises BadEvent."""
        found = read_object(line)
        names = tuple(found)
        if names not in self.fields:
            # What --columns names and this object lacks is not given: nothing is guessed for it.
            columns = {
                field: column if column and path_of(column, names) else ""
                for field, column in self._columns.items()
            }
            try:
                self._match(found, columns)
            except DataError as error:
                raise BadEvent("missing-field", str(error)) from None
        return self.fields[names], path_values(found, self._paths[names])

    def _match(self, found: dict[str, Any], columns: Mapping[str, str]) -> None:
        names = tuple(found)
        self.know(names, match_columns(names, columns, self._file, found))

    def know(self, names: tuple[str, ...], fields: dict[str, str]) -> None:
        """Takes the columns of the fields for objects with these names."""
        self.fields[names] = fields
        self._paths[names] = {
            field: path_of(column, names) or (column,) for field, column in fields.items()
        }


def _event(report: ReadReport, document: bytes, form: ObjectLayouts | None) -> Event:
    """Returns the event of one document, unchecked; raises BadEvent."""
    if form is not None:
        report.rows.columns, values = form.row(document)
        return report.rows.event(values)
    event = _contract_event(document)
    if event.time != "":
        event.time = report.rows.moment(event.time)
    return event


def _contract_event(line: bytes) -> Event:
    try:
        if not line.isascii():
            line.decode()  # the decoder looks at the fields of the contract only
        return _decode(line)
    except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError) as error:
        raise fault_of(line, error) from None


def _keys(line: bytes) -> list[str] | None:
    """Returns the names of an object's fields, None if the line is no object."""
    try:
        return list(read_object(line))
    except BadEvent:
        return None


def _is_renamed(line: bytes) -> bool:
    """Returns whether an object lacks a required field under the contract's name."""
    names = _keys(line)
    return names is not None and not set(names) >= REQUIRED

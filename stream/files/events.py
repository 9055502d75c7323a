"""Reads behaviour events from files: JSON, tables of text, Parquet and Arrow.

JSON is a line an object, or an array of objects; a table is CSV or TSV; text may be compressed.
Objects may also have the format of a tracker (stream/formats), which is named or found out. A file
is read as a stream, in bounded memory. A bad line is counted, reported with its number and skipped,
so `rows` are the events, the bad lines and what was left out on purpose (with a format, a row may
be several events); a file that cannot be read at all is a DataError. `train`, `evaluate` and
`produce` read by this file, so they see the same events.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from itertools import chain, islice
from typing import Final

from stream.config import CONTRACT
from stream.contracts.event import Event, Limits
from stream.contracts.times import FIRST_RECORDED_MS, FIRST_TIME_MS, YEAR_MS
from stream.errors import DataError
from stream.files.columnar import ColumnFile
from stream.files.formatted import events_of_format
from stream.files.lines import elements_of, is_array, lines_of
from stream.files.objects import events_of_columns, events_of_documents
from stream.files.opening import EmptyFileError, Source
from stream.files.places import File, Found, find_files, partition_of
from stream.files.report import BadLine, ReadReport
from stream.files.table_events import events_of_table
from stream.formats.detect import detected
from stream.formats.event_format import EventFormat
from stream.formats.registry import format_named

CHUNK: Final = 8_192
"""Events in a list that is yielded."""

AUTO: Final = "auto"
"""Finds the format of a file out, by its first document."""


def limits_of_files(now_ms: int, *, recorded: bool) -> Limits:
    """Returns the limits of events in files: no time is a year ahead of the caller's clock.

    Events to learn from may have been `recorded` before 2000; those of a stream may not.
    """
    earliest_ms = FIRST_RECORDED_MS if recorded else FIRST_TIME_MS
    return Limits(earliest_ms=earliest_ms, latest_ms=now_ms + YEAR_MS)


class EventFiles:
    """Iterates over lists of events of several files, in their order, each list of one file.

    The counts are complete when it has ended.
    """

    def __init__(
        self,
        paths: Sequence[File],
        columns: Mapping[str, str] | None = None,
        *,
        limits: Limits | None = None,
        chunk: int = CHUNK,
        sequences: bool = False,
        event_format: str | EventFormat = AUTO,
    ) -> None:
        """Reads nothing yet. Raises SettingsError if there is no format of that name.

        `paths` name files, folders or patterns; `columns` is {field: column} where a header has
        other names; `limits` are those of `limits_of_files` where there is a clock; `chunk` is how
        many events a list holds; with `sequences` a line is a user id and item ids, separated by
        spaces. `event_format` is the format of a tracker; or `contract`: the fields of the
        contract, or tables by their columns. `auto` means that where `columns` or `sequences` are
        given, else what the first document is.
        """
        self.paths = list(paths)
        self.place = 0  # of the path that stands for the file whose events the last list holds
        self.events = 0
        self.bytes_read = self.bytes_to_read = 0  # of the files as they are stored
        self._report = ReadReport(limits or Limits(), columns or {})
        self._chunk = chunk
        self._sequences = sequences
        self._auto = event_format == AUTO and not (columns or sequences)
        if isinstance(event_format, str):
            known = event_format in (AUTO, CONTRACT)
            self._format = None if known else format_named(event_format)
        else:
            self._format = event_format

    @property
    def rows(self) -> int:
        """Returns how many lines, rows, elements of arrays or item ids of sequences were read."""
        return self._report.total

    @property
    def bad(self) -> Counter[str]:
        """Returns the lines that gave no event, by reason."""
        return self._report.bad

    @property
    def dropped(self) -> Counter[str]:
        """Returns what was left out on purpose, by what it is: rows, or events of a row."""
        return self._report.dropped + self._report.dropped_events

    @property
    def without(self) -> int:
        """Returns how many rows gave no event because all of them was left out on purpose."""
        return self._report.without

    @property
    def samples(self) -> list[BadLine]:
        """Returns the first bad lines."""
        return self._report.samples

    @property
    def untimed(self) -> int:
        """Returns how many events so far had no time; theirs are invented, a millisecond apart."""
        return self._report.rows.untimed

    @property
    def notes(self) -> list[str]:
        """Returns what had to be assumed, in sentences for a person."""
        return self._report.notes

    @property
    def told(self) -> list[str]:
        """Returns how many rows gave no event, if there are such, and what had to be assumed."""
        return self._report.told

    def __iter__(self) -> Iterator[list[Event]]:
        # Files are looked for before the first is read: a name that stands for none costs nothing.
        found = [find_files(path) for path in self.paths]
        self.bytes_to_read = sum(each.size for each in found)
        before = 0
        for place, these in enumerate(found):
            self._say_of_names(self.paths[place], these)
            for file in these.files:
                for chunk in self._chunks(file, these, before):
                    self.place = place
                    self.events += len(chunk)
                    yield chunk
                before = self.bytes_read

    def _chunks(self, file: File, found: Found, before: int) -> Iterator[list[Event]]:
        """Yields lists of the events of a file; `before` bytes of others have been read."""
        try:
            source = Source(file)
        except EmptyFileError:
            if not found.several:
                raise
            self._report.say(file, "is empty")  # jobs write a part even where it has no row
            return
        with source:
            events = self._events(source)
            while chunk := list(islice(events, self._chunk)):
                self.bytes_read = before + source.bytes_read
                yield chunk
            self.bytes_read = before + source.size

    def _say_of_names(self, path: File, found: Found) -> None:
        """Notes which files of a folder or a pattern are read."""
        if found.several:
            count = len(found.files)
            self._report.say(path, f"{count} file{'s' if count > 1 else ''} read")
        if found.left_out:
            self._report.say(path, f"{found.left_out} files whose names begin with _ or . are not")

    def _events(self, source: Source) -> Iterator[Event]:
        """Yields the events of a file, whose first bytes and first line say what form it has."""
        file, report = source.file, self._report
        if source.columnar and not self._sequences:
            yield from self._events_of_columns(file, ColumnFile(source))
            return
        if source.columnar:
            raise DataError(f"{file}: is {source.columnar}; --sequences are lines of text")
        if said := partition_of(file):
            report.say(file, f"what its folders say ({', '.join(said)}) is not read")
        array = not self._sequences and is_array(source)
        lines = elements_of(source) if array else report.sound(file, lines_of(source))
        first = next(lines, None)
        if first is None:
            return
        begin = first[1].lstrip()
        event_format = self._format_of(file, first[1])
        if event_format is not None:
            yield from events_of_format(report, file, chain([first], lines), event_format)
        elif self._sequences:
            yield from self._from_sequences(file, chain([first], lines))
        elif begin == b"{":
            raise DataError(
                f"{file}: is one JSON document over several lines; "
                "give one object a line, or an array of objects"
            )
        elif begin.startswith(b"{") or array:
            yield from events_of_documents(report, file, first, lines)
        elif begin.startswith(b"["):
            raise DataError(
                f"{file}: is JSON, but no array of objects; give one object a line, such as "
                '{"user_id": "u1", "action": "view", "time": 1764000000000, "item_id": "a"}'
            )
        else:
            yield from events_of_table(report, file, first, lines)

    def _events_of_columns(self, file: File, table: ColumnFile) -> Iterator[Event]:
        """Yields the events of a table of typed columns, whose rows may be documents of a format.

        Only a named format is tried: to find one out, every column would have to be read.
        """
        if self._format is None:
            yield from events_of_columns(self._report, file, table)
        else:
            rows = table.documents(table.names)
            yield from events_of_format(self._report, file, rows, self._format)

    def _format_of(self, file: File, document: bytes) -> EventFormat | None:
        """Returns the format of a file by its first document, None for the contract and tables."""
        if not self._auto:
            return self._format
        name = detected(document)
        if name is None:
            return None
        said = f"read as events of {name} (--event-format contract reads its columns)"
        self._report.say(file, said)
        return format_named(name)

    def _from_sequences(self, file: File, lines: Iterator[tuple[int, bytes]]) -> Iterator[Event]:
        """Yields an event for each item id of lines of a user id and item ids."""
        report = self._report
        for number, line in lines:
            try:
                words = line.decode().split()
            except UnicodeDecodeError:
                report.total += 1
                report.reject(
                    file, number, "not-utf8", "the line is not UTF-8; save the file as UTF-8"
                )
                continue
            report.total += max(1, len(words) - 1)
            if len(words) < 2:
                report.reject(
                    file,
                    number,
                    "wrong-columns",
                    "a line must hold a user id and at least one item id",
                )
                continue
            for item_id in words[1:]:
                yield report.rows.event({"user_id": words[0], "item_id": item_id})

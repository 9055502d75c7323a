"""Behaviour events from files: JSON lines in the event contract, or tables (CSV, TSV) with a header; plain or gzipped.

A file is read as a stream, in bounded memory. A bad line is counted, reported with its number and skipped; a file that
cannot be read at all is a DataError. `train`, `evaluate` and `produce` read by this file, so they see the same events.
"""

from __future__ import annotations

import csv
import io
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final, Literal

import msgspec

from stream.errors import DataError
from stream.event_columns import RowReader, match_columns
from stream.event_faults import BadEvent, fault_of
from stream.events import Event, Limits, check_event
from stream.text_files import MAX_LINE_BYTES, read_lines

CHUNK: Final = 8_192
"""Events in a list handed on."""

DELIMITERS: Final = "\t,;|"
SAMPLES: Final = 20
"""Bad lines kept to be shown; all of them are counted."""

_decode: Final = msgspec.json.Decoder(Event).decode
_decode_any: Final = msgspec.json.Decoder().decode


@dataclass(frozen=True, slots=True)
class BadLine:
    """A line that gave no event."""

    file: str
    line: int
    reason: str  # one of event_faults.REASONS, or too-long, wrong-columns
    message: str

    def __str__(self) -> str:
        return f"{self.file}:{self.line}: {self.message}"


class EventFiles:
    """Iterates over lists of events of several files, in their order. The counts are complete when it has ended."""

    def __init__(
        self,
        paths: Sequence[Path],
        columns: Mapping[str, str] | None = None,
        *,
        limits: Limits | None = None,
        on_bad: Callable[[BadLine], None] | None = None,
        chunk: int = CHUNK,
        sequences: bool = False,
    ) -> None:
        """columns: {field: column} where a header has other names. sequences: lines of a user id and item ids."""
        self.paths = list(paths)
        self.columns = dict(columns or {})
        self.limits = limits or Limits()
        self.events = 0
        self.bad: Counter[str] = Counter()  # reason -> lines
        self.samples: list[BadLine] = []
        self._on_bad = on_bad
        self._chunk = chunk
        self._sequences = sequences
        self._rows = RowReader()

    @property
    def untimed(self) -> int:
        """Events so far that had a place in the order and no time; theirs are invented, a millisecond apart."""
        return self._rows.untimed

    @property
    def notes(self) -> list[str]:
        """What had to be assumed, for a person to read."""
        rows, notes = self._rows, []
        if rows.untimed:
            notes.append(f"{rows.untimed} events have no time: their order is kept, their times are invented")
        if rows.without_zone:
            notes.append(f"{rows.without_zone} times have no zone: read as UTC")
        if rows.without_number:
            notes.append(f"{rows.without_number} values or dwell times are no numbers: left out of their events")
        if rows.without_action:
            notes.append(f"{rows.without_action} events have no action: read as a view")
        return notes

    def __iter__(self) -> Iterator[list[Event]]:
        chunk: list[Event] = []
        for path in self.paths:
            for event in self._file(path):
                chunk.append(event)
                if len(chunk) == self._chunk:
                    self.events += len(chunk)
                    yield chunk
                    chunk = []
        if chunk:
            self.events += len(chunk)
            yield chunk

    def _file(self, path: Path) -> Iterator[Event]:
        lines = self._sound_lines(path)
        first = next(lines, None)
        if first is None:
            return
        if self._sequences:
            events = self._from_sequences(path, _chained(first, lines))
        elif first[1].lstrip().startswith(b"{"):
            events = self._from_json(path, _chained(first, lines))
        else:
            events = self._from_table(path, first, lines)
        yield from events

    def _sound_lines(self, path: Path) -> Iterator[tuple[int, bytes]]:
        for number, line in read_lines(path):
            if len(line) > MAX_LINE_BYTES:
                self._reject(path, number, "too-long", f"the line has more than {MAX_LINE_BYTES} bytes")
            else:
                yield number, line

    def _from_json(self, path: Path, lines: Iterator[tuple[int, bytes]]) -> Iterator[Event]:
        """The first object says whether the fields have the contract's names; if not they are matched as columns are."""
        first = next(lines)
        form = _Renamed(self.columns, str(path)) if self.columns or _is_renamed(first[1]) else None
        if form is not None:
            form.match(first[1])
        for number, line in _chained(first, lines):
            try:
                event = _contract_event(line) if form is None else self._rows.event(form.row(line))
                check_event(event, self.limits, len(line))
            except BadEvent as error:
                self._reject(path, number, error.reason, str(error))
                continue
            yield event

    def _from_table(self, path: Path, first: tuple[int, bytes], lines: Iterator[tuple[int, bytes]]) -> Iterator[Event]:
        header = _decoded_header(path, first[1])
        delimiter = max(DELIMITERS, key=header.count)
        quoting: Literal[0, 3] = csv.QUOTE_NONE if delimiter == "\t" else csv.QUOTE_MINIMAL
        names = next(csv.reader([header], delimiter=delimiter, quoting=quoting))
        if len(names) < 2:
            raise DataError(
                f"{path}: the first line is neither a JSON object nor a header of columns (tab, comma, semicolon or |): "
                f"{header[:80]!r}; add a header such as user_id,item_id,event_type,timestamp"
            )
        fields = match_columns(names, self.columns, str(path))
        places = {field: names.index(column) for field, column in fields.items()}
        feed = _Feed(lines)
        reader = csv.reader(feed, delimiter=delimiter, quoting=quoting)
        while True:
            try:
                row = next(reader)
            except StopIteration:
                return
            except csv.Error as error:
                self._reject(path, feed.number, "wrong-columns", f"not a row of the table: {error}")
                continue
            event = self._from_row(path, feed.number, row, len(names), places)
            if event is not None:
                yield event

    def _from_row(self, path: Path, number: int, row: list[str], width: int, places: dict[str, int]) -> Event | None:
        if len(row) != width:
            self._reject(path, number, "wrong-columns", f"{len(row)} columns where the header has {width}")
            return None
        try:
            if any("\udc80" <= character <= "\udcff" for text in row if not text.isascii() for character in text):
                raise BadEvent("not-utf8", "the line is not UTF-8; save the file as UTF-8")
            event = self._rows.event({field: row[place] for field, place in places.items()})
            check_event(event, self.limits)
        except BadEvent as error:
            self._reject(path, number, error.reason, str(error))
            return None
        return event

    def _from_sequences(self, path: Path, lines: Iterator[tuple[int, bytes]]) -> Iterator[Event]:
        for number, line in lines:
            try:
                words = line.decode().split()
            except UnicodeDecodeError:
                self._reject(path, number, "not-utf8", "the line is not UTF-8; save the file as UTF-8")
                continue
            if len(words) < 2:
                self._reject(path, number, "wrong-columns", "a line must hold a user id and at least one item id")
                continue
            for item_id in words[1:]:
                yield self._rows.event({"user_id": words[0], "item_id": item_id})

    def _reject(self, path: Path, line: int, reason: str, message: str) -> None:
        bad = BadLine(str(path), line, reason, message)
        self.bad[reason] += 1
        if len(self.samples) < SAMPLES:
            self.samples.append(bad)
        if self._on_bad is not None:
            self._on_bad(bad)


class _Feed:
    """Lines as the csv module wants them; knows the number of the line read last."""

    def __init__(self, lines: Iterator[tuple[int, bytes]]) -> None:
        self._lines = lines
        self.number = 0

    def __iter__(self) -> _Feed:
        return self

    def __next__(self) -> str:
        self.number, line = next(self._lines)
        return line.decode("utf-8", "surrogateescape") + "\n"


class _Renamed:
    """Objects whose fields have other names than the contract's; which, may differ from line to line."""

    def __init__(self, columns: Mapping[str, str], file: str) -> None:
        self._columns = columns
        self._file = file
        self._fields: dict[tuple[str, ...], dict[str, str]] = {}  # names of an object -> {field: name}

    def match(self, line: bytes) -> None:
        """Raises DataError if the first object has no usable names; a line that is no object says nothing."""
        try:
            names = tuple(_object(line))
        except BadEvent:
            return
        self._fields[names] = match_columns(names, self._columns, self._file)

    def row(self, line: bytes) -> dict[str, Any]:
        """{field: value} of one line. Raises BadEvent."""
        found = _object(line)
        names = tuple(found)
        if names not in self._fields:
            columns = {field: name for field, name in self._columns.items() if name in found}
            try:
                self._fields[names] = match_columns(names, columns, self._file)
            except DataError as error:
                raise BadEvent("missing-field", str(error)) from None
        return {field: found[name] for field, name in self._fields[names].items()}


def _is_renamed(line: bytes) -> bool:
    try:
        return not {"user_id", "action", "time"} <= _object(line).keys()
    except BadEvent:
        return False


def _contract_event(line: bytes) -> Event:
    try:
        if not line.isascii():
            line.decode()  # the decoder looks at the fields of the contract only
        return _decode(line)
    except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError) as error:
        raise fault_of(line, error) from None


def _object(line: bytes) -> dict[str, Any]:
    try:
        found = _decode_any(line)
    except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError) as error:
        raise fault_of(line, error) from None
    if not isinstance(found, dict):
        raise BadEvent("not-object", "the line is no JSON object")
    return found


def _decoded_header(path: Path, line: bytes) -> str:
    try:
        return io.TextIOWrapper(io.BytesIO(line), "utf-8").read()
    except UnicodeDecodeError:
        raise DataError(f"{path}: is not UTF-8 text; save it as UTF-8") from None


def _chained(first: tuple[int, bytes], rest: Iterator[tuple[int, bytes]]) -> Iterator[tuple[int, bytes]]:
    yield first
    yield from rest

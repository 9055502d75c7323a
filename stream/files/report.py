"""Counts what became of the rows of event files: each is an event, a bad line or a told drop."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import Final

from stream.contracts.event import Limits
from stream.files.columns import unread_columns
from stream.files.lines import MAX_LINE_BYTES
from stream.files.places import File
from stream.files.rows import RowReader
from stream.files.values import ONE_NAME
from stream.formats.event_format import CONSENT, FILTER, NO_BEHAVIOUR

LEFT_OUT: Final = {
    CONSENT: "events are left out: their users denied a consent that they need",
    FILTER: "events are left out by a filter of the mapping",
    NO_BEHAVIOUR: "calls or items are left out: they say nothing that a user did with an item",
}
"""What is told of what a format drops on purpose."""

SAMPLES: Final = 20
"""Bad lines, and notes on files, that are kept to be shown; all bad lines are counted."""


@dataclass(frozen=True, slots=True)
class BadLine:
    """Holds a line that gave no event, and why."""

    file: str
    line: int
    reason: str  # of stream.contracts.faults.REASONS, or too-long, wrong-columns, stray-quote
    message: str

    def __str__(self) -> str:
        return f"{self.file}:{self.line}: {self.message}"


class ReadReport:
    """Holds what was read: `total` rows are the events, the `bad` lines and those `without` any."""

    def __init__(self, limits: Limits, columns: Mapping[str, str]) -> None:
        """Begins with nothing read; `columns` is {field: column} as --columns gives it."""
        self.limits, self.columns = limits, dict(columns)
        self.rows = RowReader(limits)
        self.total = 0  # lines, rows of a table, elements of an array; item ids of sequences
        self.bad: Counter[str] = Counter()  # reason -> lines
        self.dropped: Counter[str] = Counter()  # what is left out on purpose -> rows
        self.dropped_events: Counter[str] = Counter()  # why a format leaves them out -> events
        self.without = 0  # rows that gave no event, all of which was left out on purpose
        self.samples: list[BadLine] = []
        self._said: dict[str, None] = {}  # notes on the files, in their order

    @property
    def notes(self) -> list[str]:
        """Returns what had to be assumed, in sentences for a person."""
        rows = self.rows
        counted = (
            *((count, f"rows are {what}: left out") for what, count in self.dropped.items()),
            *((count, LEFT_OUT[why]) for why, count in self.dropped_events.items()),
            (rows.untimed, "events have no time: their order is kept, their times are invented"),
            *((count, f"times are {unit}: read as such") for unit, count in rows.units.items()),
            (rows.old, "times are before 2000: check that they are right"),
            (rows.without_zone, "times have no zone: read as UTC"),
            (
                rows.without_number,
                "values or dwell times are no numbers: left out of their events",
            ),
            (rows.without_action, "events have no action: read as a view"),
            (rows.several, f"events {ONE_NAME}"),
            (
                rows.nothing,
                "events are of a user or an item with the id nan, null or the like: read as one id",
            ),
        )
        return [*(f"{count} {what}" for count, what in counted if count), *self._said]

    @property
    def told(self) -> list[str]:
        """Returns how many rows gave no event, if there are such, and what had to be assumed."""
        bad, without = self.bad.total(), self.without
        lost = f"{self.total:,} rows read: {self.total - bad - without:,} gave an event, {bad:,} "
        lost += f"did not, {without:,} were left out on purpose" if without else "did not"
        return [*([lost] if bad or without else []), *self.notes]

    def drop(self, what: str) -> None:
        """Counts a row that is left out on purpose, by what it is."""
        self.dropped[what] += 1
        self.without += 1

    def reject(self, file: File, line: int, reason: str, message: str) -> None:
        """Counts a line that gave no event."""
        self.bad[reason] += 1
        if len(self.samples) < SAMPLES:
            self.samples.append(BadLine(str(file), line, reason, message))

    def say(self, file: File, what: str) -> None:
        """Notes something about a file."""
        if len(self._said) < SAMPLES:
            self._said[f"{file.name}: {what}"] = None

    def say_unread(self, file: File, names: Iterable[str], used: Iterable[str]) -> None:
        """Notes which columns of a file are not read though they look as if they mattered."""
        columns = unread_columns(names, used)
        if columns:
            self.say(
                file, f"columns not read: {', '.join(columns)} (--columns FIELD=COLUMN reads one)"
            )

    def sound(self, file: File, lines: Iterable[tuple[int, bytes]]) -> Iterator[tuple[int, bytes]]:
        """Yields the lines that are not too long; the others are counted."""
        for number, line in lines:
            if len(line) > MAX_LINE_BYTES:
                self.total += 1
                self.reject(
                    file, number, "too-long", f"the line has more than {MAX_LINE_BYTES} bytes"
                )
            else:
                yield number, line

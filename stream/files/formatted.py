"""Reads the documents of event files that have the format of a tracker, or of a mapping.

What a worker reads of a record's value is read here of a line, of an element of an array, or of a
row of a Parquet file as JSON (stream/formats).
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator

from stream.contracts.event import Event, check_event
from stream.contracts.faults import BadEvent
from stream.files.places import File
from stream.files.report import ReadReport
from stream.formats.documents import read_documents
from stream.formats.event_format import EventFormat, Reading


def events_of_format(
    report: ReadReport,
    file: File,
    documents: Iterable[tuple[int, bytes]],
    event_format: EventFormat,
) -> Iterator[Event]:
    """Yields the events of documents that a format reads; one may be several events, or none."""
    for number, document in documents:
        report.total += 1
        try:
            reading = read_documents(event_format, document, (), None)
            for event in reading.events:
                check_event(event, report.limits)
        except BadEvent as error:
            report.reject(file, number, error.reason, str(error))
            continue
        _count(report, file, number, reading)
        yield from reading.events


def _count(report: ReadReport, file: File, number: int, reading: Reading) -> None:
    """Counts what a row holds beside its events: what was left out, and what is bad.

    A bad document of several is a row of its own.
    """
    report.dropped_events.update(reading.dropped)
    report.total += len(reading.bad) if reading.events or reading.dropped else len(reading.bad) - 1
    report.without += not reading.events and bool(reading.dropped)
    for each in reading.bad:
        report.reject(file, number, each.fault.reason, str(each.fault))

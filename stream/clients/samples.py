"""Reads a few records as they are, from a file or the end of a topic, to look at their shape."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from itertools import islice
from pathlib import Path
from typing import Any, NamedTuple

from stream.config import Settings
from stream.contracts.faults import BadEvent
from stream.files.columnar import ColumnFile
from stream.files.lines import elements_of, is_array, lines_of
from stream.files.opening import Source
from stream.formats.event_format import EventFormat
from stream.formats.framed.readers import unframed
from stream.kafka.consumer import open_consumer, partitions_of, ranges_of, records_of
from stream.schema_registry.schemas import schemas_of


class SampleRecord(NamedTuple):
    """Holds a record, and where it was found."""

    place: str
    key: bytes | None
    value: bytes | None
    headers: Sequence[tuple[str, bytes | None]] = ()
    offset: int = 0
    timestamp: int = -1


def of_files(paths: Sequence[Path], most: int) -> list[SampleRecord]:
    """Returns the first lines, elements of an array or rows of files, as records without keys.

    Raises DataError.
    """
    found: list[SampleRecord] = []
    for path in paths:
        with Source(path) as source:
            if source.columnar:
                table = ColumnFile(source)
                values = table.documents(table.names)
            else:
                values = elements_of(source) if is_array(source) else lines_of(source)
            found += (
                SampleRecord(f"{path.name}:{number}", None, value)
                for number, value in islice(values, most - len(found))
            )
    return found


async def of_topic(
    settings: Settings, topic: str, most: int, event_format: EventFormat | None = None
) -> list[SampleRecord]:
    """Returns the newest records of a topic by the broker's time, oldest first.

    Afterwards a format that reads a registry's wire format knows their schemas.
    Raises BrokerError, TopicError.
    """
    consumer = await open_consumer(settings)
    try:
        ranges = await ranges_of(
            consumer, await partitions_of(consumer, topic, "is it spelled so?")
        )
        newest = {each: (max(begin, end - most), end) for each, (begin, end) in ranges.items()}
        records: list[Any] = [
            record async for fetched in records_of(consumer, newest) for record in fetched
        ]
    finally:
        await consumer.stop()
    records.sort(key=lambda record: record.timestamp)
    schemas = schemas_of(event_format, settings)
    await schemas.know(records[-most:])
    await schemas.close()
    return [
        SampleRecord(
            f"{topic}[{record.partition}] {record.offset}",
            record.key,
            record.value,
            record.headers,
            record.offset,
            record.timestamp,
        )
        for record in records[-most:]
    ]


def documents_of(
    records: Iterable[SampleRecord], event_format: EventFormat | None
) -> Iterator[bytes]:
    """Yields the values of records, each without a registry's frame; one that is broken is not."""
    for record in records:
        if record.value is None:
            continue
        if event_format is None:
            yield record.value
            continue
        try:
            yield unframed(event_format, record.value)[1]
        except BadEvent:
            continue

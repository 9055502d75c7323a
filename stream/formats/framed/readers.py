"""Knows how the values of each schema id are read, and wraps a format so that it reads them.

It is filled from outside: `missing` says which ids records need, `learn` is told what they are.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Sequence
from contextlib import suppress
from typing import Any, Final

from stream.config import CONTRACT
from stream.contracts.event import Event
from stream.contracts.faults import NO_REGISTRY, BadEvent
from stream.formats.columns.event_columns import ColumnFormat, EventColumns
from stream.formats.columns.events import NO_EVENT, columns_of
from stream.formats.event_format import EventFormat, Headers, Reading
from stream.formats.framed.avro import avro_reader
from stream.formats.framed.frame import (
    AVRO,
    ID_BYTES,
    JSON_SCHEMA,
    KINDS,
    MAGIC,
    PAYLOAD_AT,
    PROTOBUF,
    Reader,
    RegisteredSchema,
    id_of,
)
from stream.formats.framed.protobuf import protobuf_reader
from stream.formats.packed import MOST_BYTES

_MADE: Final = {
    AVRO: avro_reader,
    JSON_SCHEMA: lambda schema: Reader(bytes),  # the payload is the document
    PROTOBUF: protobuf_reader,
}


LEAST_FIELD_AFTER_FIELD: Final = 128
"""Payloads that are read as one array; for fewer its 0.5 ms a batch are more than it saves."""


class SchemaReaders:
    """Holds a reader for each schema id that is known, by its four bytes."""

    def __init__(self) -> None:
        self._readers: dict[bytes, Reader] = {}

    def missing(self, records: Iterable[Any]) -> set[int]:
        """Returns the schema ids that records name and that are not known."""
        named = {
            value[ID_BYTES]
            for record in records
            if type(value := record.value) is bytes
            and len(value) >= PAYLOAD_AT
            and value[0] == MAGIC
        }
        return {int.from_bytes(each, "big") for each in named - self._readers.keys()}

    def learn(self, schema_id: int, schema: RegisteredSchema | None) -> None:
        """Notes what an id stands for; None: the registry has no such schema."""
        self._readers[schema_id.to_bytes(4, "big")] = _reader_of(schema_id, schema)

    def forget(self, schema_id: int) -> None:
        """Lets an id be asked for again."""
        self._readers.pop(schema_id.to_bytes(4, "big"), None)

    def event_of(self, value: bytes) -> Event | None:
        """Returns the event of the contract that a framed value is.

        None: it has no frame, nobody has learned its id, or only its document says what it is.
        """
        reader = self._readers.get(value[ID_BYTES]) if value[:1] == b"\0" else None
        if reader is None or reader.event is None:
            return None
        return reader.event(value[PAYLOAD_AT:])

    def columns(self, values: Sequence[bytes], odd: set[int]) -> EventColumns | None:
        """Returns the columns of events of the contract that framed values are.

        None: the schema of the first says no events, or only a document says what they are.
        """
        frame = next((value[:PAYLOAD_AT] for value in values if value[:1] == b"\0"), b"")
        reader = self._readers.get(frame[ID_BYTES])
        if reader is None or reader.event is None:
            return None
        payloads = [value[PAYLOAD_AT:] if value.startswith(frame) else b"" for value in values]
        odd.update(place for place, value in enumerate(values) if not value.startswith(frame))
        if reader.columns is not None and len(payloads) >= LEAST_FIELD_AFTER_FIELD:
            return reader.columns(payloads, odd)
        events = list(map(reader.event, payloads))
        odd.update(place for place, event in enumerate(events) if event is None)
        return columns_of([event or NO_EVENT for event in events], odd)

    def document_of(self, value: bytes) -> bytes:
        """Returns the JSON document in a value, the value itself where it has no frame.

        Raises BadEvent; and LookupError for an id that nobody has learned, which is no fault of the
        record.
        """
        if value[:1] != b"\0":
            return value
        if len(value) < PAYLOAD_AT:
            raise BadEvent(
                "schema-mismatch",
                f"the value begins as a registry's wire format and has {len(value)} bytes; a zero "
                "byte and the four of a schema id come first",
            )
        reader = self._readers.get(value[ID_BYTES])
        if reader is None:
            raise LookupError(f"schema {id_of(value)} was not fetched before its record was read")
        document = reader(value[PAYLOAD_AT:])
        if len(document) > MOST_BYTES:
            raise BadEvent(
                "too-large",
                f"the value is a document of more than {MOST_BYTES} bytes; send fewer events in "
                "one record",
            )
        return document


class FramedFormat:
    """Reads documents of another format whose values may be in a registry's wire format."""

    def __init__(self, inner: EventFormat, readers: SchemaReaders) -> None:
        self.inner = inner
        self.readers = readers
        self.name = inner.name
        self.constant_bytes = inner.constant_bytes
        self.of_contract = inner.name == CONTRACT

    def read(self, value: bytes, headers: Headers, received_ms: int | None) -> Reading:
        """Returns the events of one value that is one document; raises BadEvent."""
        return self.inner.read(self.readers.document_of(value), headers, received_ms)

    def columns(
        self, values: Sequence[bytes], received_ms: Sequence[int], odd: set[int]
    ) -> EventColumns:
        """Returns the columns of events that schemas say, or else those of documents.

        Values that have another frame than the first one that has any are odd, where it says
        events: a topic has one schema at a time, nearly always.
        """
        if self.of_contract and (found := self.readers.columns(values, odd)) is not None:
            return found
        documents = [self._document(place, value, odd) for place, value in enumerate(values)]
        assert isinstance(self.inner, ColumnFormat)  # else nobody asks for columns
        return self.inner.columns(documents, received_ms, odd)

    def _document(self, place: int, value: bytes, odd: set[int]) -> bytes:
        try:
            return self.readers.document_of(value)
        except (BadEvent, LookupError):
            odd.add(place)
            return b""

    def users_named(self, value: bytes, headers: Headers) -> Collection[str]:
        """Returns the users of one value that is one document."""
        with suppress(BadEvent):  # else the other format finds what can be found
            value = self.readers.document_of(value)
        return self.inner.users_named(value, headers)


def unframed(event_format: EventFormat, value: bytes) -> tuple[EventFormat, bytes]:
    """Returns what reads the documents of a value, and the value without a registry's frame.

    Raises BadEvent, also for a framed value where no registry is given.
    """
    if isinstance(event_format, FramedFormat):
        return event_format.inner, event_format.readers.document_of(value)
    if value[:1] == b"\0":
        raise BadEvent("not-json", NO_REGISTRY)
    return event_format, value


def _reader_of(schema_id: int, schema: RegisteredSchema | None) -> Reader:
    """Returns what reads the values of a schema, or says of each why it cannot be read."""
    if schema is None:
        return _refusing(
            "unknown-schema",
            f"the schema registry has no schema {schema_id}; register it, or name the registry "
            "that the producer used, and replay the dead letter",
        )
    make = _MADE.get(schema.kind)
    if make is None:
        return _refusing(
            "bad-schema",
            f"schema {schema_id} is of kind {schema.kind!r}; use one of {', '.join(KINDS)}",
        )
    try:
        return make(schema)
    except BadEvent as fault:
        return _refusing(fault.reason, f"schema {schema_id}: {fault}", fault.error)


def _refusing(reason: str, message: str, error: str = "BadEvent") -> Reader:
    def refuse(payload: bytes) -> bytes:
        raise BadEvent(reason, message, error)

    return Reader(refuse)

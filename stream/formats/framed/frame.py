"""Takes a value in a registry's wire format apart, and says what a registered schema is.

Source: Confluent, "Wire format" of the Schema Registry's serializers. The layout: one byte 0, the
id of the schema as four bytes in network order, then the payload.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from math import inf
from typing import Final

from stream.contracts.event import Event
from stream.contracts.faults import BadEvent
from stream.formats.columns.event_columns import EventColumns

MAGIC: Final = 0
"""The first byte. No text begins with it, so a value without a frame is told at once."""

ID_BYTES: Final = slice(1, 5)
PAYLOAD_AT: Final = 5

AVRO: Final = "AVRO"
JSON_SCHEMA: Final = "JSON"
PROTOBUF: Final = "PROTOBUF"
KINDS: Final = (AVRO, JSON_SCHEMA, PROTOBUF)
"""What a registry calls the kinds of its schemas."""

MOST_FLAT_BYTES: Final = 100_000
"""Of a payload, and of a schema, by which events are read at once; more may be a document that is
too large."""

MOST_SYMBOL: Final = 256
"""Characters of a name that a schema has for a number, in an event that is read at once: so no text
of an event is much longer than its payload."""

EventReader = Callable[[bytes], Event | None]
"""Returns the event of the contract that a payload is; None: only its document says what it is."""

ColumnReader = Callable[[Sequence[bytes], set[int]], EventColumns]
"""Returns the columns of N payloads of one schema, and adds to a set which of them are odd."""


@dataclass(frozen=True, slots=True)
class Reader:
    """Reads the payloads of one schema."""

    document: Callable[[bytes], bytes]  # the JSON that a payload stands for; raises BadEvent
    event: EventReader | None = None
    columns: ColumnReader | None = None

    def __call__(self, payload: bytes) -> bytes:
        """Returns the JSON document that a payload stands for; raises BadEvent."""
        return self.document(payload)


def is_sound(event: Event) -> bool:
    """Returns whether an event of a schema's values is what their document says.

    Its numbers become those of the contract: a document has no infinite ones, and the contract no
    negative times.
    """
    time, dwell_ms, value = event.time, event.dwell_ms, event.value
    if type(time) is int and time < 0:
        return False
    if dwell_ms is not None:
        event.dwell_ms = dwell_ms = float(dwell_ms)
        if not 0 <= dwell_ms < inf:
            return False
    if value is not None:
        event.value = value = float(value)
        return value - value == 0
    return True


@dataclass(frozen=True, slots=True)
class RegisteredSchema:
    """Holds a schema as a registry gives it, with those that it refers to."""

    kind: str  # one of KINDS
    text: str  # of Protobuf: a FileDescriptorProto in base64
    references: tuple[tuple[str, RegisteredSchema], ...] = ()  # by the name that the text uses


def id_of(value: bytes) -> int:
    """Returns the id of the schema of a framed value."""
    return int.from_bytes(value[ID_BYTES], "big")


def framed(schema_id: int, payload: bytes) -> bytes:
    """Returns a payload in the wire format."""
    return b"\0" + schema_id.to_bytes(4, "big") + payload


def unusable(what: str, error: Exception) -> BadEvent:
    """Returns what to say of a schema that a library refuses."""
    return BadEvent(
        "bad-schema",
        f"it is no {what} that can be used: {error}; register a sound one",
        type(error).__name__,
    )

"""Takes a value in a registry's wire format apart, and says what a registered schema is.

Source: Confluent, "Wire format" of the Schema Registry's serializers. The layout: one byte 0, the
id of the schema as four bytes in network order, then the payload.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Final

from stream.contracts.faults import BadEvent

MAGIC: Final = 0
"""The first byte. No text begins with it, so a value without a frame is told at once."""

ID_BYTES: Final = slice(1, 5)
PAYLOAD_AT: Final = 5

AVRO: Final = "AVRO"
JSON_SCHEMA: Final = "JSON"
PROTOBUF: Final = "PROTOBUF"
KINDS: Final = (AVRO, JSON_SCHEMA, PROTOBUF)
"""What a registry calls the kinds of its schemas."""

Reader = Callable[[bytes], bytes]
"""Returns the JSON document that a payload stands for; raises BadEvent."""


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

"""Reads Avro by the specification, in plain Python, for the audit.

It shares no code with stream/formats/framed, which reads through fastavro. Slow, and one file.
Source: Apache Avro 1.12 specification, "Binary encoding" and "Logical types".
"""

from __future__ import annotations

import struct
from base64 import b64encode
from collections.abc import Mapping
from datetime import UTC, date, datetime, timedelta
from math import isfinite
from typing import Any, Final
from uuid import UUID

from stream.audit.documents import NotReadableError

PRIMITIVES: Final = ("null", "boolean", "int", "long", "float", "double", "bytes", "string")
_TO_MS: Final = {"timestamp-micros": 1_000, "timestamp-nanos": 1_000_000}
_A_SECOND: Final = {
    "local-timestamp-millis": 1_000,
    "local-timestamp-micros": 1_000_000,
    "local-timestamp-nanos": 1_000_000_000,
}


class Names:
    """Holds the named types of a schema, and of those that it refers to."""

    def __init__(self) -> None:
        self._types: dict[str, tuple[Any, str]] = {}  # by full name: the type and its namespace

    def add(self, schema: Any, space: str = "") -> None:
        """Takes the names that a schema declares; raises NotReadableError if one holds itself."""
        if isinstance(schema, list):
            for each in schema:
                self.add(each, space)
        elif isinstance(schema, dict):
            if schema["type"] in ("record", "error", "enum", "fixed"):
                full = _full(schema["name"], schema.get("namespace", space))
                space = full.rpartition(".")[0]
                self._types[full] = schema, space
            for name in ("type", "items", "values"):
                self.add(schema.get(name), space)
            for each in schema.get("fields", ()):
                self.add(each["type"], space)

    def named(self, name: str, space: str) -> tuple[Any, str]:
        """Returns a type and the namespace inside it; raises KeyError."""
        full = _full(name, space)
        return self._types[full if full in self._types else name]

    def least_bytes(self, schema: Any, space: str = "", inside: tuple[str, ...] = ()) -> int:
        """Returns whether a value takes bytes at all: 0 or 1.

        Raises NotReadableError for what stands for endless data in few bytes.
        """
        if isinstance(schema, list):
            for each in schema:
                self.least_bytes(each, space, inside)
            return 1
        if isinstance(schema, str):
            if schema in PRIMITIVES:
                return int(schema != "null")
            return self.least_bytes(*self.named(schema, space), inside)
        kind = schema["type"]
        if kind in ("record", "error"):
            full = _full(schema["name"], schema.get("namespace", space))
            if full in inside:
                raise NotReadableError
            space, inside = full.rpartition(".")[0], (*inside, full)
            return max(
                [0, *(self.least_bytes(each["type"], space, inside) for each in schema["fields"])]
            )
        if kind in ("array", "map"):
            least = self.least_bytes(
                schema["items" if kind == "array" else "values"], space, inside
            )
            if kind == "array" and not least:
                raise NotReadableError
            return 1
        if kind == "fixed":
            return int(schema["size"] > 0)
        return 1 if kind == "enum" else self.least_bytes(kind, space, inside)


def _full(name: str, space: str | None) -> str:
    return name if "." in name or not space or name in PRIMITIVES else f"{space}.{name}"


class Bytes:
    """Reads a value from its bytes, all of them; raises NotReadableError."""

    def __init__(self, value: bytes, names: Names) -> None:
        self._value = value
        self._at = 0
        self._names = names

    def whole(self, schema: Any) -> Any:
        """Returns what the bytes say, as JSON can show it."""
        found = self._read(schema, "")
        if self._at != len(self._value):
            raise NotReadableError
        return found

    def _take(self, count: int) -> bytes:
        if count < 0 or self._at + count > len(self._value):
            raise NotReadableError
        self._at += count
        return self._value[self._at - count : self._at]

    def _long(self) -> int:
        found = shift = 0
        while True:
            (byte,) = self._take(1)
            found |= (byte & 0x7F) << shift
            shift += 7
            if byte < 0x80:
                found &= 2**64 - 1
                return found >> 1 ^ -(found & 1)
            if shift > 63:
                raise NotReadableError

    def _read(self, schema: Any, space: str) -> Any:
        if isinstance(schema, list):
            return self._read(_at(schema, self._long()), space)
        if isinstance(schema, str):
            if schema in PRIMITIVES:
                return self._primitive(schema)
            return self._read(*self._names.named(schema, space))
        kind = schema["type"]
        if kind in ("record", "error"):
            space = _full(schema["name"], schema.get("namespace", space)).rpartition(".")[0]
            return {each["name"]: self._read(each["type"], space) for each in schema["fields"]}
        if kind == "enum":
            return _at(schema["symbols"], self._long())
        if kind == "array":
            return [self._read(schema["items"], space) for _ in self._blocks()]
        if kind == "map":
            return {self._text(): self._read(schema["values"], space) for _ in self._blocks()}
        if kind == "fixed":
            return _logical(schema, "fixed", self._take(schema["size"]))
        if isinstance(kind, str) and kind in PRIMITIVES:
            raw = self._take(max(0, self._long())) if kind == "bytes" else self._primitive(kind)
            return _logical(schema, kind, raw)
        return self._read(kind, space)

    def _primitive(self, kind: str) -> Any:
        if kind == "null":
            return None
        if kind == "boolean":
            return self._take(1) != b"\0"
        if kind in ("int", "long"):
            return self._long()
        if kind in ("float", "double"):
            form = "<f" if kind == "float" else "<d"
            (number,) = struct.unpack(form, self._take(struct.calcsize(form)))
            return number if isfinite(number) else None
        if kind == "string":
            return self._text()
        return b64encode(self._take(self._long())).decode()

    def _text(self) -> str:
        try:
            return self._take(self._long()).decode()
        except UnicodeDecodeError:
            raise NotReadableError from None

    def _blocks(self) -> Any:
        """Yields once for each element of an array or map, block by block."""
        while count := self._long():
            if count < 0:
                self._long()  # the size of the block, for those who skip it
            for _ in range(abs(count)):
                yield


def _at(several: list[Any], place: int) -> Any:
    if not -len(several) <= place < len(several):
        raise NotReadableError
    return several[place]  # from the end, as fastavro takes a negative one


def _logical(schema: Mapping[str, Any], kind: str, value: Any) -> Any:
    """Returns a value as its logical type says; bytes are base64 where it says nothing."""
    logical = schema.get("logicalType")
    try:
        if kind == "long" and logical in _TO_MS:
            return value // _TO_MS[logical]
        if kind == "long" and logical in _A_SECOND:
            unit = _A_SECOND[logical]
            moment = datetime.fromtimestamp(0, UTC) + timedelta(seconds=value // unit)
            micros = value % unit * 1_000_000 // unit
            return (moment.replace(tzinfo=None) + timedelta(microseconds=micros)).isoformat()
        if kind == "int" and logical == "date":
            return (date(1970, 1, 1) + timedelta(days=value)).isoformat()
    except OverflowError:
        raise NotReadableError from None
    if logical == "decimal" and kind in ("bytes", "fixed"):
        whole = int.from_bytes(value, "big", signed=True)
        return float(whole / 10 ** int(schema.get("scale", 0)))
    if logical == "uuid" and kind == "fixed":
        return str(UUID(bytes=value))
    return b64encode(value).decode() if isinstance(value, bytes) else value

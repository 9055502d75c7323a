"""Reads flat records of Avro as columns: all records of a schema at once, field after field.

All payloads are one array of bytes, and each record has a place in it that moves on with every
field. What a record holds that is not plain (a text of 8 KiB, an array in two blocks, broken bytes)
makes it odd; flat_avro.py says what such a record is. A record is sound if its place is its end
behind the last field: places never move back, so it has read nothing of its neighbours.

Glossary: N records. Source: Apache Avro 1.12 specification, "Binary encoding".
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from itertools import accumulate
from typing import Any, Final

import numpy as np

from stream.contracts.times import parse_time
from stream.formats.columns.event_columns import EventColumns
from stream.formats.columns.fields import read_each
from stream.formats.framed.flat_avro import (
    BOOLEAN,
    BYTES,
    DOUBLE,
    ENUM,
    FLOAT,
    LONG,
    MICROS,
    TEXT,
    TEXTS,
    FlatField,
    Kind,
)
from stream.formats.framed.frame import MOST_FLAT_BYTES, ColumnReader

Array = np.ndarray[Any, Any]

_MOST_BYTES: Final = 9
"""Of a whole number that is read here; one of ten has more than 63 bits."""

_MOST_TEXTS: Final = 16
"""Of an array that is read here."""

_MORE: Final = 0x80
_PADDING: Final = bytes(8)
"""Behind the last payload, so that a fraction at its end can be read."""


def column_reader(fields: Sequence[FlatField]) -> ColumnReader:
    """Returns what reads columns of records with these fields."""

    def read(payloads: Sequence[bytes], odd: set[int]) -> EventColumns:
        places = _Payloads(payloads)
        texts = {field.name: [""] * len(payloads) for field in fields}
        times_ms = np.zeros(len(payloads), np.int64)
        for field in fields:
            for kind, rows in places.branches(field):
                if kind.number in (TEXT, TEXTS, ENUM):
                    _put(texts[field.name], rows, places.text_of(kind, rows))
                    continue
                numbers = places.number_of(kind, rows)
                if field.name == "time":
                    times_ms[rows] = numbers
                elif field.name in ("dwell_ms", "value"):
                    least = 0 if field.name == "dwell_ms" else -np.inf
                    places.bad[rows] |= ~((numbers >= least) & np.isfinite(numbers))
        odd.update(np.flatnonzero(places.bad | (places.at != places.ends)).tolist())
        return _columns(texts, times_ms, odd)

    return read


def _columns(texts: dict[str, list[str]], times_ms: Array, odd: set[int]) -> EventColumns:
    moments = times_ms.tolist()
    if any(texts["time"]):
        written = read_each(lambda text: parse_time(text) if text else 0, texts["time"], 0, odd)
        moments = [time or number for time, number in zip(written, moments, strict=True)]
    return EventColumns(
        users=texts["user_id"],
        actions=texts["action"],
        times_ms=moments,
        event_ids=texts.get("event_id", ()),
        item_ids=texts.get("item_id", ()),
        titles=texts.get("title", ()),
        queries=texts.get("query", ()),
        others=tuple(texts[name] for name in ("session_id", "categories") if name in texts),
    )


class _Payloads:
    """Holds N payloads and the place in each that is read next."""

    def __init__(self, payloads: Sequence[bytes]) -> None:
        self._bytes = b"".join(payloads)
        self._characters = self._bytes.decode("latin-1")  # cut as texts are, where they are ASCII
        self._array = np.frombuffer(self._bytes + _PADDING, np.uint8)
        self._all = np.arange(len(payloads))
        self.ends = np.fromiter(accumulate(map(len, payloads)), np.int64, len(payloads))
        self.at = np.zeros(len(payloads), np.int64)
        self.at[1:] = self.ends[:-1]
        self.bad = np.diff(self.ends, prepend=0) > MOST_FLAT_BYTES

    def branches(self, field: FlatField) -> Iterator[tuple[Kind, Array]]:
        """Yields each type that a field may be of, and the rows where it is."""
        if not field.union:
            yield field.kinds[0], self._all
            return
        branch = self.byte(self._all)
        self.bad |= (branch & 1 == 1) | (branch >= 2 * len(field.kinds))
        for place, kind in enumerate(field.kinds):
            rows = np.flatnonzero(branch == 2 * place)
            if len(rows):
                yield kind, rows

    def byte(self, rows: Array) -> Array:
        """Returns the next byte int64 [R] of some rows, and moves on."""
        at = self.at[rows]
        self.at[rows] = at + 1
        found: Array = self._array[np.minimum(at, len(self._array) - 1)].astype(np.int64)
        return found

    def number(self, rows: Array) -> Array:
        """Returns a whole number int64 [R] of some rows, and moves on."""
        raw = np.zeros(len(rows), np.uint64)
        left = np.arange(len(rows))
        for place in range(_MOST_BYTES):
            byte = self.byte(rows[left])
            raw[left] |= (byte & 0x7F).astype(np.uint64) << np.uint64(7 * place)
            left = left[byte >= _MORE]
            if not len(left):
                break
        self.bad[rows[left]] = True
        return (raw >> np.uint64(1)).astype(np.int64) ^ -(raw & np.uint64(1)).astype(np.int64)

    def size(self, rows: Array) -> Array:
        """Returns a size, count or index int64 [R], which is 0 where it is negative, and odd."""
        found = self.number(rows)
        wrong = (found < 0) | (found > len(self._bytes))
        if wrong.any():
            self.bad[rows[wrong]] = True
            found[wrong] = 0
        return found

    def span(self, rows: Array) -> tuple[list[int], list[int]]:
        """Returns where the text or the bytes of some rows begin and end, and moves on."""
        sizes = self.size(rows)
        starts = self.at[rows]
        ends = starts + sizes
        over = ends > self.ends[rows]
        if over.any():
            self.bad[rows[over]] = True
            ends[over] = starts[over]
        self.at[rows] = ends
        return starts.tolist(), ends.tolist()

    def texts(self, rows: Array) -> list[str]:
        """Returns a text [R] of some rows, and moves on."""
        starts, ends = self.span(rows)
        characters = self._characters
        found = [characters[start:end] for start, end in zip(starts, ends, strict=True)]
        if not all(map(str.isascii, found)):
            for place, text in enumerate(found):
                if not text.isascii():
                    found[place] = self._decoded(text, rows[place])
        return found

    def joined_texts(self, rows: Array) -> list[str]:
        """Returns all texts of an array [R] of some rows, joined, and moves on."""
        counts = self.size(rows)
        self.bad[rows[counts > _MOST_TEXTS]] = True
        found = [""] * len(rows)
        for number in range(_MOST_TEXTS):
            left = np.flatnonzero(counts > number)
            if not len(left):
                break
            for place, text in zip(left.tolist(), self.texts(rows[left]), strict=True):
                found[place] += text
        some = rows[counts > 0]
        self.bad[some] |= self.byte(some) != 0  # another block
        return found

    def symbols(self, rows: Array, symbols: Sequence[str]) -> list[str]:
        """Returns the name [R] of an enum's number of some rows, and moves on."""
        numbers = self.size(rows)
        self.bad[rows[numbers >= len(symbols)]] = True
        return [symbols[number] for number in np.minimum(numbers, len(symbols) - 1).tolist()]

    def text_of(self, kind: Kind, rows: Array) -> list[str]:
        """Returns a text [R] of some rows for a value of a type of texts."""
        if kind.number == ENUM:
            return self.symbols(rows, kind.symbols)
        return self.texts(rows) if kind.number == TEXT else self.joined_texts(rows)

    def number_of(self, kind: Kind, rows: Array) -> Array:
        """Returns a number [R] of some rows for a value of another type, 0 if it is none."""
        if kind.number == LONG:
            return self.number(rows)
        if kind.number == MICROS:
            return self.number(rows) // 1_000
        if kind.number == FLOAT:
            return self.fractions(rows, "<f4", 4)
        if kind.number == DOUBLE:
            return self.fractions(rows, "<f8", 8)
        if kind.number == BYTES:
            self.span(rows)
        elif kind.number == BOOLEAN:
            self.bad[rows] |= self.byte(rows) > 1
        return np.zeros(len(rows), np.int64)

    def fractions(self, rows: Array, kind: str, size: int) -> Array:
        """Returns a fraction float64 [R] of some rows, of a type of so many bytes."""
        at = np.minimum(self.at[rows], len(self._array) - size)
        self.at[rows] += size
        found: Array = self._array[at[:, None] + np.arange(size)].copy().view(kind)[:, 0]
        return found.astype(np.float64)

    def _decoded(self, characters: str, row: int) -> str:
        try:
            return characters.encode("latin-1").decode()
        except UnicodeDecodeError:
            self.bad[row] = True
            return ""


def _put(column: list[str], rows: Array, found: list[str]) -> None:
    """Puts the texts of some rows into a column."""
    if len(rows) == len(column):
        column[:] = found
    else:
        for row, text in zip(rows.tolist(), found, strict=True):
            column[row] = text

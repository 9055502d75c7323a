"""Reads Parquet and Arrow files, a batch of rows at a time, each row as a JSON document.

A row becomes the document that a program would have sent: nested columns are objects and arrays,
times are texts (with a Z where the column has a zone), whole numbers stay exact. So BigQuery's
export of GA4 in Parquet is read by what reads its JSON. Needs the extra `parquet` (pyarrow).
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from os import SEEK_END
from typing import Any, Final

import msgspec

from stream.errors import DataError
from stream.files.opening import ARROW_STREAM, PARQUET, Source
from stream.files.places import partition_of

ROWS: Final = 4_096
"""Rows that are held at once; of a Parquet file also the pages that they lie in."""

_BUFFER: Final = 1 << 20
"""Bytes of a column that are read ahead, so that a row group need not fit into memory."""

_END_OF_STREAM: Final = b"\xff\xff\xff\xff\0\0\0\0"
_LISTS: Final = frozenset(("list", "bag"))
_ELEMENTS: Final = frozenset(("element", "item", "array", "array_element"))
"""Names that programs give to the two levels of a Parquet list, where they stay in the data."""

_encode: Final = msgspec.json.Encoder().encode


class ColumnFile:
    """Holds an open Parquet or Arrow file."""

    def __init__(self, source: Source) -> None:
        """Reads what the file says of itself; raises DataError.

        Folders named `day=2026-01-05` give a column to the files in them that lack it.
        """
        self._source = source
        self.kind = source.columnar
        self._row = 0  # the last that was given
        pyarrow = _pyarrow(source)
        with self._faults(lambda: ""):
            self._reader, schema = _open(pyarrow, source)
        own = list(schema.names)
        twice = next((name for name in own if own.count(name) > 1), None)
        if twice is not None:
            raise DataError(f"{source.name}: two columns are called {twice}; rename one of them")
        self._plain = {field.name: _plain_type(pyarrow, field.type) for field in schema}
        self._wrapped = {field.name for field in schema if _has_levels(pyarrow, field.type)}
        self._partition = {
            name: value for name, value in partition_of(source.file).items() if name not in own
        }
        self.names = [*own, *self._partition]

    def example(self) -> Mapping[str, Any]:
        """Returns the first row with all columns, empty if there is none."""
        for _, document in self.documents(self.names):
            found: dict[str, Any] = msgspec.json.decode(document)
            return found
        return {}

    def documents(self, names: Sequence[str]) -> Iterator[tuple[int, bytes]]:
        """Yields each row's number, from 1, and some of its columns as a JSON object."""
        self._row = 0
        own = [name for name in names if name not in self._partition]
        added = {name: self._partition[name] for name in names if name in self._partition}
        batches = self._batches(own)
        while True:
            with self._faults(lambda: f" after row {self._row}"):
                batch = next(batches, None)
                columns = [] if batch is None else [self._values(batch, name) for name in own]
            if batch is None:
                return
            for place in range(batch.num_rows):
                self._row += 1
                row = {name: column[place] for name, column in zip(own, columns, strict=True)}
                yield self._row, _document(row | added)

    def _batches(self, names: list[str]) -> Iterator[Any]:
        """Yields the record batches of the file, with some columns."""
        if self.kind == PARQUET:
            yield from self._reader.iter_batches(ROWS, columns=names, use_threads=False)
            return
        if self.kind == ARROW_STREAM:
            whole = iter(self._reader)
        else:
            count = self._reader.num_record_batches
            whole = (self._reader.get_batch(place) for place in range(count))
        for batch in whole:
            for begin in range(0, batch.num_rows, ROWS):
                yield batch.slice(begin, ROWS).select(names)

    def _values(self, batch: Any, name: str) -> list[Any]:
        """Returns the values of a column as what JSON has."""
        column, plain = batch.column(name), self._plain[name]
        try:
            changed = column if column.type == plain else column.cast(plain, safe=False)
            values: list[Any] = changed.to_pylist(maps_as_pydicts="strict")
        except (ValueError, OverflowError, KeyError) as error:
            # texts that are no UTF-8 make their own rows bad, and no others
            if not _is_text(column.type):
                raise DataError(
                    f"{self._source.name}: column {name} holds a value that cannot be read "
                    f"({error}); write the file without it"
                ) from None
            values = [_decoded(each) for each in column.cast("binary").to_pylist()]
        return [_unwrapped(each) for each in values] if name in self._wrapped else values

    @contextmanager
    def _faults(self, place: Callable[[], str]) -> Iterator[None]:
        """Turns what pyarrow says of a damaged file into a DataError."""
        with self._source.faults(place):
            try:
                yield
            except (_pyarrow(self._source).ArrowException, ValueError) as error:
                raise self._source.damaged(place(), error) from None


def _pyarrow(source: Source) -> Any:
    """Returns the library; raises DataError that says how to install it."""
    try:
        import pyarrow
        import pyarrow.ipc
        import pyarrow.parquet
    except ImportError:
        raise DataError(
            f"{source.name}: is {source.columnar}, and what reads it is not installed; "
            "pip install 'interest-stream[parquet]', or export it as CSV or JSON lines"
        ) from None
    return pyarrow


def _open(pyarrow: Any, source: Source) -> tuple[Any, Any]:
    """Returns what reads a file, and its schema."""
    if source.columnar == PARQUET:
        reader = pyarrow.parquet.ParquetFile(
            source.raw, pre_buffer=False, buffer_size=_BUFFER, page_checksum_verification=True
        )
        return reader, reader.schema_arrow
    if source.columnar == ARROW_STREAM:
        # one that was cut between two batches reads as if it ended there
        source.raw.seek(-len(_END_OF_STREAM), SEEK_END)
        if source.raw.read() != _END_OF_STREAM:
            raise EOFError("the mark of its end is missing")
        source.raw.seek(0)
        reader = pyarrow.ipc.open_stream(source.raw)
    else:
        reader = pyarrow.ipc.open_file(source.raw)
    return reader, reader.schema


def _plain_type(pa: Any, kind: Any) -> Any:
    """Returns the type by which the values of an Arrow type become what JSON has."""
    types = pa.types
    if types.is_binary(kind) or types.is_large_binary(kind) or types.is_fixed_size_binary(kind):
        return pa.large_string()
    if types.is_timestamp(kind):
        return pa.timestamp("us", "UTC" if kind.tz else None)
    if types.is_time64(kind):
        return pa.time64("us")
    if types.is_duration(kind):
        return pa.duration("us")
    if types.is_dictionary(kind):
        return _plain_type(pa, kind.value_type)
    if types.is_map(kind):
        return pa.map_(_plain_type(pa, kind.key_type), _plain_type(pa, kind.item_type))
    if types.is_list(kind) or types.is_large_list(kind) or types.is_fixed_size_list(kind):
        inner = kind.value_field
        return pa.large_list(inner.with_type(_plain_type(pa, inner.type)))
    if types.is_struct(kind):
        return pa.struct([field.with_type(_plain_type(pa, field.type)) for field in kind])
    return kind


def _is_text(kind: Any) -> bool:
    return str(kind) in ("string", "large_string", "binary", "large_binary")


def _decoded(value: bytes | None) -> str | None:
    return None if value is None else value.decode("utf-8", "surrogateescape")


def _has_levels(pa: Any, kind: Any) -> bool:
    """Returns whether a type holds lists as {"list": [{"element": ...}]} somewhere.

    BigQuery writes and reads them so where nobody asks for the inference of lists.
    """
    types = pa.types
    if types.is_list(kind) or types.is_large_list(kind):
        return _has_levels(pa, kind.value_type)
    if not types.is_struct(kind):
        return False
    fields = list(kind)
    if len(fields) == 1 and fields[0].name in _LISTS and types.is_list(fields[0].type):
        inner = fields[0].type.value_type
        if types.is_struct(inner) and [field.name in _ELEMENTS for field in inner] == [True]:
            return True
    return any(_has_levels(pa, field.type) for field in fields)


def _unwrapped(value: Any) -> Any:
    """Returns a value whose lists stand for themselves, without the two levels around them."""
    if isinstance(value, list):
        return [_unwrapped(each) for each in value]
    if not isinstance(value, dict):
        return value
    if len(value) == 1 and next(iter(value)) in _LISTS:
        inside = next(iter(value.values())) or []
        if all(isinstance(each, dict) and each.keys() <= _ELEMENTS for each in inside):
            return [_unwrapped(item) for each in inside for item in each.values()]
    return {name: _unwrapped(each) for name, each in value.items()}


def _document(row: Mapping[str, Any]) -> bytes:
    """Returns a row as JSON; texts that are no UTF-8 keep their bytes, so that a reader sees it."""
    try:
        return _encode(row)
    except UnicodeEncodeError:
        return json.dumps(row, ensure_ascii=False, default=str).encode("utf-8", "surrogateescape")

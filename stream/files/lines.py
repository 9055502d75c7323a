"""Reads lines of text files in bounded memory, and the elements of files that are a JSON array.

Each line and element has its number; a JSON array may stand in as many lines as it likes.
"""

from __future__ import annotations

import codecs
import json
import re
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, nullcontext
from typing import BinaryIO, Final

from stream.errors import DataError
from stream.files.opening import PARQUET, PEEK, Source
from stream.files.places import File

MAX_LINE_BYTES: Final = 1 << 20
"""A longer line is one bad line, whatever is in it."""

_BOM: Final = b"\xef\xbb\xbf"
_ARRAY: Final = re.compile(rb"(?:\xef\xbb\xbf)?\s*\[\s*(?:[{\]]|\Z)")
"""How a file begins that is a JSON array of objects, or of nothing."""

_SPACES: Final = re.compile(r"[ \t\r\n]*")
_SPACES_AND_COMMAS: Final = re.compile(r"[ \t\r\n,]*")


def read_lines(file: File) -> Iterator[tuple[int, bytes]]:
    """Yields each line's number, from 1, and the line without its end; blank lines are left out.

    An overlong line is cut to MAX_LINE_BYTES + 1 bytes. Raises DataError: the file is missing,
    empty, not text, or its compression is damaged.
    """
    with Source(file) as source:
        if source.columnar:
            what = "a Parquet file" if source.columnar == PARQUET else "an Arrow file"
            raise DataError(f"{file}: is {what}; give a text file here, a line each")
        yield from lines_of(source)


def lines_of(source: Source) -> Iterator[tuple[int, bytes]]:
    """Yields the lines of an open file, as read_lines does."""
    yield from _lines(source.stream, source.faults)


def read_stream(file: BinaryIO, name: str) -> Iterator[tuple[int, bytes]]:
    """Yields lines as read_lines does, from an open file of text; `name` stands in messages."""
    try:
        yield from _lines(file, lambda _: nullcontext())
    except OSError as error:
        raise DataError(f"{name}: cannot be read: {error.strerror or error}") from None


def is_array(source: Source) -> bool:
    """Returns whether an open file begins as a JSON array of objects does."""
    return _ARRAY.match(source.start) is not None


def elements_of(source: Source) -> Iterator[tuple[int, bytes]]:
    """Yields the elements of a file that is a JSON array, each with the number of its first line.

    Several arrays may follow each other. Raises DataError: as read_lines does, or the file is no
    array to its end, or an element is longer than MAX_LINE_BYTES.
    """
    array = _Array(source.stream, source.name)
    with source.faults(lambda: f" after line {array.line}"):
        yield from array


Faults = Callable[[Callable[[], str]], AbstractContextManager[None]]


def _lines(file: BinaryIO, faults: Faults) -> Iterator[tuple[int, bytes]]:
    number = 0
    with faults(lambda: f" after line {number}"):
        while line := file.readline(MAX_LINE_BYTES + 1):
            number += 1
            long = len(line) > MAX_LINE_BYTES
            if long:
                _skip_line(file, line)
            if number == 1:
                line = line.removeprefix(_BOM)
            line = line if long else line.rstrip(b"\r\n")
            if line.strip():
                yield number, line


class _Array:
    """Iterates over the elements of JSON arrays in an open file, of which it holds a piece."""

    def __init__(self, file: BinaryIO, name: str) -> None:
        self.line = 1  # of the place
        self._file, self._name = file, name
        self._bytes = codecs.getincrementaldecoder("utf-8")("surrogateescape")
        self._scan = json.JSONDecoder(strict=False).raw_decode
        self._text, self._place = "", 0
        self._ended = False

    def __iter__(self) -> Iterator[tuple[int, bytes]]:
        inside = False
        while mark := self._mark(_SPACES_AND_COMMAS if inside else _SPACES):
            if inside and mark != "]":
                yield self._element()
            elif mark in "\ufeff[]":
                inside = mark == "["
                self._go_to(self._place + 1)
            else:
                raise DataError(
                    f"{self._name}:{self.line}: text follows the JSON array; "
                    "give one array, or one JSON object a line"
                )
        if inside:
            raise self._broken("it ends before its ]")

    def _mark(self, spaces: re.Pattern[str]) -> str:
        """Goes to the next character that is none of `spaces` and returns it, empty at the end."""
        while True:
            found = spaces.match(self._text, self._place)
            self._go_to(found.end() if found else self._place)
            if self._place < len(self._text) or self._ended:
                return self._text[self._place : self._place + 1]
            self._read_on()

    def _element(self) -> tuple[int, bytes]:
        """Returns the line and the bytes of the element at the place, and goes behind it."""
        while True:
            try:
                _, end = self._scan(self._text, self._place)
            except RecursionError:
                raise self._broken("an element nests too deep") from None
            except ValueError as error:
                if self._ended or len(self._text) - self._place > MAX_LINE_BYTES:
                    raise self._broken(f"an element is no JSON, or too long: {error}") from None
            else:
                if end < len(self._text) or self._ended:  # else a number may go on
                    break
            self._read_on()
        line, text = self.line, self._text[self._place : end]
        self._go_to(end)
        return line, text.encode("utf-8", "surrogateescape")

    def _go_to(self, place: int) -> None:
        self.line += self._text.count("\n", self._place, place)
        self._place = place

    def _read_on(self) -> None:
        """Reads the next piece, and forgets what lies before the place."""
        piece = self._file.read(PEEK)
        self._ended = not piece
        self._text = self._text[self._place :] + self._bytes.decode(piece, self._ended)
        self._place = 0

    def _broken(self, why: str) -> DataError:
        return DataError(
            f"{self._name}:{self.line}: the JSON array cannot be read on ({why}); "
            "write one JSON object a line"
        )


def _skip_line(file: BinaryIO, line: bytes) -> None:
    """Reads on to the end of a line, in pieces."""
    while line and not line.endswith(b"\n"):
        line = file.readline(PEEK)

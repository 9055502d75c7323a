"""Lines of text files, plain or gzipped, with errors a user can act on. Reading is bounded: a line has a longest length."""

from __future__ import annotations

import gzip
import zlib
from collections.abc import Iterator
from pathlib import Path
from typing import BinaryIO, Final, cast

from stream.errors import DataError

MAX_LINE_BYTES: Final = 1 << 20
"""A longer line is one bad line, whatever is in it."""

_GZIP: Final = b"\x1f\x8b"
_BOM: Final = b"\xef\xbb\xbf"
_PEEK: Final = 65_536
_FOREIGN: Final = {
    b"PK\x03\x04": "a zip archive; unpack it",
    b"PAR1": "a Parquet file; export it as CSV or JSON lines",
    b"\x28\xb5\x2f\xfd": "compressed with zstd; decompress it, or use gzip",
    b"BZh": "compressed with bzip2; decompress it, or use gzip",
    b"\xfd7zXZ": "compressed with xz; decompress it, or use gzip",
    b"\xff\xfe": "UTF-16; save it as UTF-8",
    b"\xfe\xff": "UTF-16; save it as UTF-8",
}


def read_lines(path: Path) -> Iterator[tuple[int, bytes]]:
    """(number, line without its end), from 1, blank lines left out; an overlong line is cut to MAX_LINE_BYTES + 1 bytes.

    Raises DataError: the file is missing, empty, not text, or its compression is damaged.
    """
    with _open(path) as file:
        yield from read_stream(file, str(path))


def read_stream(file: BinaryIO, name: str) -> Iterator[tuple[int, bytes]]:
    """As read_lines, from an open file; `name` stands in messages."""
    number = 0
    try:
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
    except (EOFError, gzip.BadGzipFile, zlib.error) as error:
        raise DataError(
            f"{name}: the gzip data is damaged after line {number} ({error}); copy the file again"
        ) from None
    except OSError as error:
        raise DataError(f"{name}: cannot be read: {error.strerror or error}") from None


def _open(path: Path) -> BinaryIO:
    """The file as bytes, decompressed if its first bytes say gzip (its name does not matter)."""
    if not path.exists():
        raise DataError(f"{path}: there is no such file")
    if path.is_dir():
        raise DataError(f"{path}: is a folder; name the files in it")
    try:
        with path.open("rb") as file:
            packed = file.read(2) == _GZIP
        opened = cast(BinaryIO, gzip.open(path, "rb") if packed else path.open("rb"))  # noqa: SIM115  # the caller closes it
        start = opened.read(_PEEK)
        opened.seek(0)
    except (EOFError, zlib.error) as error:
        raise DataError(f"{path}: the gzip data is damaged ({error}); copy the file again") from None
    except OSError as error:
        raise DataError(f"{path}: cannot be read: {error.strerror or error}") from None
    if not start.strip():
        opened.close()
        raise DataError(f"{path}: is empty")
    problem = next((what for magic, what in _FOREIGN.items() if start.startswith(magic)), None)
    if problem is None and b"\x00" in start:
        problem = "binary data; give JSON lines, CSV or TSV"
    if problem is not None:
        opened.close()
        raise DataError(f"{path}: is not text but {problem}")
    return opened


def _skip_line(file: BinaryIO, line: bytes) -> None:
    while line and not line.endswith(b"\n"):
        line = file.readline(_PEEK)

"""Opens files of this machine and of others, decompressed, with errors one can act on.

What a file is decides its first bytes, never its name: gzip, zstd, bzip2 and xz are unpacked as
they are read, in bounded memory, also where several compressed parts follow each other in one file.
A file that ends too soon or is damaged is a DataError that says so.
"""

from __future__ import annotations

import bz2
import gzip
import lzma
import zlib
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from types import TracebackType
from typing import Any, BinaryIO, Final, cast

from backports import zstd

from stream.errors import DataError
from stream.files.places import File, Remote, in_words, open_remote

PEEK: Final = 65_536
"""Bytes by which it is seen what a file is."""

PARQUET: Final = "Parquet"
ARROW_FILE: Final = "Arrow"
ARROW_STREAM: Final = "Arrow stream"

_COMPRESSED: Final = {
    b"\x1f\x8b": "gzip",
    b"\x28\xb5\x2f\xfd": "zstd",
    b"BZh": "bzip2",
    b"\xfd7zXZ": "xz",
}
_UNPACKED: Final[dict[str, Callable[[BinaryIO], Any]]] = {
    "gzip": lambda raw: gzip.GzipFile(fileobj=raw),
    "zstd": zstd.ZstdFile,
    "bzip2": bz2.BZ2File,
    "xz": lzma.LZMAFile,
}
_COLUMNAR: Final = {
    b"PAR1": PARQUET,
    b"ARROW1": ARROW_FILE,
    b"\xff\xff\xff\xff": ARROW_STREAM,
}
_FOREIGN: Final = {
    b"PK\x03\x04": "a zip archive; unpack it (an Excel file: save it as CSV)",
    b"7z\xbc\xaf\x27\x1c": "a 7z archive; unpack it",
    b"\x04\x22\x4d\x18": "compressed with lz4; decompress it, or use gzip or zstd",
    b"\xff\x06\x00\x00sNaPpY": "compressed with snappy; decompress it, or use gzip or zstd",
    b"\x1f\x9d": "compressed with compress; decompress it, or use gzip or zstd",
    b"PARE": "an encrypted Parquet file; write it without encryption",
    b"FEA1": "a Feather file of version 1; write it as Feather 2, Arrow or Parquet",
    b"ORC": "an ORC file; write it as Parquet, CSV or JSON lines",
    b"Obj\x01": "an Avro file; write it as Parquet or JSON lines",
    b"\x89HDF": "an HDF5 file; write it as Parquet or CSV",
    b"SQLite format 3": "an SQLite database; export its table as CSV",
    b"\xff\xfe": "UTF-16; save it as UTF-8",
    b"\xfe\xff": "UTF-16; save it as UTF-8",
}


class EmptyFileError(DataError):
    """Says that a file holds nothing, which is no fault of one part among several."""


class Source:
    """Holds an open file: its bytes decompressed, what it is, and how far it has been read."""

    def __init__(self, file: File) -> None:
        """Opens the file and looks at its first bytes.

        Raises DataError: there is no such file, it is empty, or nothing that can be read.
        """
        self.file, self.name = file, str(file)
        self.compression = ""
        self.columnar = ""  # PARQUET, ARROW_FILE or ARROW_STREAM; then `stream` is the raw file
        with self.faults():
            self.raw, self.size = _open(file)
        try:
            with self.faults():
                self._look()
        except BaseException:
            self.close()
            raise

    def _look(self) -> None:
        """Finds out what the file is, and unpacks it if it is compressed."""
        start = self.raw.read(8)
        self.raw.seek(0)
        self.stream = self.raw
        self.compression = _kind_of(start, _COMPRESSED)
        if self.compression:
            self.stream = cast(BinaryIO, _UNPACKED[self.compression](self.raw))
        self.start = self.stream.read(PEEK)
        self.stream.seek(0)
        kind = _kind_of(self.start, _COLUMNAR)
        if kind and self.compression:
            raise DataError(f"{self.name}: is {kind} inside {self.compression}; decompress it")
        self.columnar = kind
        if not kind:
            self._refuse_foreign()

    def _refuse_foreign(self) -> None:
        """Raises DataError if the file is empty, or no text."""
        start = self.start
        if not start.strip():
            raise EmptyFileError(f"{self.name}: is empty")
        problem = _kind_of(start, _FOREIGN)
        if start[257:262] == b"ustar":
            problem = "a tar archive; unpack it"
        if not problem and b"\x00" in start:
            damaged = f", or its {self.compression} data is damaged" if self.compression else ""
            problem = f"binary data{damaged}; give JSON lines, CSV, TSV, Parquet or Arrow"
        if problem:
            raise DataError(f"{self.name}: is not text but {problem}")

    @contextmanager
    def faults(self, place: Callable[[], str] = lambda: "") -> Iterator[None]:
        """Turns what goes wrong while the file is read into a DataError; `place` says where."""
        try:
            yield
        except (EOFError, zlib.error, lzma.LZMAError, zstd.ZstdError) as error:
            raise self.damaged(place(), error) from None
        except OSError as error:
            # what decompressors and pyarrow raise has no number
            if (self.compression or self.columnar) and error.errno is None:
                raise self.damaged(place(), error) from None
            raise DataError(
                f"{self.name}: cannot be read{place()}: {error.strerror or in_words(error)}"
            ) from None
        except Exception as error:
            # the libraries of object stores raise errors of their own
            if isinstance(error, DataError) or not isinstance(self.file, Remote):
                raise
            raise DataError(f"{self.name}: cannot be read{place()}: {in_words(error)}") from None

    def damaged(self, place: str, error: Exception) -> DataError:
        """Returns what to say of a file whose bytes are not as they were written."""
        what = self.compression or self.columnar
        return DataError(
            f"{self.name}: the {what} data is damaged{place} ({in_words(error)}); "
            "copy the file again"
        )

    @property
    def bytes_read(self) -> int:
        """Returns how many bytes of the file, as it is stored, have been read so far."""
        return 0 if self.raw.closed else self.raw.tell()

    def close(self) -> None:
        """Closes the file."""
        for each in (getattr(self, "stream", None), self.raw):
            if each is not None:
                each.close()

    def __enter__(self) -> Source:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self.close()


def _kind_of(start: bytes, kinds: dict[bytes, str]) -> str:
    """Returns what begins with such bytes, empty if nothing does."""
    return next((kind for magic, kind in kinds.items() if start.startswith(magic)), "")


def _open(file: File) -> tuple[BinaryIO, int]:
    """Opens a file as it is stored, and returns it with its size."""
    if isinstance(file, Remote):
        return open_remote(file)
    if not file.exists():
        raise DataError(f"{file}: there is no such file")
    if file.is_dir():
        raise DataError(f"{file}: is a folder; name the files in it")
    return Path(file).open("rb"), file.stat().st_size

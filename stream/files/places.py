"""Finds the files that a name stands for: a file, a folder, a pattern, on this machine or another.

A name with `://` in it (`s3://bucket/events/`) is an address, which fsspec reads. A folder stands
for all files in it, a pattern (`*`, `?`, `[...]`, `**`) for those that fit, in the order of their
names, in which numbers count as such. What begins with `_` or `.` is left out, as Hadoop and Spark
name what is no data. A table whose folder holds files of older versions too is refused.
"""

from __future__ import annotations

import glob
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import Any, BinaryIO, Final, cast
from urllib.parse import unquote

from stream.errors import DataError

_PATTERN: Final = re.compile(r"[*?\[]")
_DIGITS: Final = re.compile(r"(\d+)")
_LAKES: Final = {"_delta_log": "a Delta table", ".hoodie": "a Hudi table"}
_ICEBERG: Final = re.compile(r"(^|/)metadata/[^/]*\.metadata\.json$")
_EXTRAS: Final = {"s3": "s3", "s3a": "s3", "gs": "gcs", "gcs": "gcs"}
"""The extra of this package that brings what reads addresses of a kind."""

_NO_PARTITION: Final = "__HIVE_DEFAULT_PARTITION__"
_BLOCK: Final = 8 << 20
"""Bytes of one request to an object store; reading is from the beginning to the end."""


@dataclass(frozen=True, slots=True)
class Remote:
    """Names a file, a folder or a pattern that is not of this machine, such as s3://bucket/key."""

    address: str

    @property
    def name(self) -> str:
        """Returns the last part of the address."""
        return self.address.rstrip("/").rpartition("/")[2]

    def __str__(self) -> str:
        return self.address


File = Path | Remote


@dataclass(frozen=True, slots=True)
class Found:
    """Holds the files that a name stands for, and those that are left out."""

    files: list[File]
    size: int = 0  # of them together, as they are stored
    left_out: int = 0  # files whose name says that they are no data
    several: bool = False  # whether the name is one of a folder or a pattern


def place_of(name: str) -> File:
    """Returns what a name on the command line means: an address, or a path of this machine."""
    return Remote(name) if "://" in name else Path(name)


def in_words(error: Exception) -> str:
    """Returns what a library says of a file, in one line that is not too long."""
    return f"{type(error).__name__}: {' '.join(str(error).split())}"[:300]


def find_files(place: File) -> Found:
    """Returns the files that a name stands for; raises DataError if there are none."""
    found = _find_remote(place) if isinstance(place, Remote) else _find_local(place)
    if not found.files:
        left_out = " but such as begin with _ or ." if found.left_out else ""
        raise DataError(f"{place}: there are no files in it{left_out}; name the files")
    return found


def open_remote(file: Remote) -> tuple[BinaryIO, int]:
    """Opens a file at an address, and returns it with its size."""
    system, path = _file_system(file)
    size = system.info(path).get("size") or 0
    return cast(BinaryIO, system.open(path, "rb", block_size=_BLOCK)), int(size)


def partition_of(file: File) -> dict[str, str | None]:
    """Returns what the folders of a file say of all its rows, such as day=2026-01-05."""
    pairs = [part.partition("=") for part in str(file).split("/")[:-1]]
    return {
        name: None if value == _NO_PARTITION else unquote(value)
        for name, equals, value in pairs
        if equals and name.isidentifier()
    }


def _find_local(place: Path) -> Found:
    """Returns the files of this machine that a name stands for."""
    if place.is_dir():
        return _of_folder(place)
    if place.exists() or not _PATTERN.search(str(place)):
        return Found([place], _size(place))  # whoever opens it says that there is none
    paths = [Path(each) for each in glob.glob(str(place), recursive=True)]
    if not paths:
        raise DataError(f"{place}: no file fits this pattern")
    found = [
        _of_folder(path) if path.is_dir() else Found([path], _size(path))
        for path in sorted(_without_inner(paths), key=_order)
    ]
    return Found(
        [file for each in found for file in each.files],
        sum(each.size for each in found),
        sum(each.left_out for each in found),
        several=True,
    )


def _size(path: Path) -> int:
    return path.stat().st_size if path.is_file() else 0


def _without_inner(paths: Sequence[Path]) -> list[Path]:
    """Returns paths without those that lie in a folder among them, as `**` finds both."""
    folders = {path for path in paths if path.is_dir()}
    return [path for path in paths if not folders.intersection(path.parents)]


def _of_folder(folder: Path) -> Found:
    """Returns the files in a folder on this machine and in its folders."""
    inside = [path.relative_to(folder).as_posix() for path in folder.rglob("*") if path.is_file()]
    kept, left_out = _data_in(inside, str(folder))
    files = [folder / each for each in kept]
    return Found([*files], sum(map(_size, files)), left_out, several=True)


def _find_remote(place: Remote) -> Found:
    """Returns the files that an address stands for; raises DataError."""
    try:
        system, path = _file_system(place)
        left_out = 0
        if system.isfile(path):  # a question mark may stand in an address
            return Found([place], system.info(path).get("size") or 0)
        if _PATTERN.search(path):
            sizes = _sizes(system.glob(path, detail=True))
            if not sizes:
                raise DataError(f"{place}: no file fits this pattern")
        else:
            begin = path.rstrip("/") + "/"
            sizes = _sizes(system.find(path, detail=True))
            if not sizes:
                raise DataError(f"{place}: there is no such file or folder")
            data, left_out = _data_in([each.removeprefix(begin) for each in sizes], str(place))
            sizes = {begin + each: sizes[begin + each] for each in data}
        files = [Remote(system.unstrip_protocol(each)) for each in sorted(sizes, key=_order)]
    except DataError:
        raise
    except Exception as error:  # each store has errors of its own
        raise DataError(
            f"{place}: cannot be read: {in_words(error)}; check the address, the network and the "
            "credentials"
        ) from None
    return Found([*files], sum(size or 0 for size in sizes.values()), left_out, several=True)


def _sizes(found: Mapping[str, Mapping[str, Any]]) -> dict[str, int | None]:
    """Returns the size of each file among what a store has found."""
    return {
        str(path): about.get("size")
        for path, about in found.items()
        if about.get("type") != "directory"
    }


def _data_in(inside: Sequence[str], folder: str) -> tuple[list[str], int]:
    """Returns the paths in a folder that are data, in their order, and how many are not.

    Raises DataError for a table that is more than its files.
    """
    for path in inside:
        first = next((part for part in PurePosixPath(path).parts if part in _LAKES), None)
        lake = _LAKES[first] if first else "an Iceberg table" if _ICEBERG.search(path) else ""
        if lake:
            raise DataError(
                f"{folder}: is {lake}, whose folder holds files of older versions too; write the "
                "rows that count as Parquet into a folder of their own"
            )
    kept = [
        path
        for path in inside
        if not any(part.startswith(("_", ".")) for part in PurePosixPath(path).parts)
    ]
    return sorted(kept, key=_order), len(inside) - len(kept)


def _order(path: object) -> list[tuple[int, str]]:
    """Returns what paths are sorted by: part-2 lies before part-10."""
    return [
        (int(piece), "") if piece.isdecimal() else (-1, piece)
        for piece in _DIGITS.split(str(path))
        if piece
    ]


def _file_system(place: Remote) -> tuple[Any, str]:
    """Returns the file system of an address and the path in it; raises DataError."""
    from fsspec.core import url_to_fs

    kind = place.address.partition("://")[0]
    try:
        system, path = url_to_fs(place.address)
    except ImportError as error:
        extra = _EXTRAS.get(kind)
        fix = f"pip install 'interest-stream[{extra}]'" if extra else in_words(error)
        raise DataError(
            f"{place}: what reads {kind}:// is not installed; {fix}, or copy the files here"
        ) from None
    except ValueError as error:
        raise DataError(f"{place}: is no address that can be read: {in_words(error)}") from None
    return system, str(path)

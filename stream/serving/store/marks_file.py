"""Holds the layout of the array `marks`, makes such a file, and maps it into memory.

A user stands in a bucket, by the user's number: the n-th of as many equal parts of all numbers. So
the order of buckets is that of numbers.
"""

from __future__ import annotations

import mmap
import os
import threading
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import numpy as np

Array = np.ndarray[Any, Any]

RANKS: Final = 5
"""Interests of a user that the array has: as many as a profile names unless told otherwise."""

SLOTS: Final = 256
"""Of a bucket: a user is searched for in two kilobytes."""

ID_BYTES: Final = 16
HEAD_BYTES: Final = 4_096
MAGIC: Final = int.from_bytes(b"marks/1\0", "little")

REPLACED: Final = 2**64 - 1
"""Stands for the moves of an array in whose place there is another one by now."""

HEAD: Final = np.dtype(
    [
        ("magic", "<u8"),
        ("moves", "<u8"),  # one more before and behind each writing of rows
        ("buckets", "<u8"),
        ("is_open", "<u8"),
        ("id", f"V{ID_BYTES}"),
    ]
)
BUCKET: Final = np.dtype(
    [
        ("name", "<u8", (SLOTS,)),  # the number of a user and one; 0: nobody
        ("time", "<i8", (SLOTS,)),  # Unix milliseconds of the last event
        ("interest", "<u4", (RANKS, SLOTS)),  # numbers of the table `name`; 0: none
        ("probability", "<f4", (RANKS, SLOTS)),
        ("trend", "u1", (RANKS, SLOTS)),
    ]
)
OF_RANKS: Final = ("interest", "probability", "trend")


@dataclass(frozen=True, slots=True)
class Rows:
    """Holds rows of some users (U): their numbers, each once, and what they have now."""

    number: Array  # int64 [U]
    time: Array  # int64 [U]
    interest: Array  # uint32 [U, RANKS]
    probability: Array  # float32 [U, RANKS]
    trend: Array  # uint8 [U, RANKS]

    @classmethod
    def of(cls, users: Sequence[tuple[int, int, Mapping[int, tuple[float, int, int]]]]) -> Rows:
        """Returns rows of users, each a number, a time and interests by their numbers.

        Of an interest there are probability, rank and trend. One of a rank that has no room is
        left out.
        """
        rows = cls.blank(len(users))
        rows.number[:] = [number for number, _, _ in users]
        rows.time[:] = [time for _, time, _ in users]
        cells = [
            (user * RANKS + rank - 1, interest, probability, trend)
            for user, (_, _, interests) in enumerate(users)
            for interest, (probability, rank, trend) in interests.items()
            if rank <= RANKS
        ]
        if cells:
            at, *values = zip(*cells, strict=True)
            where = np.array(at)
            for name, some in zip(OF_RANKS, values, strict=True):
                getattr(rows, name).ravel()[where] = some
        return rows

    @classmethod
    def blank(cls, users: int) -> Rows:
        """Returns rows of so many users who have no number yet, and no interest."""
        shape = (users, RANKS)
        return cls(
            np.zeros(users, np.int64),
            np.zeros(users, np.int64),
            np.zeros(shape, np.uint32),
            np.zeros(shape, np.float32),
            np.zeros(shape, np.uint8),
        )


class Mapped:
    """Maps a file: its head, and its buckets."""

    def __init__(self, path: Path, writes: bool) -> None:
        """Raises OSError if there is no such file, ValueError if it is none of this layout."""
        file = os.open(path, os.O_RDWR if writes else os.O_RDONLY)
        try:
            if os.fstat(file).st_size < HEAD_BYTES:
                raise ValueError(f"{path.name} has no head")
            access = mmap.ACCESS_WRITE if writes else mmap.ACCESS_READ
            self._bytes = mmap.mmap(file, 0, access=access)
        finally:
            os.close(file)
        self.head: Array = np.ndarray((), HEAD, self._bytes)
        count = int(self.head["buckets"])
        if int(self.head["magic"]) != MAGIC or len(self._bytes) != _size_of(count) or not count:
            raise ValueError(f"{path.name} has another layout")
        self.buckets: Array = np.ndarray((count,), BUCKET, self._bytes, HEAD_BYTES)

    @property
    def moves(self) -> int:
        """Returns the count in the head; odd while rows are written."""
        return int(self.head["moves"])

    def flush(self) -> None:
        """Waits until the disk has everything."""
        self._bytes.flush()

    def flush_head(self) -> None:
        """Waits until the disk has the head."""
        self._bytes.flush(0, HEAD_BYTES)

    def flush_bucket(self, bucket: int) -> None:
        """Waits until the disk has a bucket."""
        begin = HEAD_BYTES + bucket * BUCKET.itemsize
        page = begin - begin % mmap.PAGESIZE
        self._bytes.flush(page, begin + BUCKET.itemsize - page)

    def close(self) -> None:
        """Lets go of the file, when nobody looks at its arrays any more."""
        del self.head, self.buckets
        with suppress(BufferError):  # somebody does: it goes with the last of them
            self._bytes.close()


def fence() -> None:
    """Keeps what is read or written before it and behind it in order.

    Some processors change the order (ARM), though not around a lock that is let go and taken again.
    """
    lock = threading.Lock()
    lock.acquire()
    lock.release()
    lock.acquire()


def file_beside(path: Path) -> Path:
    """Returns where the array is, beside the file of the profiles."""
    return path.with_name("marks")


def bucket_of(numbers: Array, count: int) -> Array:
    """Returns in which of so many buckets numbers are, int64 [U]; a higher one is in no lower."""
    high = numbers.astype(np.uint64) >> np.uint64(31)
    return ((high * np.uint64(count)) >> np.uint64(32)).astype(np.int64)


def first_number_of(bucket: int, count: int) -> int:
    """Returns the lowest number of a bucket; for the one behind the last, one above them all."""
    return -(-(bucket << 32) // count) << 31


def rows_in(buckets: Array) -> Rows:
    """Returns all rows of an array."""
    bucket, slot = np.nonzero(buckets["name"])
    return Rows(
        (buckets["name"][bucket, slot] - np.uint64(1)).astype(np.int64),
        buckets["time"][bucket, slot],
        *(buckets[name][bucket, :, slot] for name in OF_RANKS),
    )


def make(path: Path, id: bytes, rows: Rows, count: int) -> None:
    """Makes a file with these rows, of so many buckets or of more if one would have too many.

    id: of ID_BYTES, whose array it is. Raises OSError where there is no room.
    """
    order = np.argsort(rows.number)
    order = order[rows.interest[order].any(axis=1)]  # who has none needs no place
    while True:
        bucket = bucket_of(rows.number[order], count)
        begins = np.searchsorted(bucket, np.arange(count))
        slot = np.arange(len(bucket)) - begins[bucket]
        if not len(slot) or int(slot.max()) < SLOTS:
            break
        count += max(1, count // 4)
    _make_empty(path, id, count)
    mapped = Mapped(path, writes=True)
    mapped.buckets["name"][bucket, slot] = rows.number[order].astype(np.uint64) + np.uint64(1)
    mapped.buckets["time"][bucket, slot] = rows.time[order]
    for name in OF_RANKS:
        mapped.buckets[name][bucket, :, slot] = getattr(rows, name)[order]
    mapped.close()


def overwrite(path: Path) -> None:
    """Overwrites what a file holds, on the disk."""
    with path.open("r+b") as file:
        for _ in range(0, os.fstat(file.fileno()).st_size, BUCKET.itemsize):
            file.write(bytes(BUCKET.itemsize))
        file.flush()
        os.fsync(file.fileno())


def _size_of(count: int) -> int:
    return HEAD_BYTES + count * BUCKET.itemsize


def _make_empty(path: Path, id: bytes, count: int) -> None:
    file = os.open(path, os.O_RDWR | os.O_CREAT | os.O_TRUNC, 0o600)
    try:
        if hasattr(os, "posix_fallocate"):  # or a full disk would end the process in a writing
            os.posix_fallocate(file, 0, _size_of(count))
        else:
            os.ftruncate(file, _size_of(count))
        head = np.zeros((), HEAD)
        head["magic"], head["buckets"], head["is_open"] = MAGIC, count, 1
        head["id"] = np.void(id)
        os.pwrite(file, head.tobytes(), 0)
    except BaseException:
        path.unlink()
        raise
    finally:
        os.close(file)

"""Finds users of a segment in the array `marks`, stretch by stretch in the order of numbers.

What is found of a stretch is of one moment between two batches. Another stretch may be of another
moment, as a page of a segment and the next one are: who does not change is in it or is not.
"""

from __future__ import annotations

import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import numpy as np

from stream.serving.store.marks_file import (
    RANKS,
    REPLACED,
    Array,
    Mapped,
    bucket_of,
    first_number_of,
)
from stream.serving.updates import NUMBERS

FEWEST, MOST = 8, 128
"""Buckets of one look: the first is short, as a page is soon full, and others are longer."""

WAIT_S: Final = 10.0
"""A batch that is written for longer is of a process that stands still."""

LOOK_S: Final = 0.0002


@dataclass(frozen=True, slots=True)
class Wanted:
    """Says who is looked for: users with an interest, and how much of it."""

    interest: int
    min_probability: float
    max_rank: int
    trend: int | None
    active_since_ms: int


@dataclass(frozen=True, slots=True)
class Found:
    """Holds users (F) in the order of their numbers."""

    number: Array  # int64 [F]
    probability: Array  # float32 [F]
    rank: Array  # int64 [F], from 1
    trend: Array  # uint8 [F]
    time: Array  # int64 [F]


class Finder:
    """Reads the array; one thread at a time does."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._mapped = Mapped(path, writes=False)

    def close(self) -> None:
        """Lets go of the file."""
        self._mapped.close()

    def stretches(self, wanted: Wanted, after: int = -1) -> Iterator[Found]:
        """Yields who is found behind a number, from each stretch up to the last number."""
        size = FEWEST
        while after < NUMBERS - 1:
            found, after = self._look(wanted, after, size)
            yield found
            size = min(2 * size, MOST)

    def count(self, wanted: Wanted) -> int:
        """Returns how many users there are."""
        return sum(len(each.number) for each in self.stretches(wanted))

    def _look(self, wanted: Wanted, after: int, size: int) -> tuple[Found, int]:
        """Returns who is found in so many buckets behind a number, and up to which number."""
        while True:
            moves = self._settled()
            mapped = self._mapped
            mapped.fence()
            found, end = _search(mapped.buckets, wanted, after, size)
            mapped.fence()
            if mapped.moves == moves:
                return found, end

    def _settled(self) -> int:
        """Returns the moves of the array when none is being made; raises TimeoutError."""
        until = time.monotonic() + WAIT_S
        while True:
            moves = self._mapped.moves
            if moves == REPLACED:
                old, self._mapped = self._mapped, Mapped(self._path, writes=False)
                old.close()
            elif moves % 2 == 0:
                return moves
            elif time.monotonic() > until:
                raise TimeoutError("a batch is being written for too long")
            else:
                time.sleep(LOOK_S)


def _search(buckets: Array, wanted: Wanted, after: int, size: int) -> tuple[Found, int]:
    """Returns who is found behind a number in so many buckets, and the last number of these.

    Rows may be written meanwhile: then the answer is of no use, but it is one.
    """
    low = int(bucket_of(np.array([after + 1]), len(buckets))[0])
    high = min(low + size, len(buckets))
    some = buckets[low:high]
    ranks = min(wanted.max_rank, RANKS)
    bucket, rank, slot = np.nonzero(some["interest"][:, :ranks] == wanted.interest)
    number = some["name"][bucket, slot].astype(np.int64) - 1
    probability, trend = some["probability"][bucket, rank, slot], some["trend"][bucket, rank, slot]
    moment = some["time"][bucket, slot]
    is_wanted = (
        (number > after)
        & (probability >= np.float32(wanted.min_probability))
        & (moment >= wanted.active_since_ms)
    )
    if wanted.trend is not None:
        is_wanted &= trend == wanted.trend
    kept = np.flatnonzero(is_wanted)
    kept = kept[np.argsort(number[kept])]
    found = Found(number[kept], probability[kept], rank[kept] + 1, trend[kept], moment[kept])
    return found, first_number_of(high, len(buckets)) - 1

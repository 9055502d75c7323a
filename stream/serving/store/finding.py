"""Finds users of a segment in the array `marks`, stretch by stretch in the order of numbers.

What is found of a stretch is of one moment between two batches. Another stretch may be of another
moment, as a page of a segment and the next one are: who does not change is in it or is not.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Final, TypeVar

import numpy as np

from stream.serving.store.marks_file import (
    RANKS,
    REPLACED,
    SLOTS,
    Array,
    Mapped,
    bucket_of,
    fence,
    first_number_of,
)
from stream.serving.updates import NUMBERS

T = TypeVar("T")

FEWEST, MOST = 16, 256
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
    """Reads the array; any number of threads may share one, and so one mapping of the file.

    Who never looks has none: a mapping keeps the file though another one has taken its place.
    """

    def __init__(self, path: Path) -> None:
        self._path = path
        self._mapped: Mapped | None = None

    def stretches(self, wanted: Wanted, after: int = -1) -> Iterator[Found]:
        """Yields who is found behind a number, from each stretch up to the last number."""
        size = FEWEST
        while after < NUMBERS - 1:
            found, after = self._look(partial(_found, wanted, after), after, size)
            yield found
            size = min(2 * size, MOST)

    def _look(self, work: Callable[[Array], T], after: int, size: int) -> tuple[T, int]:
        """Returns what is made of so many buckets behind a number, and their last number.

        Rows may be written meanwhile. Then what was made is of no use, and it is made again.
        """
        while True:
            mapped, moves = self._settled()
            fence()
            count = len(mapped.buckets)
            low = int(bucket_of(np.array([after + 1]), count)[0])
            high = min(low + size, count)
            made = work(mapped.buckets[low:high])
            fence()
            if mapped.moves == moves:
                return made, first_number_of(high, count) - 1

    def _settled(self) -> tuple[Mapped, int]:
        """Returns the array and its moves when none is being made; raises TimeoutError."""
        until = time.monotonic() + WAIT_S
        while True:
            mapped = self._mapped
            moves = REPLACED if mapped is None else mapped.moves
            if mapped is None or moves == REPLACED:
                # the old one goes when the last thread that reads it is done
                self._mapped = Mapped(self._path, writes=False)
            elif moves % 2 == 0:
                return mapped, moves
            elif time.monotonic() > until:
                raise TimeoutError("a batch is being written for too long")
            else:
                time.sleep(LOOK_S)


def _is_wanted(buckets: Array, wanted: Wanted) -> Array:
    """Returns which interests of which users are wanted, bool [B, R, SLOTS] of so many ranks.

    Whole arrays are compared: with a quarter of all users that takes less than looking them up.
    """
    ranks = min(wanted.max_rank, RANKS)
    found: Array = buckets["interest"][:, :ranks] == wanted.interest
    if wanted.min_probability > 0:
        found &= buckets["probability"][:, :ranks] >= np.float32(wanted.min_probability)
    if wanted.trend is not None:
        found &= buckets["trend"][:, :ranks] == wanted.trend
    found &= (buckets["time"] >= wanted.active_since_ms)[:, None]
    return found


def _found(wanted: Wanted, after: int, buckets: Array) -> Found:
    """Returns who is found in buckets behind a number."""
    is_wanted = _is_wanted(buckets, wanted)
    # over one dimension this takes a fraction of what it takes over three
    bucket, at = np.divmod(np.flatnonzero(is_wanted.ravel()), is_wanted[0].size)
    rank, slot = np.divmod(at, SLOTS)
    number = buckets["name"][bucket, slot].astype(np.int64) - 1
    order = np.argsort(number)
    order = order[np.searchsorted(number[order], after, "right") :]
    bucket, rank, slot = bucket[order], rank[order], slot[order]
    return Found(
        number[order],
        buckets["probability"][bucket, rank, slot],
        rank + 1,
        buckets["trend"][bucket, rank, slot],
        buckets["time"][bucket, slot],
    )

"""Counts users of a segment without looking at all users: what is asked, interest by interest.

The array `marks` is in the order of users, so a count of it reads all of them. Here the same is
once more in the order of interests, in memory alone. An interest has blocks of entries, one for
each user who has it; an entry says nothing of who that is. Where a user's entries are is kept by
the user's place in the array. An entry stays where it is until its user loses the interest, and
then somebody else may have it. So an update writes five entries, and a count reads those of one
interest.
"""

from __future__ import annotations

from array import array
from typing import Final

import numpy as np

from stream.serving.store.finding import Wanted
from stream.serving.store.marks_file import OF_RANKS, RANKS, SLOTS, Array, Rows
from stream.serving.store.tallies import HOUR_MS

BLOCK: Final = 256
"""Entries of a block: a rare interest has one, a common one some hundred."""

SPARE: Final = 8
"""An eighth more blocks than are needed are there, and as many as LEAST_SPARE."""

LEAST_SPARE: Final = 64

AT_ONCE: Final = 256
"""Buckets of the array that are read at once."""

NOBODYS: Final = np.float32(-1)
"""Probability of an entry that nobody has: no segment asks for less than zero."""

MOST_HOURS: Final = 2**31 - 1
"""Moments further from 1970 than 245,000 years are taken for that."""

TREND_ROOM: Final = np.uint8(16)
RANK_PARTS: Final = np.arange(RANKS, dtype=np.uint8) * TREND_ROOM
"""What the numbers that hold rank and trend have of the rank."""


class NoRoomError(Exception):
    """Says that all blocks are taken: a new `Postings` has room again."""


class Postings:
    """Holds the interests of all users; one thread at a time writes or counts."""

    def __init__(self, buckets: Array) -> None:
        """Takes what the array has in its buckets."""
        users = _users_of_each(buckets)
        blocks = -(-users // BLOCK)
        blocks[0] = 1  # of interest 0: entries of ranks for which a user has no interest
        ends = np.cumsum(blocks)
        begins, used = ends - blocks, int(ends[-1])
        self._next_block, count = used, used + max(used // SPARE, LEAST_SPARE)
        self._interest_of = np.zeros(count, np.uint32)  # of a block
        self._interest_of[:used] = np.repeat(np.arange(len(blocks)), blocks)
        self._blocks: dict[int, array[int]] = {}  # by interest
        self._free: dict[int, array[int]] = {}  # entries, by interest
        for interest in (np.flatnonzero(users[1:]) + 1).tolist():
            begin, end = int(begins[interest]), int(ends[interest])
            self._blocks[interest] = array("I", range(begin, end))
            taken = begin * BLOCK + int(users[interest])
            self._free[interest] = array("I", range(taken, end * BLOCK))
        self._probability = np.full(count * BLOCK, NOBODYS, np.float32)
        self._hour = np.zeros(count * BLOCK, np.int32)  # of the last event, since 1970
        self._standing = np.zeros(count * BLOCK, np.uint8)  # rank and trend
        self._entries = np.zeros((len(buckets) * SLOTS, RANKS), np.uint32)  # by place, of each rank
        self._fill(buckets, begins * BLOCK)

    def write(self, place: Array, rows: Rows, users: Array) -> None:
        """Takes what some users (U) have now; raises NoRoomError, and then it is of no more use.

        place: int64 [U], each once: bucket times SLOTS, and slot.
        users: int64 [U], rising: which rows.
        """
        some = slice(None) if len(users) == len(rows.number) else users  # one copies, one does not
        interest, entry = rows.interest[some], self._entries[place]
        held = self._interest_of[entry // BLOCK]
        other = np.nonzero(held != interest)
        if len(other[0]):
            left = entry[other]
            self._probability[left] = NOBODYS
            for was, each in zip(held[other].tolist(), left.tolist(), strict=True):
                if was:
                    self._free[was].append(each)
            entry[other] = [self._take(each) for each in interest[other].tolist()]
            self._entries[place] = entry
        self._probability[entry] = rows.probability[some]
        self._hour[entry] = _hours_of(rows.time[some])[:, None]
        self._standing[entry] = RANK_PARTS + rows.trend[some]

    def count(self, wanted: Wanted) -> int:
        """Returns how many users there are; `active_since_ms` has to be a whole hour."""
        if wanted.interest not in self._blocks:
            return 0
        blocks = np.array(self._blocks[wanted.interest])
        least = np.float32(max(wanted.min_probability, 0))
        since = max(-MOST_HOURS, min(MOST_HOURS, wanted.active_since_ms // HOUR_MS))
        found = self._probability.reshape(-1, BLOCK)[blocks] >= least
        found &= self._hour.reshape(-1, BLOCK)[blocks] >= since
        if wanted.max_rank < RANKS or wanted.trend is not None:
            standing = self._standing.reshape(-1, BLOCK)[blocks]
            found &= standing // TREND_ROOM < min(wanted.max_rank, RANKS)
            if wanted.trend is not None:
                found &= standing % TREND_ROOM == wanted.trend
        return int(np.count_nonzero(found))

    def _take(self, interest: int) -> int:
        """Returns an entry of an interest that nobody has; for 0 the one of all."""
        if not interest:
            return 0
        free = self._free.setdefault(interest, array("I"))
        if not free:
            block = self._next_block
            if block == len(self._interest_of):
                raise NoRoomError
            self._next_block += 1
            self._interest_of[block] = interest
            self._blocks.setdefault(interest, array("I")).append(block)
            free.extend(range(block * BLOCK, (block + 1) * BLOCK))
        return free.pop()

    def _fill(self, buckets: Array, next_of: Array) -> None:
        """Takes all of the array; next_of: int64 [I], the first entry of each interest."""
        entries = self._entries.ravel()
        for low in range(0, len(buckets), AT_ONCE):
            some = buckets[low : low + AT_ONCE]
            interest, probability, trend = (
                some[name].transpose(0, 2, 1).ravel() for name in OF_RANKS
            )
            cell = np.flatnonzero(interest)  # of all users there, five of each
            cell = cell[np.argsort(interest[cell])]
            which = interest[cell]
            more = np.bincount(which, minlength=len(next_of))
            entry = np.arange(len(cell)) + (next_of - (np.cumsum(more) - more))[which]
            next_of += more
            entries[low * SLOTS * RANKS + cell] = entry
            self._probability[entry] = probability[cell]
            self._hour[entry] = _hours_of(some["time"].ravel())[cell // RANKS]
            self._standing[entry] = RANK_PARTS[cell % RANKS] + trend[cell]


def _users_of_each(buckets: Array) -> Array:
    """Returns how many users have each interest, int64 [I]; that of 0 has no meaning."""
    parts = range(0, len(buckets), AT_ONCE)
    most = max(int(buckets["interest"][low : low + AT_ONCE].max()) for low in parts)
    users = np.zeros(most + 1, np.int64)
    for low in parts:
        some = buckets["interest"][low : low + AT_ONCE].ravel()
        users += np.bincount(some, minlength=most + 1)
    return users


def _hours_of(time_ms: Array) -> Array:
    """Returns hours of moments, int32 of the same shape."""
    hours: Array = np.minimum(np.maximum(time_ms // HOUR_MS, -MOST_HOURS), MOST_HOURS)
    return hours.astype(np.int32)

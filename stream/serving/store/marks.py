"""Writes what segments ask of each user into one array, mapped into memory: `marks`.

With every event of a user the time of the last one changes, and with it each row that holds it. In
tables those were five pages of the file an update; here it is one place in memory. Who follows the
topics writes the array, who answers reads it (`finding`).

**Order.** A user's place is by the user's number, so a page of a segment goes on behind a number,
on every instance and after every start. When a part of the array is full, a larger one is made and
takes its place; the old one is overwritten.

**One moment.** A count in the head is odd while the rows of a batch are written, for some 100 us.
Who reads looks at it before and behind, and reads again if it has moved: no row is seen half
written.

**A kill.** Rows are written before the transaction of their batch is committed, so a kill may leave
users a batch ahead. The next start reads that batch again, before anybody is answered, and writes
each user that it names, with whatever they have then. A batch that fails is taken back.

**A count** of a segment reads `postings`, which follow from the array and are written with it.
Where they are not known they are made anew: after a start, in a larger array, behind a failed
write.

The array has the first five interests of a user. Those of a profile that names more are in the
table `interest`.
"""

from __future__ import annotations

import threading
from contextlib import suppress
from pathlib import Path
from typing import Final

import numpy as np

from stream.serving.store.finding import Wanted
from stream.serving.store.marks_file import (
    OF_RANKS,
    REPLACED,
    SLOTS,
    Array,
    Mapped,
    Rows,
    bucket_of,
    fence,
    make,
    overwrite,
    rows_in,
)
from stream.serving.store.postings import NoRoomError, Postings

FILL: Final = 0.55
"""Of a new array that is taken. Numbers are random: from 0.75 on a first bucket may be full."""

AT_ONCE: Final = 256
"""Users that are searched for at once: the names in their buckets are half a megabyte."""


class Marks:
    """Writes the array; one thread at a time does. Any thread may count meanwhile."""

    def __init__(self, path: Path, id: bytes, may_be_open: bool) -> None:
        """Opens the array of that id, or makes an empty one; `is_whole` says which.

        may_be_open: one that no process has closed has what was written all the same, as somebody
        else sees to it that the system has not gone down since. Else the disk is waited for.
        """
        self._path, self._new = path, path.with_name(f"{path.name}.new")
        self._waits = not may_be_open
        self._blanked: set[int] = set()  # buckets whose erased rows the disk may have still
        self._postings: Postings | None = None  # what the array has, but where it is not known
        self._counting = threading.Lock()  # of whoever reads or writes rows
        if self._new.exists():  # of a process that was killed while it made this one larger
            overwrite(self._new)
            self._new.unlink()
        self._mapped: Mapped | None = self._open()
        head = None if self._mapped is None else self._mapped.head
        self.is_whole = (
            head is not None
            and head["id"].tobytes() == id
            and (may_be_open or not int(head["is_open"]))
        )
        del head
        if not self.is_whole:
            self.fill(id, Rows.blank(0))
        head = self._array.head
        head["moves"] += head["moves"] % 2  # of a process that was killed while it wrote
        head["is_open"] = 1
        if self._waits:
            self._array.flush_head()

    def close(self) -> None:
        """Says that the array is whole, and lets go of the file."""
        array = self._array
        if self._waits:
            array.flush()
        array.head["is_open"] = 0
        if self._waits:
            array.flush_head()
        array.close()

    def fill(self, id: bytes, rows: Rows) -> None:
        """Forgets everything, overwrites it, and has these rows instead.

        Raises OSError where a larger array has no room.
        """
        array = self._mapped
        if array is not None and not len(rows.number) and not array.buckets["name"].any():
            array.head["id"] = np.void(id)  # nothing is in it already
            return
        self._replace(id, rows, _room_for(len(rows.number)))

    def write(self, rows: Rows) -> None:
        """Writes rows of users; of those without an interest nothing stays.

        Raises OSError where a larger array has no room; then nothing was written.
        """
        has: Array = np.asarray(rows.interest.any(axis=1))
        bucket, slot = self._places_of(rows.number)
        while (free := self._free_slots(bucket, slot, has)) is None:
            self._grow()
            bucket, slot = self._places_of(rows.number)
        slot = np.where(slot < 0, free, slot)
        there = np.flatnonzero(slot >= 0)  # who had nothing and has nothing needs no place
        with self._counting:
            postings, self._postings = self._postings, None  # not known if this fails
            self._set_in_one_move(rows, there, bucket[there], slot[there], has[there])
            if postings is not None:
                with suppress(NoRoomError):
                    postings.write(bucket[there] * SLOTS + slot[there], rows, there)
                    self._postings = postings
        self._blanked.update(bucket[there][~has[there]].tolist())

    def prepare(self) -> None:
        """Makes what a count reads, or the first count does: half a second of a million users."""
        with self._counting:
            self._known_postings()

    def count(self, wanted: Wanted) -> int:
        """Returns how many users there are; `active_since_ms` has to be a whole hour."""
        with self._counting:
            return self._known_postings().count(wanted)

    def to_disk(self) -> None:
        """Waits until the disk has every row that was overwritten as one without an interest."""
        for bucket in sorted(self._blanked):
            self._array.flush_bucket(bucket)
        self._blanked.clear()

    # -- the array

    def _set_in_one_move(self, rows: Rows, *where: Array) -> None:
        array = self._array
        array.head["moves"] += 1
        fence()
        try:
            _set(array.buckets, rows, *where)
        finally:
            fence()
            array.head["moves"] += 1

    def _known_postings(self) -> Postings:
        if self._postings is None:
            self._postings = Postings(self._array.buckets)
        return self._postings

    @property
    def _array(self) -> Mapped:
        assert self._mapped is not None
        return self._mapped

    def _open(self) -> Mapped | None:
        try:
            return Mapped(self._path, writes=True)
        except FileNotFoundError:
            return None
        except ValueError:
            overwrite(self._path)
            return None

    def _places_of(self, numbers: Array) -> tuple[Array, Array]:
        """Returns bucket and slot of users, int64 [U]; the slot of who has none is -1."""
        buckets = self._array.buckets
        bucket, slot = bucket_of(numbers, len(buckets)), np.empty(len(numbers), np.int64)
        names = numbers.astype(np.uint64) + np.uint64(1)
        for low in range(0, len(numbers), AT_ONCE):
            some = slice(low, low + AT_ONCE)
            is_it = buckets["name"][bucket[some]] == names[some, None]
            at = is_it.argmax(axis=1)
            slot[some] = np.where(is_it[np.arange(len(at)), at], at, -1)
        return bucket, slot

    def _free_slots(self, bucket: Array, slot: Array, has: Array) -> Array | None:
        """Returns free slots for who needs one, -1 for others; None if a bucket has too few."""
        found, free = np.full(len(slot), -1, np.int64), dict[int, list[int]]()
        for user in np.flatnonzero((slot < 0) & has).tolist():
            at = int(bucket[user])
            if at not in free:
                free[at] = np.flatnonzero(self._array.buckets["name"][at] == 0)[::-1].tolist()
            if not free[at]:
                return None
            found[user] = free[at].pop()
        return found

    def _grow(self) -> None:
        """Moves everything into a larger array, which takes the place of this one."""
        array = self._array
        rows, id = rows_in(array.buckets), array.head["id"].tobytes()
        self._replace(id, rows, max(len(array.buckets) + 1, _room_for(len(rows.number))))

    def _replace(self, id: bytes, rows: Rows, count: int) -> None:
        """Puts another array in the place of this one.

        Readers are somewhere in the old one. It is whole until its head says that it was replaced.
        """
        make(self._new, id, rows, count)
        new = Mapped(self._new, writes=True)
        self._new.replace(self._path)
        with self._counting:  # or a count would read what is overwritten
            old, self._mapped, self._postings = self._mapped, new, None
        self._blanked.clear()
        if old is not None:
            old.head["moves"] = REPLACED
            fence()
            old.buckets.view(np.uint8)[:] = 0
            old.flush()
            old.close()


def _set(buckets: Array, rows: Rows, users: Array, bucket: Array, slot: Array, has: Array) -> None:
    """Writes rows of some users at their places.

    A name is there before its interests and goes behind them, so that who is killed in between
    leaves no interest of nobody.
    """
    names = rows.number[users].astype(np.uint64) + np.uint64(1)
    buckets["name"][bucket[has], slot[has]] = names[has]
    buckets["time"][bucket, slot] = np.where(has, rows.time[users], 0)
    for name in OF_RANKS:
        buckets[name][bucket, :, slot] = getattr(rows, name)[users]
    buckets["name"][bucket[~has], slot[~has]] = 0


def _room_for(users: int) -> int:
    """Returns how many buckets an array of so many users has."""
    return int(users / (FILL * SLOTS)) + 1

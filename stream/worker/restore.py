"""Fills arenas from changelog records, and answers what must be known of them before events flow.

Pure: no clock, no I/O, no framework.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import compress

import numpy as np

from stream.contracts.state_record import (
    FIRST_HEADER,
    HEADER,
    MARKER,
    PREFIX,
    VERSION,
    check,
    extent,
    headers_of,
)
from stream.contracts.state_rows import Naming, blank
from stream.pipeline.state import Arena, Array
from stream.policies.erasure import Cleared, Remembering, due


@dataclass(frozen=True, slots=True)
class ArenaStatistics:
    """Holds what can be seen of an arena from outside."""

    users: int
    allocated_bytes: int


class RestorableArena(Arena):
    """Takes changelog records, and knows whose memory another model wrote."""

    def __init__(self, state_size: int, fingerprint: int, partitions: int) -> None:
        super().__init__(state_size, fingerprint, partitions)
        self._recent_at = HEADER.itemsize + 4 * state_size
        self._stale: set[int] = set()  # rows whose memory another model wrote

    def restore(self, users: Sequence[bytes], values: Sequence[bytes | None]) -> int:
        """Takes changelog records in log order and returns how many went back in source offset.

        Of a user the record with the highest source offset stays; those that went back are writes
        of a worker that no longer owned the partition. Raises CorruptRecordError.
        """
        check([value for value in values if value is not None])
        gone_back, waiting, theirs = 0, list[tuple[bytes, bytes]](), set[bytes]()
        for user, value in zip(users, values, strict=True):
            if value is not None:
                waiting.append((user, value))
                theirs.add(user)
                continue
            if user in theirs:  # what was written before the tombstone counts first
                gone_back += self._take(waiting)
                waiting, theirs = [], set()
            self.remove(user)
        return gone_back + self._take(waiting)

    def remove(self, user: bytes) -> None:
        """Forgets a user (a tombstone in the changelog)."""
        row = self._index.pop(user, None)
        if row is not None:
            self._rows[row] = np.zeros((), self._dtype)
            self._free.append(row)
            self._stale.discard(row)

    def sweep(
        self,
        source: tuple[str, int],
        committed: int,
        now_ms: int,
        rules: Remembering,
        most: int,
    ) -> list[Cleared]:
        """Forgets whom it may forget, at most so many, and returns them.

        source: topic and partition. What is left is moved together if it takes little of what is
        allocated, so that memory goes back to the system.
        """
        if not (self.erased or rules.ttl_ms) or not len(self):
            return []
        heads = self._headers()
        newest_ms = min(int(heads["broker_ms"].max()), now_ms)
        gone, blanked = due(heads, newest_ms, committed, *source, rules)
        users, rows = self.users(), np.fromiter(self._index.values(), np.int64, len(self))
        found = []
        if blanked.any():
            places = rows[blanked][:most]
            values = self.gather(places)
            blank(values)
            values["flags"] = MARKER
            self.put(places, values)
            self._stale.difference_update(places.tolist())
            swept = list(compress(users, blanked.tolist()))[:most]
            found.append(Cleared(source, swept, values, self.naming, places))
        if gone.any():
            swept, places = list(compress(users, gone.tolist()))[:most], rows[gone][:most]
            found.append(Cleared(source, swept, None, self.naming, places))
            for user in swept:
                self.remove(user)
        if found and len(self) < self._used // 2:
            self._move_together()
        return found

    def _move_together(self) -> None:
        """Gives rows new places without gaps, and the memory of the old ones back."""
        users, rows = self.users(), np.fromiter(self._index.values(), np.int64, len(self))
        stale = [place for place, row in enumerate(rows.tolist()) if row in self._stale]
        self._rows = self._rows[rows]
        self._index = {user: place for place, user in enumerate(users)}
        self._stale, self._free, self._used = set(stale), [], len(users)
        self.naming = Naming()

    def markers(self) -> list[bytes]:
        """Returns the users of whom nothing is held but that something was erased."""
        if not self.erased:
            return []
        marked = (self._headers()["flags"] & np.uint64(MARKER)) != 0
        return list(compress(self._index, marked.tolist()))

    def stale_rows(self) -> Array:
        """Returns the rows whose memory another model wrote, int64.

        It is rebuilt from their events.
        """
        return np.array(sorted(self._stale), np.int64)

    def put_rebuilt(self, rows: Array, memory: Array) -> None:
        """Stores memory [U, S] computed by this model from the recent events of rows."""
        self._rows["memory"][rows] = memory
        self._stale.difference_update(rows.tolist())

    def highest_offset(self, topic: int, partition: int) -> int:
        """Returns the source offset of the newest event held from a partition; -1 if there is none.

        topic: its code (stream/contracts/state_record.py).
        """
        held = self._headers()
        offsets = held["offset"][(held["topic"] == topic) & (held["partition"] == partition)]
        return int(offsets.max()) if len(offsets) else -1

    def partition_counts(self) -> set[int]:
        """Returns how many partitions the source topic had when the states were written."""
        return set(np.unique(self._headers()["partitions"]).tolist())

    def statistics(self) -> ArenaStatistics:
        """Returns how many users are held, and in how much memory."""
        return ArenaStatistics(len(self._index), self._rows.nbytes)

    def _headers(self) -> Array:
        """Returns HEADER of all users; not the whole rows, which are 40 times as large."""
        rows = np.fromiter(self._index.values(), np.int64, len(self._index))
        raw = self._rows.view(np.uint8).reshape(-1, self._dtype.itemsize)[:, : HEADER.itemsize]
        return np.ascontiguousarray(raw[rows]).view(HEADER)[:, 0]

    def _take(self, records: Sequence[tuple[bytes, bytes]]) -> int:
        """Stores sound records, and returns how many were older than what was held by then.

        Of the records of a user in one call only the last is copied, because a changelog that is
        not compacted yet holds tens of each; unless one of them went back, or their source changed.
        """
        if not records:
            return 0
        values = [value for _, value in records]
        rows = self.find([user for user, _ in records])  # new users in the order of the log
        heads = np.frombuffer(
            b"".join([value[: FIRST_HEADER.itemsize] for value in values]), FIRST_HEADER
        )

        # the records of each user next to one another, in the order of the log
        order = np.argsort(rows, kind="stable")
        offsets, sources = heads["offset"][order], heads[["topic", "partition"]]
        follows = np.diff(rows[order], prepend=-1) == 0  # a record of the same user
        went_back = follows & (np.diff(offsets, prepend=0) < 0)
        if went_back.any() or (follows.any() and (sources != sources[0]).any()):
            half = len(records) // 2
            return self._take(records[:half]) + self._take(records[half:])

        last = np.sort(order[~np.append(follows[1:], False)])
        replaced = np.ones(len(records), bool)
        replaced[last] = False
        older = int(self._older(heads[replaced], rows[replaced]).sum()) if replaced.any() else 0
        return older + self._take_last([values[place] for place in last.tolist()], rows[last])

    def _take_last(self, values: Sequence[bytes], rows: Array) -> int:
        """Stores records of different users and returns how many were older than what is held."""
        shapes: dict[tuple[int, bytes], list[int]] = {}
        for place, value in enumerate(values):
            shapes.setdefault((len(value), value[: PREFIX.size]), []).append(place)
        if len(shapes) == 1:
            return self._take_shape(values, rows)
        return sum(
            self._take_shape([values[place] for place in places], rows[places])
            for places in shapes.values()
        )

    def _take_shape(self, values: Sequence[bytes], rows: Array) -> int:
        """Stores records of one length, number of recent events and size of memory.

        Returns how many were older than what is held.
        """
        # all records as one block of bytes, and their headers as columns
        memory_at, memory_end, end = extent(values[0])
        raw = np.frombuffer(b"".join(values), np.uint8).reshape(len(values), -1)
        header = headers_of(raw[:, :memory_at])

        # a record of the same source that is older than what is held was written by a former owner
        held, older = self._rows, self._older(header, rows)
        if older.any():
            rows, raw, header = rows[~older], raw[~older], header[~older]

        # whose memory this model can go on with, and whose must be rebuilt
        ours = (header["fingerprint"] == self._fingerprint) & (
            header["state_size"] == self._state_size
        )
        ours |= (header["flags"] & np.uint64(MARKER)) != 0  # without memory, so blank for any model
        self._stale.difference_update(rows[ours].tolist())
        self._stale.update(rows[~ours].tolist())

        # copy header, memory and recent events to where a row has them
        target = held.view(np.uint8).reshape(-1, self._dtype.itemsize)
        memory, recent = HEADER.itemsize, self._recent_at
        taken = recent + end - memory_end
        where = _slice_of(rows)
        target[where, :memory] = header.view(np.uint8).reshape(-1, HEADER.itemsize)
        if memory_end == memory_at or not ours.any():  # of another model it may have another size
            target[where, memory:recent] = 0
        elif ours.all():
            target[where, memory:recent] = raw[:, memory_at:memory_end]
        else:
            target[rows[~ours], memory:recent] = 0
            target[rows[ours], memory:recent] = raw[ours, memory_at:memory_end]
        target[where, recent:taken] = raw[:, memory_end:end]
        target[where, taken:] = 0
        self.erased = self.erased or bool(header["flags"].any() or header["erased_ms"].any())
        held["state_size"][where], held["fingerprint"][where] = self._state_size, self._fingerprint
        held["version"][where] = VERSION
        return int(older.sum())

    def _older(self, header: Array, rows: Array) -> Array:
        """Returns whether records are of the source that rows hold, and older, bool [N]."""
        held = self._rows
        same_source = (header["topic"] == held["topic"][rows]) & (
            header["partition"] == held["partition"][rows]
        )
        older: Array = same_source & (header["offset"] < held["offset"][rows])
        return older


def _slice_of(rows: Array) -> Array | slice:
    """Returns the same rows as a slice if they follow one another: copied three times as fast."""
    if len(rows) and (np.diff(rows) == 1).all():
        return slice(int(rows[0]), int(rows[-1]) + 1)
    return rows

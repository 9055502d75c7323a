"""Keeps one row of fixed size a user, in an arena a partition, and gathers rows (hop 3).

A row is what the changelog's record holds (stream/contracts/state_record.py). How arenas are filled
again after a start is no matter of an event: stream/worker/restore.py. Pure: no clock, no I/O.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from stream.contracts.state_record import VERSION, encode_rows, row_dtype
from stream.contracts.state_rows import Naming, blank

Array = np.ndarray[Any, Any]


class Arena:
    """Holds the states of all users of one partition: rows, and where each user's is."""

    def __init__(self, state_size: int, fingerprint: int, partitions: int) -> None:
        self._dtype = row_dtype(state_size)
        self._partitions = partitions
        self._state_size = state_size
        self._fingerprint = fingerprint
        self._index: dict[bytes, int] = {}  # user -> row
        self._rows = np.zeros(0, self._dtype)  # rows in use first; more are allocated
        self._free: list[int] = []  # rows of removed users
        self._used = 0  # rows handed out so far
        self.erased = False  # whether a user held was ever erased or suppressed
        self.naming = Naming()

    def __len__(self) -> int:
        return len(self._index)

    def users(self) -> list[bytes]:
        """Returns all users held, oldest first."""
        return list(self._index)

    def find(self, users: Sequence[bytes]) -> Array:
        """Returns the rows of users, int64 [U]; a new user gets a blank row."""
        index = self._index
        rows = list(map(index.get, users))
        if None in rows:
            unknown = (user for user, row in zip(users, rows, strict=True) if row is None)
            fresh = dict.fromkeys(unknown)  # each once
            index.update(zip(fresh, self._new_rows(len(fresh)), strict=True))
            rows = list(map(index.get, users))
        return np.array(rows, np.int64)

    def last_offsets(self, rows: Array, topic: int, partition: int) -> Array:
        """Returns the source offset last applied of rows, int64 [U].

        It is -1 where a row is of another topic (its code) or partition.
        """
        held = self._rows
        same = (held["topic"][rows] == topic) & (held["partition"][rows] == partition)
        return np.where(same, held["offset"][rows], -1)

    def gather(self, rows: Array) -> Array:
        """Returns copies of rows; changing them changes nothing here until `put`."""
        gathered: Array = self._rows[rows]
        return gathered

    def put(self, rows: Array, values: Array) -> None:
        """Stores new values of rows."""
        self._rows[rows] = values

    def head(self, rows: Array, *names: str) -> Array:
        """Returns some fields of rows, as a structured array."""
        found = np.empty(len(rows), [(name, self._dtype[name]) for name in names])
        for name in names:
            found[name] = self._rows[name][rows]
        return found

    def expire(self, rows: Array) -> None:
        """Makes rows blank whose users were silent for too long (stream/policies/erasure.py)."""
        values = self.gather(rows)
        blank(values)
        self.put(rows, values)

    def encoded(self, user: bytes) -> bytes | None:
        """Returns the changelog value of a user, None if not held."""
        row = self._index.get(user)
        return None if row is None else encode_rows(self._rows[row : row + 1])[0]

    def _new_rows(self, count: int) -> list[int]:
        """Returns blank rows, those of removed users first."""
        reused = [self._free.pop() for _ in range(min(count, len(self._free)))]
        rows = [*reused, *range(self._used, self._used + count - len(reused))]
        self._used += count - len(reused)
        if self._used > len(self._rows):
            # by a quarter, and where the system can without a second copy: memory stays within 1.25
            # times what is held
            self._rows.resize(max(256, self._used + self._used // 4), refcheck=False)
        held = self._rows  # zeros so far
        held["version"][rows], held["state_size"][rows] = VERSION, self._state_size
        held["fingerprint"][rows], held["partitions"][rows] = self._fingerprint, self._partitions
        held["offset"][rows] = held["time_ms"][rows] = -1
        return rows

"""Keeps when the first interests of each user have changed: 7 days, 50 changes."""

from __future__ import annotations

import sqlite3
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Final

import orjson

from stream.serving.store.tables import DAY_MS
from stream.serving.updates import (
    NUMBERS,
    Update,
    names_in,
    number_of,
    read_update,
    starts_anew,
    top_json,
)

HISTORY_MS: Final = 7 * DAY_MS
HISTORY_ENTRIES: Final = 50
"""How far back a user's history goes, and how many changes it has at most."""

_LAST: Final = """
SELECT number, offset, seen, top FROM json_each(?) AS wanted CROSS JOIN history
ON history.number = wanted.value
AND offset = (SELECT max(offset) FROM history WHERE number = wanted.value)
"""
_TRIM: Final = """
DELETE FROM history WHERE number = ? AND offset <= (
    SELECT offset FROM history WHERE number = ? ORDER BY offset DESC LIMIT 1 OFFSET ?
)
"""

Entry = tuple[int, int, int, int, int, bytes]
"""Number, offset, time, published, events seen, first interests as JSON."""


@dataclass(slots=True)
class _User:
    """Holds the end of a user's history, and what a batch adds to it."""

    offset: int = -1  # of the last entry
    seen: int = 0
    top: list[str] | None = None  # None: there is no entry
    begins_anew: bool = False  # what the file has goes
    added: dict[int, Entry] = field(default_factory=dict)  # by offset


class Histories:
    """Takes updates and adds an entry where the first interests of their user have changed."""

    def __init__(self, db: sqlite3.Connection) -> None:
        self._db = db

    def take(
        self,
        records: Iterable[Any],
        is_of_a_former_life: Callable[[Any], bool],
        known: Mapping[bytes, Update],
    ) -> tuple[list[tuple[Update, bytes]], list[tuple[int, Update]], int]:
        """Adds what these records say, in the caller's transaction.

        `known` are updates that were read already, by their bytes: profiles are updates, too.

        Returns the updates, each with its bytes; those of users who were not erased since, each
        with the user's number; and how many records were none.
        """
        read = [(_read(each, known), each) for each in records]
        updates = [(update, record.value) for update, record in read if update is not None]
        living = [
            (number_of(record.key), update)
            for update, record in read
            if update is not None and not is_of_a_former_life(record)
        ]
        users = self._ends_of({number for number, _ in living})
        for number, update in living:
            _add(users[number], number, update)
        self._write(users)
        return updates, living, len(read) - len(updates)

    def _ends_of(self, numbers: set[int]) -> dict[int, _User]:
        users = {number: _User() for number in numbers}
        for number, offset, seen, top in self._db.execute(
            _LAST, [orjson.dumps(sorted(numbers)).decode()]
        ):
            users[number] = _User(offset, seen, names_in(top))
        return users

    def _write(self, users: dict[int, _User]) -> None:
        emptied = sorted(number for number, user in users.items() if user.begins_anew)
        added = sorted(entry for user in users.values() for entry in user.added.values())
        longer = sorted(number for number, user in users.items() if user.added)
        self._db.executemany("DELETE FROM history WHERE number = ?", zip(emptied))
        self._db.executemany("INSERT OR REPLACE INTO history VALUES (?, ?, ?, ?, ?, ?)", added)
        self._db.executemany(_TRIM, [(each, each, HISTORY_ENTRIES) for each in longer])

    def forget(self, numbers: Sequence[int]) -> None:
        """Drops the histories of users who were erased."""
        self._db.executemany("DELETE FROM history WHERE number = ?", zip(numbers))

    def prune(self, now_ms: int, part: int, parts: int) -> None:
        """Drops old entries and those of users without a profile, in one part of the users."""
        low, high = (NUMBERS * each // parts for each in (part, part + 1))
        self._db.execute(
            "DELETE FROM history WHERE number >= ? AND number <= ? AND (published < ? "
            "OR NOT EXISTS (SELECT 1 FROM profile WHERE profile.number = history.number))",
            [low, high - 1, now_ms - HISTORY_MS],
        )


def _read(record: Any, known: Mapping[bytes, Update]) -> Update | None:
    found = known.get(record.value)
    if found is not None and found.user_id.encode() == record.key:
        return found
    return read_update(record.key, record.value)


def _add(user: _User, number: int, update: Update) -> None:
    """Adds an entry to a user's history where the first interests have changed."""
    offset = update.source.offset
    if user.top is not None and starts_anew(update, user.seen) and offset > user.offset:
        user.begins_anew, user.top = True, None
        user.added.clear()
    if user.top is not None and (offset <= user.offset or user.top == update.top):
        return
    user.offset, user.seen, user.top = offset, update.events_seen, update.top
    user.added[offset] = (
        number,
        offset,
        update.time,
        update.published_at,
        update.events_seen,
        top_json(update),
    )

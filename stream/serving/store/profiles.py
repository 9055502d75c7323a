"""Judges a batch of profiles: which of two is the newer one, and who is erased.

What the file holds of the users of a batch is read at once. Then each record is judged in memory,
as if it came alone, and what is left of all is written at the end.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from itertools import islice
from typing import Any, Final

import orjson

from models.contract import TRENDS
from stream.serving.overview.pulse import Beat
from stream.serving.store.marks_file import RANKS, Rows
from stream.serving.store.tallies import Row, Tallies
from stream.serving.updates import (
    Held,
    Interest,
    Source,
    Update,
    is_older,
    number_of,
    read_held,
    read_update,
)

AT_ONCE: Final = 2_000
"""Records that are read and judged at once; what is kept of them until the end is smaller."""

_HELD: Final = """
SELECT place, number, profile.value FROM json_each(?) AS wanted CROSS JOIN profile
ON profile.number = wanted.value
"""
_NOBODY: Final = Source("", -1, -1)
_TREND_NUMBERS: Final = {trend: number for number, trend in enumerate(TRENDS)}

Hidden = tuple[str, int, int, int, int]
"""What a null has hidden: topic, partition, offset, moment of publishing; and the null's time."""


@dataclass(frozen=True, slots=True)
class Profile:
    """Holds what a profile says of its user."""

    user: str
    source: Source
    published_at: int
    time: int
    rows: dict[int, Row]  # by number of the interest


@dataclass(slots=True)
class Counts:
    """Counts what became of the records of a batch."""

    kept: int = 0
    older: int = 0  # profiles that a newer one had overtaken
    erased: int = 0
    foreign: int = 0  # records that are no updates
    models: dict[str, str] = field(default_factory=dict)  # names and versions, by fingerprint


@dataclass(slots=True)
class _User:
    """Holds a user before and after the records of a batch."""

    place: int | None = None  # in the file
    before: Profile | None = None
    now: Profile | None = None
    value: bytes | None = None  # of a new profile
    was_erased: bool = False
    changed_at: int = 0  # moment of the last change in the batch


def rows_of(interests: Iterable[Interest], name_of: Callable[[str], int]) -> dict[int, Row]:
    """Returns what is kept of interests, by number; one that is named twice counts once."""
    rows: dict[int, Row] = {}
    for rank, each in enumerate(interests, start=1):
        row = (each.probability, rank, _TREND_NUMBERS[each.trend])
        rows.setdefault(name_of(each.interest), row)
    return rows


def rest_of(rows: dict[int, Row]) -> dict[int, Row]:
    """Returns the interests that the array has no room for."""
    return {interest: row for interest, row in rows.items() if row[1] > RANKS}


class Profiles:
    """Takes the profiles of one transaction."""

    def __init__(
        self,
        db: sqlite3.Connection,
        hash_of: Callable[[bytes], bytes],
        name_of: Callable[[str], int],
        tallies: Tallies | None,
        beat: Beat | None = None,
    ) -> None:
        """`hash_of` keys of users who were erased, `name_of` gives the number of an interest.

        Without `tallies` profiles alone are written: `loading` makes the rest. `beat` counts who
        comes to an interest and who goes.
        """
        self._db, self._hash_of, self._name_of, self._tallies = db, hash_of, name_of, tallies
        self._beat = beat
        self._users: dict[int, _User] = {}
        self._hidden: dict[bytes, Hidden] = {}  # by hash, of nulls in this transaction
        (self._any_hidden,) = db.execute("SELECT EXISTS (SELECT 1 FROM erased)").fetchone()
        self.counts = Counts()
        self.kept: dict[bytes, Update] = {}  # by their bytes, but in a first reading

    def take(self, records: Iterable[Any]) -> None:
        """Judges records with key, value and timestamp, those of a user in order."""
        source = iter(records)
        while some := list(islice(source, AT_ONCE)):
            # an empty key is what a worker writes into a partition that it is given
            named = [(number_of(each.key), each) for each in some if each.key]
            self._load({number for number, _ in named} - self._users.keys())
            for number, record in named:
                if record.value is None:
                    self._erase(record, self._users[number])
                else:
                    self._replace(record, self._users[number])

    def write(self) -> list[int]:
        """Writes what is left of all; returns the numbers of users who were erased."""
        users = sorted(self._users.items())
        if self._tallies is not None:
            self._count(users, self._tallies)
            self._write_rest(users)
        self._write_values(users)
        self._db.executemany(
            "INSERT OR REPLACE INTO erased VALUES (?, ?, ?, ?, ?, ?)",
            sorted((name, *hidden) for name, hidden in self._hidden.items()),
        )
        return [number for number, user in users if user.was_erased]

    def marks(self, before: bool = False) -> Rows:
        """Returns what each user that was named has now, or had before, for the array.

        Users whom an older record names are among them: what a killed process has left of them in
        the array is overwritten.
        """
        found = [
            (number, user.before if before else user.now) for number, user in self._users.items()
        ]
        return Rows.of(
            [
                (number, 0, {}) if each is None else (number, each.time, each.rows)
                for number, each in found
            ]
        )

    @property
    def more(self) -> int:
        """Returns how many more users have a profile than before."""
        return sum(
            (user.now is not None) - (user.before is not None) for user in self._users.values()
        )

    def is_of_a_former_life(self, record: Any) -> bool:
        """Returns whether an update is from before its user was erased."""
        hidden = self._hidden_of(record.key)
        return hidden is not None and record.timestamp <= hidden[4]

    # -- one record

    def _replace(self, record: Any, user: _User) -> None:
        update = read_update(record.key, record.value)
        if update is None:
            self.counts.foreign += 1
        elif self._is_overtaken(record.key, update, user.now):
            self.counts.older += 1
        else:
            user.now, user.value = self._profile(update), record.value
            if self._tallies is not None:
                self.kept[record.value] = update
            user.changed_at = update.published_at
            model = update.model
            self.counts.models[model.fingerprint] = f"{model.name} {model.version}"
            self.counts.kept += 1

    def _erase(self, record: Any, user: _User) -> None:
        """Takes a null: the user is gone, whatever the offsets say."""
        held, name = user.now, self._hash_of(record.key)
        # a null that is written again, at each assignment, must not hide what the first one hid
        if held is not None:
            source = held.source
            where = (source.topic, source.partition, source.offset, held.published_at)
            self._hidden[name] = (*where, record.timestamp)
        elif self._hidden_of(record.key) is None:
            where = (_NOBODY.topic, _NOBODY.partition, _NOBODY.offset, 0)
            self._hidden[name] = (*where, record.timestamp)
        user.now, user.value, user.was_erased = None, None, True
        user.changed_at = record.timestamp
        self.counts.erased += 1

    def _is_overtaken(self, key: bytes, update: Update, held: Profile | None) -> bool:
        source, published = update.source, update.published_at
        if held is not None:
            return is_older(source, published, held.source, held.published_at)
        hidden = self._hidden_of(key)
        if hidden is None:
            return False
        before = Source(*hidden[:3])
        return source == before or is_older(source, published, before, hidden[3])

    def _hidden_of(self, key: bytes) -> Hidden | None:
        if not self._any_hidden and not self._hidden:
            return None
        name = self._hash_of(key)
        if name in self._hidden:
            return self._hidden[name]
        found: Hidden | None = self._db.execute(
            "SELECT topic, partition, offset, published, at FROM erased WHERE hash = ?", [name]
        ).fetchone()
        return found

    def _profile(self, update: Update | Held) -> Profile:
        """Returns what is kept of an update."""
        rows = {} if self._tallies is None else rows_of(update.interests, self._name_of)
        return Profile(update.user_id, update.source, update.published_at, update.time, rows)

    # -- the file

    def _load(self, numbers: set[int]) -> None:
        """Reads what the file holds of these users."""
        self._users.update((number, _User()) for number in numbers)
        for place, number, value in self._db.execute(
            _HELD, [orjson.dumps(sorted(numbers)).decode()]
        ):
            held = self._profile(read_held(value))
            self._users[number] = _User(place, held, held)

    def _count(self, users: Sequence[tuple[int, _User]], tallies: Tallies) -> None:
        for _, user in users:
            if user.before is user.now:
                continue
            had, has = user.before, user.now
            if had is not None:
                tallies.count(had.rows, had.time, -1)
            if has is not None:
                tallies.count(has.rows, has.time, 1)
            if self._beat is not None:
                before = set() if had is None else set(had.rows)
                now = set() if has is None else set(has.rows)
                self._beat.moved(before, now, user.changed_at)

    def _write_rest(self, users: Sequence[tuple[int, _User]]) -> None:
        """Writes the interests that the array has no room for."""
        gone, new = [], []
        for number, user in users:
            before, now = user.before, user.now
            if before is now:
                continue
            had = {} if before is None else rest_of(before.rows)
            has = {} if now is None else rest_of(now.rows)
            gone += [(interest, number) for interest in had if interest not in has]
            if now is not None:
                new += [(interest, number, *row, now.time) for interest, row in has.items()]
        gone.sort()
        new.sort()
        self._db.executemany("DELETE FROM interest WHERE interest = ? AND number = ?", gone)
        self._db.executemany("INSERT OR REPLACE INTO interest VALUES (?, ?, ?, ?, ?, ?)", new)

    def _write_values(self, users: Sequence[tuple[int, _User]]) -> None:
        new: list[tuple[Any, ...]] = []
        changed: list[tuple[Any, ...]] = []
        renamed: list[tuple[Any, ...]] = []
        gone: list[tuple[Any, ...]] = []
        for number, user in users:
            if user.now is None:
                gone += [(user.place,)] if user.place is not None else []
            elif user.place is None or user.before is None:
                new.append((number, user.now.user, user.value))
            elif user.now is not user.before:
                changed.append((user.place, user.value))
                # two users of one number, which is less likely than a broken machine
                if user.now.user != user.before.user:
                    renamed.append((user.place, user.now.user))
        for some in (gone, changed):
            some.sort()
        self._db.executemany("DELETE FROM profile WHERE place = ?1", gone)
        self._db.executemany("UPDATE profile SET value = ?2 WHERE place = ?1", changed)
        self._db.executemany("UPDATE profile SET user = ?2 WHERE place = ?1", renamed)
        self._db.executemany("INSERT INTO profile (number, user, value) VALUES (?, ?, ?)", new)

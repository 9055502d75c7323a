"""Keeps the newest profile of each user in one SQLite file, together with what was read so far.

A batch of records and the positions behind it are one transaction. So whenever the process is
killed, the file holds the topic as of its positions, and the next start goes on there. The file can
always be made anew from the topics, so nothing is migrated: another layout, another topic behind
the same name or a gap in what was read begins it anew.

Erased bytes are overwritten: `secure_delete` in the file, and a checkpoint that empties the log
beside it. Of an erased user only a keyed hash stays for a while, so that an older profile or update
that comes behind the null brings nobody back.
"""

from __future__ import annotations

import fcntl
import os
import secrets
import sqlite3
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from hashlib import blake2b
from pathlib import Path
from typing import Any, Final

from models.contract import TRENDS
from stream.errors import Failure, UsageError
from stream.serving.updates import (
    Source,
    Update,
    is_older,
    names_in,
    number_of,
    read_update,
    starts_anew,
    top_json,
)

LAYOUT: Final = 1
"""Of the file; another number begins it anew."""

DAY_MS: Final = 86_400_000
HISTORY_MS: Final = 7 * DAY_MS
HISTORY_ENTRIES: Final = 50
"""How far back a user's history goes, and how many changes it has at most."""

ERASED_MS: Final = 15 * DAY_MS
"""How long a hash of an erased user stays: by then no topic of the pipeline has older updates."""

CACHE_KIB: Final = 65_536
BUSY_S: Final = 10.0

_TABLES: Final = """
CREATE TABLE meta (name TEXT PRIMARY KEY, value) WITHOUT ROWID;
CREATE TABLE position (
    topic TEXT, partition INTEGER, offset INTEGER NOT NULL, PRIMARY KEY (topic, partition)
) WITHOUT ROWID;
CREATE TABLE profile (number INTEGER PRIMARY KEY, user TEXT NOT NULL, value BLOB NOT NULL);
CREATE INDEX profile_by_user ON profile (user);
CREATE TABLE name (interest INTEGER PRIMARY KEY, name TEXT NOT NULL UNIQUE);
CREATE TABLE interest (
    interest INTEGER, number INTEGER, probability REAL NOT NULL, rank INTEGER NOT NULL,
    trend INTEGER NOT NULL, time INTEGER NOT NULL, PRIMARY KEY (interest, number)
) WITHOUT ROWID;
CREATE TABLE history (
    number INTEGER, offset INTEGER, time INTEGER NOT NULL, published INTEGER NOT NULL,
    seen INTEGER NOT NULL, top BLOB NOT NULL, PRIMARY KEY (number, offset)
) WITHOUT ROWID;
CREATE TABLE erased (
    hash BLOB PRIMARY KEY, topic TEXT, partition INTEGER, offset INTEGER, published INTEGER,
    at INTEGER NOT NULL
) WITHOUT ROWID;
"""

Place = tuple[str, int]
"""Topic and partition."""


@dataclass(slots=True)
class Changes:
    """Counts what a batch has changed."""

    kept: int = 0
    older: int = 0  # profiles that a newer one had overtaken
    erased: int = 0
    foreign: int = 0  # records that are no updates
    updates: list[tuple[Update, bytes]] = field(default_factory=list)  # those that were read
    models: dict[str, str] = field(default_factory=dict)  # names and versions, by fingerprint


@dataclass(frozen=True, slots=True)
class Known:
    """Holds what an earlier run has left: topics by id, positions, and as of when they were."""

    topic_ids: dict[str, str]
    positions: dict[Place, int]
    as_of_ms: int


class Store:
    """Writes the file; one thread at a time does. Readers open connections of their own."""

    def __init__(self, folder: Path) -> None:
        """Opens the file in a folder, which is made if need be; raises UsageError, Failure."""
        self.path = folder / "profiles.sqlite"
        self._lock = _claim(folder)
        try:
            self._db = _open(self.path)
        except sqlite3.DatabaseError as error:
            raise Failure(
                f"{self.path} is no file of this program ({error}); delete it, it will be made anew"
            ) from None
        self._names: dict[str, int] = {}
        self._log_holds_erased = False
        if self._meta("layout") != LAYOUT:
            self.begin_anew({})
        self._names = dict(self._db.execute("SELECT name, interest FROM name"))
        self._salt: bytes = self._meta("salt")

    def close(self) -> None:
        """Closes the file and lets another process have the folder."""
        self._db.close()
        os.close(self._lock)

    def reader(self) -> sqlite3.Connection:
        """Returns a new connection that sees what was committed, and writes nothing."""
        db = sqlite3.connect(
            f"file:{self.path}?mode=ro",
            uri=True,
            timeout=BUSY_S,
            isolation_level=None,
            check_same_thread=False,
        )
        db.execute("PRAGMA query_only = ON")
        db.execute(f"PRAGMA cache_size = -{CACHE_KIB // 4}")
        return db

    def known(self) -> Known:
        """Returns what an earlier run has left."""
        topics = {
            name.removeprefix("topic:"): str(value)
            for name, value in self._db.execute("SELECT name, value FROM meta")
            if name.startswith("topic:")
        }
        rows = self._db.execute("SELECT topic, partition, offset FROM position")
        positions = {(topic, partition): offset for topic, partition, offset in rows}
        return Known(topics, positions, self._meta("as_of_ms") or 0)

    def begin_anew(self, topic_ids: Mapping[str, str]) -> None:
        """Forgets everything, and overwrites it; what is read from now on is of these topics."""
        names = [
            name
            for kind, name in self._db.execute("SELECT type, name FROM sqlite_master")
            if kind == "table" and not name.startswith("sqlite_")
        ]
        with self._transaction():
            for name in names:
                self._db.execute(f"DROP TABLE {name}")
            for statement in filter(str.strip, _TABLES.split(";")):
                self._db.execute(statement)
            self._salt = secrets.token_bytes(16)
            self._set_meta(layout=LAYOUT, salt=self._salt, as_of_ms=0)
            self._set_meta(**{f"topic:{name}": each for name, each in topic_ids.items()})
        self._names = {}
        self._db.execute("VACUUM")
        self.empty_log()

    def apply(
        self,
        profiles: Iterable[Any],
        updates: Iterable[Any],
        positions: Mapping[Place, int],
        as_of_ms: int | None = None,
    ) -> Changes:
        """Takes records of the two topics and the positions behind them, in one transaction.

        Records have key, value and timestamp, those of a partition in order. `as_of_ms`: the topic
        was read up to its end of that moment.
        """
        changes = Changes()
        with self._transaction():
            for record in profiles:
                self._take_profile(record, changes)
            for record in updates:
                self._take_update(record, changes)
            self._db.executemany(
                "INSERT INTO position VALUES (?, ?, ?) ON CONFLICT (topic, partition) "
                "DO UPDATE SET offset = excluded.offset",
                [(*place, offset) for place, offset in positions.items()],
            )
            if as_of_ms is not None:
                self._set_meta(as_of_ms=as_of_ms)
        if changes.erased or self._log_holds_erased:
            self.empty_log()
        return changes

    def empty_log(self) -> None:
        """Writes the log beside the file into it and empties it.

        Where a reader is in the way for long, the next batch tries again.
        """
        (busy, _, _) = self._db.execute("PRAGMA wal_checkpoint(TRUNCATE)").fetchone()
        self._log_holds_erased = bool(busy)

    def prune(self, now_ms: int) -> None:
        """Drops old entries of histories, those of users without a profile, old hashes."""
        with self._transaction():
            self._db.execute(
                "DELETE FROM history WHERE published < ? "
                "OR number NOT IN (SELECT number FROM profile)",
                [now_ms - HISTORY_MS],
            )
            self._db.execute("DELETE FROM erased WHERE at < ?", [now_ms - ERASED_MS])
        self.empty_log()

    # -- one record

    def _take_profile(self, record: Any, changes: Changes) -> None:
        if not record.key:  # what a worker writes into a partition that it is given
            return
        if record.value is None:
            self._erase(record, changes)
            return
        update = read_update(record.key, record.value)
        if update is None:
            changes.foreign += 1
            return
        number = number_of(record.key)
        held = self._held(number)
        if self._is_overtaken(record.key, update, held):
            changes.older += 1
            return
        self._forget_interests(number, held)
        self._db.execute(
            "INSERT INTO profile VALUES (?, ?, ?) ON CONFLICT (number) "
            "DO UPDATE SET user = excluded.user, value = excluded.value",
            (number, update.user_id, record.value),
        )
        self._db.executemany(
            "INSERT OR IGNORE INTO interest VALUES (?, ?, ?, ?, ?, ?)",
            [
                (
                    self._name(each.interest),
                    number,
                    each.probability,
                    rank,
                    TRENDS.index(each.trend),
                    update.time,
                )
                for rank, each in enumerate(update.interests, start=1)
            ],
        )
        changes.models[update.model.fingerprint] = f"{update.model.name} {update.model.version}"
        changes.kept += 1

    def _erase(self, record: Any, changes: Changes) -> None:
        """Takes a null: the user is gone, whatever the offsets say."""
        number = number_of(record.key)
        held = self._held(number)
        before = held.source if held is not None else Source("", -1, -1)
        published = held.published_at if held is not None else 0
        self._forget_interests(number, held)
        self._db.execute("DELETE FROM profile WHERE number = ?", [number])
        self._db.execute("DELETE FROM history WHERE number = ?", [number])
        where = (before.topic, before.partition, before.offset, published, record.timestamp)
        # a null that is written again, at each assignment, must not hide what the first one hid
        self._db.execute(
            "INSERT INTO erased VALUES (?, ?, ?, ?, ?, ?) ON CONFLICT (hash) DO UPDATE SET "
            "at = excluded.at, topic = excluded.topic, partition = excluded.partition, "
            "offset = excluded.offset, published = excluded.published "
            "WHERE excluded.offset >= 0",
            (self._hash(record.key), *where),
        )
        changes.erased += 1

    def _take_update(self, record: Any, changes: Changes) -> None:
        """Adds an entry to the user's history where the first interests have changed."""
        update = read_update(record.key, record.value)
        if update is None:
            changes.foreign += 1
            return
        changes.updates.append((update, record.value))
        if self._is_of_a_former_life(record):
            return
        number, offset = number_of(record.key), update.source.offset
        last = self._db.execute(
            "SELECT offset, seen, top FROM history WHERE number = ? ORDER BY offset DESC LIMIT 1",
            [number],
        ).fetchone()
        if last is not None and starts_anew(update, last[1]) and offset > last[0]:
            self._db.execute("DELETE FROM history WHERE number = ?", [number])
            last = None
        if last is not None and (offset <= last[0] or names_in(last[2]) == update.top):
            return
        self._db.execute(
            "INSERT OR REPLACE INTO history VALUES (?, ?, ?, ?, ?, ?)",
            (
                number,
                offset,
                update.time,
                update.published_at,
                update.events_seen,
                top_json(update),
            ),
        )
        self._db.execute(
            "DELETE FROM history WHERE number = ? AND offset <= (SELECT offset FROM history "
            "WHERE number = ? ORDER BY offset DESC LIMIT 1 OFFSET ?)",
            [number, number, HISTORY_ENTRIES],
        )

    def _is_overtaken(self, key: bytes, update: Update, held: Update | None) -> bool:
        source, published = update.source, update.published_at
        if held is not None:
            return is_older(source, published, held.source, held.published_at)
        row = self._db.execute(
            "SELECT topic, partition, offset, published FROM erased WHERE hash = ?",
            [self._hash(key)],
        ).fetchone()
        if row is None:
            return False
        before = Source(*row[:3])
        return source == before or is_older(source, published, before, row[3])

    def _is_of_a_former_life(self, record: Any) -> bool:
        """Returns whether an update is from before its user was erased."""
        row = self._db.execute(
            "SELECT at FROM erased WHERE hash = ?", [self._hash(record.key)]
        ).fetchone()
        return row is not None and record.timestamp <= row[0]

    def _held(self, number: int) -> Update | None:
        row = self._db.execute(
            "SELECT user, value FROM profile WHERE number = ?", [number]
        ).fetchone()
        return None if row is None else read_update(row[0].encode(), row[1])

    def _forget_interests(self, number: int, held: Update | None) -> None:
        if held is not None:
            self._db.executemany(
                "DELETE FROM interest WHERE interest = ? AND number = ?",
                [(self._name(each.interest), number) for each in held.interests],
            )

    def _name(self, name: str) -> int:
        """Returns the number of an interest, a new one if it was never met."""
        if name not in self._names:
            made = self._db.execute("INSERT INTO name (name) VALUES (?)", [name])
            self._names[name] = made.lastrowid or 0
        return self._names[name]

    # -- the file

    def _hash(self, key: bytes) -> bytes:
        return blake2b(key, digest_size=16, key=self._salt).digest()

    def _meta(self, name: str) -> Any:
        try:
            row = self._db.execute("SELECT value FROM meta WHERE name = ?", [name]).fetchone()
        except sqlite3.OperationalError:  # a new file
            return None
        return None if row is None else row[0]

    def _set_meta(self, **values: Any) -> None:
        self._db.executemany("INSERT OR REPLACE INTO meta VALUES (?, ?)", list(values.items()))

    @contextmanager
    def _transaction(self) -> Iterator[None]:
        self._db.execute("BEGIN IMMEDIATE")
        names = dict(self._names)
        try:
            yield
        except BaseException:
            self._db.execute("ROLLBACK")
            self._names = names  # those that the transaction had added are gone
            raise
        self._db.execute("COMMIT")


def _open(path: Path) -> sqlite3.Connection:
    os.close(os.open(path, os.O_RDWR | os.O_CREAT, 0o600))  # of its owner alone
    db = sqlite3.connect(path, timeout=BUSY_S, isolation_level=None, check_same_thread=False)
    db.execute("PRAGMA journal_mode = WAL")
    db.execute("PRAGMA secure_delete = ON")
    # a power cut may lose the last transactions, whole; they are read again
    db.execute("PRAGMA synchronous = NORMAL")
    db.execute(f"PRAGMA cache_size = -{CACHE_KIB}")
    return db


def _claim(folder: Path) -> int:
    """Returns a lock on the folder; raises UsageError if it cannot be used, or another has it."""
    try:
        folder.mkdir(parents=True, exist_ok=True, mode=0o700)
        lock = os.open(folder / "lock", os.O_RDWR | os.O_CREAT, 0o600)
    except OSError as error:
        raise UsageError(
            f"--data {folder}: it cannot be written to ({error.strerror}); name a folder that this "
            "user may write to"
        ) from None
    try:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError:
        os.close(lock)
        raise UsageError(
            f"--data {folder}: another `interest-stream serve` has it; give each a folder of its "
            "own"
        ) from None
    return lock

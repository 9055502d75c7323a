"""Opens the file and writes batches of records into it, each with the positions behind it.

Erased bytes are overwritten: `secure_delete` in the file, and a checkpoint that empties the log
beside it. Of an erased user only a keyed hash stays for a while, so that an older profile or update
that comes behind the null brings nobody back.
"""

from __future__ import annotations

import logging
import os
import secrets
import sqlite3
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import partial
from hashlib import blake2b
from pathlib import Path
from typing import Any, Final

from stream.errors import Failure
from stream.serving.overview.pulse import Beat, Pulse
from stream.serving.store import system_runs, tables
from stream.serving.store.finding import Wanted
from stream.serving.store.histories import Histories
from stream.serving.store.loading import all_marks
from stream.serving.store.loading import begin as begin_loading
from stream.serving.store.loading import finish as finish_loading
from stream.serving.store.marks import Marks
from stream.serving.store.marks_file import ID_BYTES, Rows, file_beside
from stream.serving.store.profiles import Counts, Profiles
from stream.serving.store.tables import DAY_MS, LAYOUT, Place
from stream.serving.store.tallies import HOURS_MS, Tallies, join_hours
from stream.serving.updates import Update

log = logging.getLogger("interest_stream")

WAIT_FOR_DISK: Final = "NORMAL"
"""SQLite's word: a power cut may lose the last transactions, whole; they are read again."""

ERASED_MS: Final = 15 * DAY_MS
"""How long a hash of an erased user stays: by then no topic of the pipeline has older updates."""

PRUNED_PARTS: Final = 64
"""Pruning goes part by part, so that no batch waits for long."""


@dataclass(slots=True)
class Changes(Counts):
    """Counts what a batch has changed, and holds its updates."""

    updates: list[tuple[Update, bytes]] = field(default_factory=list)  # those that were read
    heard: list[tuple[int, Update]] = field(default_factory=list)  # of users not erased since
    gone: list[int] = field(default_factory=list)  # numbers of users who were erased


@dataclass(frozen=True, slots=True)
class Known:
    """Holds what an earlier run has left: topics by id, positions, and as of when they were."""

    topic_ids: dict[str, str]
    positions: dict[Place, int]
    as_of_ms: int


class Store:
    """Writes the file; one thread at a time does. Readers open connections of their own."""

    def __init__(self, folder: Path, patience_s: float = 0.0) -> None:
        """Opens the file in a folder, which is made if need be; raises UsageError, Failure.

        patience_s: how long another process that has the file is waited for.
        """
        self.path = tables.file_in(folder)
        self._lock = tables.claim(folder, tables.LOCK, patience_s)
        run = system_runs.this_run()
        system_runs.begin(self.path, run)
        self._synchronous = "OFF" if run else WAIT_FOR_DISK
        try:
            self._db = tables.open_writer(self.path)
        except sqlite3.DatabaseError as error:
            raise Failure(
                f"{self.path} is no file of this program ({error}); delete it, it will be made anew"
            ) from None
        self._db.execute(f"PRAGMA synchronous = {self._synchronous}")
        self._histories = Histories(self._db)
        self._pulse = Pulse(self._db)
        self._log_holds_erased = False
        self._is_loading = False
        self._names: dict[str, int] = {}  # numbers of interests
        self._new_names: list[str] = []  # of them, those of the transaction that is open
        self._former: Callable[[], Rows] | None = None  # what it overwrites in the array
        is_known = self._meta("layout") == LAYOUT
        id = self._meta("marks") if is_known else bytes(ID_BYTES)
        self._marks = Marks(file_beside(self.path), id, may_be_open=bool(run))
        if not is_known:
            self.begin_anew({})
        self._names = dict(self._db.execute("SELECT name, interest FROM name"))
        self._salt: bytes = self._meta("salt")
        if not self._marks.is_whole:
            self._make_marks_anew(id)

    def close(self) -> None:
        """Closes the file and lets another process have the folder."""
        self._db.close()
        self._marks.close()
        system_runs.end(self.path)
        os.close(self._lock)

    def reader(self) -> tables.Reader:
        """Returns a new connection that only reads."""
        return tables.open_reader(self.path)

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

    def begin_anew(self, topic_ids: Mapping[str, str], loading: bool = False) -> None:
        """Forgets everything, and overwrites it; what is read from now on is of these topics.

        loading: nobody asks until `finish_loading`, so until then profiles alone are written.
        """
        id = secrets.token_bytes(ID_BYTES)
        with self._transaction():
            tables.make_tables(self._db)
            if loading:
                begin_loading(self._db)
            self._salt = secrets.token_bytes(16)
            self._set_meta(layout=LAYOUT, salt=self._salt, as_of_ms=0, users=0, hours_from_ms=0)
            self._set_meta(marks=id)
            self._set_meta(**{f"topic:{name}": each for name, each in topic_ids.items()})
        self._names, self._is_loading = {}, loading
        self._db.execute("VACUUM")
        self._marks.fill(id, Rows.blank(0))  # behind the rest: one of another id is not trusted
        self.empty_log()

    @property
    def is_loading(self) -> bool:
        """Says whether nobody can ask yet; what is there is not gone on from."""
        return self._is_loading

    def finish_loading(self) -> None:
        """Makes what is asked, and writes what follows from the profiles if nobody could ask."""
        if self._is_loading:
            with self._transaction():
                rows = finish_loading(self._db, self._name, self._meta("hours_from_ms"))
                self._marks.fill(self._meta("marks"), rows)
                del rows  # as large as what is made now
            self._is_loading = False
        self._marks.prepare()

    def count(self, wanted: Wanted) -> int:
        """Returns how many users have an interest among their first ones; any thread may ask.

        Its `active_since_ms` has to be a whole one.
        """
        return self._marks.count(wanted)

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
        with self._transaction():
            taken, changes = self._take(profiles, updates)
            self._db.executemany(
                "INSERT INTO position VALUES (?, ?, ?) ON CONFLICT (topic, partition) "
                "DO UPDATE SET offset = excluded.offset",
                [(*place, offset) for place, offset in positions.items()],
            )
            if as_of_ms is not None:
                if as_of_ms and not self._meta("as_of_ms"):
                    self._set_meta(counted_since=as_of_ms)
                self._set_meta(as_of_ms=as_of_ms)
            if not self._is_loading:  # at last: what fails before has not touched it
                self._former = partial(taken.marks, before=True)
                self._marks.write(taken.marks())
        if changes.erased or self._log_holds_erased:
            self.empty_log()
        return changes

    def empty_log(self) -> None:
        """Writes the log beside the file into it, on the disk, and empties it.

        The disk has then overwritten rows of the array, too. Where a reader is in the way for long,
        the next batch tries again.
        """
        self._marks.to_disk()
        self._db.execute(f"PRAGMA synchronous = {WAIT_FOR_DISK}")
        (busy, _, _) = self._db.execute("PRAGMA wal_checkpoint(TRUNCATE)").fetchone()
        self._db.execute(f"PRAGMA synchronous = {self._synchronous}")
        self._log_holds_erased = bool(busy)

    def prune(self, now_ms: int, part: int) -> None:
        """Drops what is too old in one of PRUNED_PARTS parts, and histories without a profile.

        With the first part go old hashes, and single hours of the tallies become days.
        """
        with self._transaction():
            self._histories.prune(now_ms, part, PRUNED_PARTS)
            if not part:
                self._db.execute("DELETE FROM erased WHERE at < ?", [now_ms - ERASED_MS])
                hours_from_ms = max(0, now_ms - HOURS_MS) // DAY_MS * DAY_MS
                join_hours(self._db, self._meta("hours_from_ms"), hours_from_ms)
                self._set_meta(hours_from_ms=hours_from_ms)
        if part == PRUNED_PARTS - 1:
            self.empty_log()

    # -- the file

    def _make_marks_anew(self, id: bytes) -> None:
        """Makes the array from the profiles: it is missing, or may not have all that was written.

        The latter is where nobody knows whether the system went down while it was open.
        """
        log.info("%s is made anew from the profiles", file_beside(self.path).name)
        with self._transaction():
            self._marks.fill(id, all_marks(self._db, self._name))

    def _take(self, profiles: Iterable[Any], updates: Iterable[Any]) -> tuple[Profiles, Changes]:
        """Judges the records of a transaction and writes what is left of them."""
        counted, beat = Tallies(self._meta("hours_from_ms")), Beat()
        # who comes and goes is counted from a whole first reading on
        moves = beat if self._meta("as_of_ms") else None
        tallies = None if self._is_loading else counted
        taken = Profiles(self._db, self._hash, self._name, tallies, moves)
        taken.take(profiles)
        erased = taken.write()
        counted.write(self._db)
        if taken.more:
            self._set_meta(users=self._meta("users") + taken.more)
        self._histories.forget(erased)
        told_of, heard, foreign = self._histories.take(
            updates, taken.is_of_a_former_life, taken.kept
        )
        for _, update in heard:
            beat.heard(update, self._name)
        self._pulse.write(beat)
        found = taken.counts
        return taken, Changes(
            found.kept,
            found.older,
            found.erased,
            found.foreign + foreign,
            found.models,
            told_of,
            heard,
            erased,
        )

    def _name(self, name: str) -> int:
        """Returns the number of an interest, a new one if it was never met."""
        number = self._names.get(name)
        if number is None:
            made = self._db.execute("INSERT INTO name (name) VALUES (?)", [name])
            number = self._names[name] = made.lastrowid or 0
            self._new_names.append(name)
        return number

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
        """Commits what a block does, or takes it back where it fails."""
        self._db.execute("BEGIN IMMEDIATE")
        self._new_names.clear()
        self._former = None
        try:
            yield
            self._db.execute("COMMIT")
        except BaseException:
            if self._db.in_transaction:
                self._db.execute("ROLLBACK")
            for name in self._new_names:  # they are gone
                del self._names[name]
            self._restore_marks()
            raise

    def _restore_marks(self) -> None:
        """Writes what the transaction may have overwritten in the array."""
        if self._former is not None:
            self._marks.write(self._former())

"""Holds the tables of the file, opens it, and makes sure that one process has it."""

from __future__ import annotations

import fcntl
import os
import sqlite3
import time
from pathlib import Path
from typing import Final

from models.contract import TRENDS
from stream.errors import UsageError
from stream.serving.overview import pulse
from stream.serving.store.finding import Finder
from stream.serving.store.marks_file import file_beside

LAYOUT: Final = 5
"""Of the file; another number begins it anew."""

DAY_MS: Final = 86_400_000

CACHE_KIB: Final = 65_536
READER_CACHE_KIB: Final = 4_096
"""What a reader has cached is gone with the next write; it needs room for one query."""

BUSY_S: Final = 10.0
LOOK_S: Final = 0.05
"""Between looks whether a lock is free."""

LOCK: Final = "lock"
"""Of who writes the file; it is of the process that follows the topics."""

OWNER: Final = "serve.lock"
"""Of who serves from the file, and has started the one who writes it."""

LOG_PAGES: Final = 16_000
LOG_BYTES: Final = 67_108_864
"""The log beside the file is written into it at 64 MB: each time the disk is waited for.

One that a large batch made longer is cut back to that.
"""

TREND_COLUMNS: Final = tuple(f"trend_{code}" for code in range(len(TRENDS)))
"""Columns of a tally, one a trend; named by number, as trends are stored."""

INDEX_BY_USER: Final = "CREATE INDEX profile_by_user ON profile (user)"

# A profile keeps its place when its bytes change, and new ones come at the end: so a start that
# reads everything writes the bytes, nine tenths of the file, from the front to the back.
# `interest` has what the array `marks` has no room for: interests behind the first five of a user.
TABLES: Final = f"""
CREATE TABLE meta (name TEXT PRIMARY KEY, value) WITHOUT ROWID;
CREATE TABLE position (
    topic TEXT, partition INTEGER, offset INTEGER NOT NULL, PRIMARY KEY (topic, partition)
) WITHOUT ROWID;
CREATE TABLE profile (
    place INTEGER PRIMARY KEY, number INTEGER NOT NULL, user TEXT NOT NULL, value BLOB NOT NULL
);
CREATE INDEX profile_by_number ON profile (number, user);
{INDEX_BY_USER};
CREATE TABLE name (interest INTEGER PRIMARY KEY, name TEXT NOT NULL UNIQUE);
CREATE TABLE interest (
    interest INTEGER, number INTEGER, probability REAL NOT NULL, rank INTEGER NOT NULL,
    trend INTEGER NOT NULL, time INTEGER NOT NULL, PRIMARY KEY (interest, number)
) WITHOUT ROWID;
CREATE TABLE tally (
    interest INTEGER, begin INTEGER, users INTEGER NOT NULL, first INTEGER NOT NULL,
    millionths INTEGER NOT NULL, {", ".join(f"{name} INTEGER NOT NULL" for name in TREND_COLUMNS)},
    PRIMARY KEY (interest, begin)
) WITHOUT ROWID;
CREATE INDEX tally_of_nobody ON tally (interest, begin) WHERE users = 0;
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


def file_in(folder: Path) -> Path:
    """Returns the file of a folder."""
    return folder / "profiles.sqlite"


def open_writer(path: Path) -> sqlite3.Connection:
    """Returns the connection that writes; raises sqlite3.DatabaseError for what is no such file."""
    os.close(os.open(path, os.O_RDWR | os.O_CREAT, 0o600))  # of its owner alone
    db = sqlite3.connect(path, timeout=BUSY_S, isolation_level=None, check_same_thread=False)
    try:
        db.execute("PRAGMA journal_mode = WAL")
        db.execute("PRAGMA secure_delete = ON")
        db.execute(f"PRAGMA cache_size = -{CACHE_KIB}")
        db.execute(f"PRAGMA wal_autocheckpoint = {LOG_PAGES}")
        db.execute(f"PRAGMA journal_size_limit = {LOG_BYTES}")
    except sqlite3.DatabaseError:
        db.close()
        raise
    return db


class Reader(sqlite3.Connection):
    """Sees what was committed, and the array `marks` beside it; writes nothing.

    The array may be a batch ahead, of which the follower has not written the end yet.
    """

    path: Path
    finder: Finder  # of users in the array


def open_reader(path: Path, finder: Finder | None = None) -> Reader:
    """Returns a new connection that only reads; `finder`: one that others have, too."""
    db = sqlite3.connect(
        f"file:{path}?mode=ro",
        uri=True,
        timeout=BUSY_S,
        isolation_level=None,
        check_same_thread=False,
        factory=Reader,
    )
    db.path, db.finder = path, finder or Finder(file_beside(path))
    db.execute("PRAGMA query_only = ON")
    db.execute(f"PRAGMA cache_size = -{READER_CACHE_KIB}")
    return db


def make_tables(db: sqlite3.Connection) -> None:
    """Drops all tables that are there and makes those of this layout, in the caller's transaction.

    Indexes go with their tables.
    """
    names = [
        name
        for kind, name in db.execute("SELECT type, name FROM sqlite_master")
        if kind == "table" and not name.startswith("sqlite_")
    ]
    for name in names:
        db.execute(f"DROP TABLE {name}")
    for statement in filter(str.strip, (TABLES + pulse.TABLE).split(";")):
        db.execute(statement)


def claim(folder: Path, name: str, patience_s: float = 0.0) -> int:
    """Returns a lock of that name in a folder, which is made if need be.

    patience_s: how long one that another process has is waited for. Raises UsageError if the folder
    cannot be used, or the other has it still.
    """
    try:
        folder.mkdir(parents=True, exist_ok=True, mode=0o700)
        lock = os.open(folder / name, os.O_RDWR | os.O_CREAT, 0o600)
    except OSError as error:
        raise UsageError(
            f"--data {folder}: it cannot be written to ({error.strerror}); name a folder that this "
            "user may write to"
        ) from None
    until = time.monotonic() + patience_s
    while True:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            if time.monotonic() < until:
                time.sleep(LOOK_S)
                continue
            os.close(lock)
            raise UsageError(
                f"--data {folder}: another `interest-stream serve` has it; give each a folder of "
                "its own"
            ) from None
        return lock

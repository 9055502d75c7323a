"""Knows whether the system went down while the file was open; only then may pages of it be missing.

A page takes microseconds to hand to the system and, thousands of times a second, far too long to
see on the disk. So the disk is not waited for. What a killed process has handed over is written all
the same, in its order: the file is whole. Where power is cut it may not be, and SQLite could not
tell. So a marker beside the file holds the id of this run of the system while the file is open, and
a file that another run has left open is deleted: it can always be made anew from the topics. So is
the array beside it.

Where the system has no such id, the disk is waited for.
"""

from __future__ import annotations

import logging
import os
from pathlib import Path
from typing import Final

from stream.serving.store.marks_file import file_beside

log = logging.getLogger("interest_stream")

BOOT_ID: Final = Path("/proc/sys/kernel/random/boot_id")
MARKER: Final = "open-since-boot"


def this_run() -> str:
    """Returns the id of this run of the system, empty where it has none."""
    try:
        return BOOT_ID.read_text(encoding="ascii").strip()
    except OSError:
        return ""


def begin(file: Path, run: str) -> None:
    """Deletes a file that another run of the system has left open, and marks it as open in this.

    run: that of `this_run`; with an empty one nothing is marked.
    """
    marker = file.with_name(MARKER)
    left = marker.read_text(encoding="ascii") if marker.exists() else run
    if left != run:
        log.warning("the system went down while %s was open: it is made anew", file.name)
        for each in _parts_of(file):
            each.unlink(missing_ok=True)
    if run:
        with marker.open("w", encoding="ascii") as out:
            out.write(run)
        _sync([marker, file.parent])
    else:
        marker.unlink(missing_ok=True)


def end(file: Path) -> None:
    """Waits until all that is in the closed file is on the disk, and says so."""
    marker = file.with_name(MARKER)
    if marker.exists():
        _sync([each for each in _parts_of(file) if each.exists()])
        marker.unlink()


def _parts_of(file: Path) -> list[Path]:
    wal, shm = (file.with_name(f"{file.name}-{end}") for end in ("wal", "shm"))
    return [file, wal, shm, file_beside(file)]


def _sync(paths: list[Path]) -> None:
    for each in paths:
        opened = os.open(each, os.O_RDONLY)
        try:
            os.fsync(opened)
        finally:
            os.close(opened)

"""Reads a file of user ids, one a line; `train --exclude-users` leaves those users out."""

from __future__ import annotations

from pathlib import Path

from stream.errors import DataError
from stream.files.lines import read_lines


def read_users(path: Path) -> frozenset[str]:
    """Returns the user ids of a file, one a line, as they are written; blank lines are left out.

    Raises DataError: the file cannot be read, or a line is not UTF-8.
    """
    found = set()
    for number, line in read_lines(path):
        try:
            found.add(line.decode().strip("\r\n"))
        except UnicodeDecodeError:
            raise DataError(
                f"{path}:{number}: the line is not UTF-8; write one user id a line, as UTF-8"
            ) from None
    return frozenset(found)

"""Writes rows of a table, and sets variables for commands that are started."""

from __future__ import annotations

import os
import sys
from contextlib import contextmanager
from typing import Any


def say(row: str) -> None:
    """Writes a row of the table."""
    sys.stdout.write(f"| {row} |\n")
    sys.stdout.flush()


@contextmanager
def environment(**given: str) -> Any:
    """Sets variables for the commands that are started inside."""
    names = {f"INTEREST_STREAM_{name.upper()}": value for name, value in given.items()}
    before = {name: os.environ.get(name) for name in names}
    os.environ.update(names)
    try:
        yield
    finally:
        for name, value in before.items():
            os.environ.pop(name, None) if value is None else os.environ.update({name: value})

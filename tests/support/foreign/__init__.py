"""Writes events as other people's trackers do, after their owners' specifications, with the truth.

Each module writes the calls of one format. It draws first what a user did, in the words of the
contract, and then how the tracker says it; so the truth owes nothing to the code that reads.
"""

from __future__ import annotations

import importlib
from collections.abc import Iterator

from tests.support.foreign.shop import Case


def cases(name: str, count: int, seed: int = 0) -> Iterator[Case]:
    """Yields records of a format, drawn anew for each seed."""
    module = importlib.import_module(f"tests.support.foreign.{name}")
    found: Iterator[Case] = module.Writer(seed).cases(count)
    return found

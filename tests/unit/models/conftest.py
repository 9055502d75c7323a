"""Small data sets written as what users did, in order."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np
import pytest

from models.compact import ACTION_CODES, COMPACT, ITEM_ID, QUERY, hash64
from models.data.prepare import Catalogue, Dataset, EventChunk, PrepareConfig, prepare

Events = Sequence[tuple[str, str, int]]
"""(user, item, time in milliseconds); an item that starts with ? is a query."""


def chunk(events: Events, asked: bool = False) -> EventChunk:
    """The events as read from a file, one of --test if asked."""
    rows = [
        (
            hash64(item.removeprefix("?")),
            0,
            time_ms,
            ACTION_CODES["search" if item.startswith("?") else "view"],
            QUERY if item.startswith("?") else ITEM_ID,
            item.encode(),
        )
        for _, item, time_ms in events
    ]
    items: list[str | None] = [None if item.startswith("?") else item for _, item, _ in events]
    return EventChunk(
        [user for user, _, _ in events],
        np.array(rows, COMPACT),
        items,
        [None] * len(rows),
        [()] * len(rows),
        asked=asked,
    )


@pytest.fixture
def prepared() -> Callable[..., Dataset]:
    """Returns prepared(events, items=None, tests=(), **config), which makes a data set.

    items: {item_id: categories} or a string of one-letter ids; tests: events of a test file.
    """

    def make(
        events: Events,
        items: str | Mapping[str, tuple[str, ...]] | None = None,
        tests: Events = (),
        **config: Any,
    ) -> Dataset:
        known = dict.fromkeys(items, ()) if isinstance(items, str) else items
        catalogue = None
        if known is not None:
            catalogue = Catalogue(
                list(known), [f"Title {item}" for item in known], list(known.values())
            )
        files = [chunk(events), *([chunk(tests, asked=True)] if tests else [])]
        return prepare(files, catalogue, PrepareConfig(**{"min_events": 2, **config}))

    return make


@pytest.fixture
def histories() -> Callable[[Mapping[str, str]], list[tuple[str, str, int]]]:
    """histories({"u": "abc"}): each letter an item, a second apart."""

    def make(letters: Mapping[str, str]) -> list[tuple[str, str, int]]:
        return [
            (user, item, 1_000 * place)
            for user, items in letters.items()
            for place, item in enumerate(items, 1)
        ]

    return make

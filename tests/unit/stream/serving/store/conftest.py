"""Gives tests of the store an empty one."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from stream.serving.store import Store


@pytest.fixture
def store(tmp_path: Path) -> Iterator[Store]:
    """Yields a store in a folder of its own."""
    store = Store(tmp_path)
    yield store
    store.close()

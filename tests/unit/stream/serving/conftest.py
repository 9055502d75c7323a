"""Gives tests of the routes a service without a broker."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.support.serving import Service, service


@pytest.fixture
def served(tmp_path: Path) -> Iterator[Service]:
    """Yields a service on loopback, which lets everybody in."""
    found = service(tmp_path)
    yield found
    found.close()

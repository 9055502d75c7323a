"""A pipeline of its own for each fault test."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.support.pipelines import Pipeline, make_pipeline


@pytest.fixture
def pipeline(kafka: Any, tmp_path: Path) -> Iterator[Pipeline]:
    yield from make_pipeline(kafka.url, kafka.unique, tmp_path)

"""The worker's start, as far as it needs no broker."""

from __future__ import annotations

from pathlib import Path

import pytest

from stream.cli.worker_command import _predictor
from stream.config import Settings
from stream.errors import ModelError


def test_a_broken_model_directory_is_a_failure_that_names_the_file(tmp_path: Path) -> None:
    with pytest.raises(ModelError, match=str(tmp_path)):
        _predictor(Settings(model=str(tmp_path)), null_model=False)

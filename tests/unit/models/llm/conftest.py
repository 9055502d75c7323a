"""Gives tests a tiny causal language model as a user's local directory would hold it.

Its weights are random, its tokenizer is a real one.
"""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.support.tiny_language_model import write_tiny_model


@pytest.fixture(scope="session")
def tiny_model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Returns the directory of the tiny model, which all tests share: not to be written to."""
    return write_tiny_model(tmp_path_factory.mktemp("tiny") / "model")

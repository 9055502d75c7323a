"""A tiny causal language model, as a user's local directory would hold it: random weights, a real tokenizer."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.tiny_language_model import write_tiny_model


@pytest.fixture(scope="session")
def tiny_model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Not to be written to: shared by all tests."""
    return write_tiny_model(tmp_path_factory.mktemp("tiny") / "model")

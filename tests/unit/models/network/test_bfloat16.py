"""The model as it serves says what the model says."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from models.compact import COMPACT, hash64
from models.contract import Hosting
from models.network.bfloat16 import Reader, faster_reader
from models.network.language_model import LanguageModel
from models.predict import load_predictor


def inputs(model: LanguageModel, users: int, missing: int) -> tuple[torch.Tensor, torch.Tensor]:
    """Tokens and causal bias of users, the first of whom lacks the oldest events."""
    length = model.reach + 2
    places = torch.arange(length)
    bias = model.distance_bias(places, places).masked_fill(
        places[None, :] > places[:, None], float("-inf")
    )
    bias = bias[None].repeat(users, 1, 1, 1)
    hidden = (places[None, :] < missing) & (places[:, None] != places[None, :])
    bias[0] = bias[0].masked_fill(hidden, float("-inf"))
    return torch.randn(users, length, model.width), bias


@pytest.mark.parametrize("missing", [0, 3, 8])
@pytest.mark.parametrize(("dtype", "tolerance"), [(torch.float32, 1e-5), (torch.bfloat16, 0.05)])
def test_a_reader_says_what_the_model_says(
    dtype: torch.dtype, tolerance: float, missing: int
) -> None:
    torch.manual_seed(0)
    model = LanguageModel(1, 64, 2, 2, 0.0, 8).eval()
    torch.nn.init.normal_(model.distance)
    with torch.inference_mode():
        tokens, bias = inputs(model, 5, missing)
        answer, read = Reader(model, dtype)(tokens, bias)
        torch.testing.assert_close(
            answer, model.last_hidden(tokens, bias), atol=tolerance, rtol=tolerance
        )
        first = model.blocks[0](tokens, bias)[:, missing:]
        torch.testing.assert_close(read[:, missing:], first, atol=tolerance, rtol=tolerance)


def test_the_choice_names_its_measurement() -> None:
    with torch.inference_mode():
        reader, why = faster_reader(LanguageModel(1, 64, 2, 2, 0.0, 8).eval())
    assert why.startswith("bfloat16: " if reader else "float32: ")
    assert "% of the time" in why


def test_bfloat16_names_the_same_interests() -> None:
    exact, half = load_predictor(None), load_predictor(None, hosting=Hosting(precision="bfloat16"))
    random = np.random.default_rng(0)
    recent = np.zeros((200, 32), COMPACT)
    keys = np.array([hash64(item) for item in exact.info.items], np.uint64)
    recent["key"] = keys[random.integers(0, len(keys), recent.shape)]
    recent["time_ms"] = 1_764_000_000_000 - np.arange(32) * 60_000
    state = exact.rebuild(recent)
    wide = exact.interest_probabilities(state, recent)
    np.testing.assert_allclose(half.interest_probabilities(state, recent), wide, atol=0.03)

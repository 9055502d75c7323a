"""The model as it serves says what the model says."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from models.compact import COMPACT, hash64
from models.cooccurrence import table
from models.language_model import LanguageModel
from models.predict import Hosting, load_predictor
from models.reader import Reader, faster_reader


def inputs(model: LanguageModel, users: int, missing: int) -> tuple[torch.Tensor, torch.Tensor]:
    """Tokens and causal bias of users, the first of whom lacks the oldest events."""
    length = model.reach + 2
    places = torch.arange(length)
    bias = model.distance_bias(places, places).masked_fill(places[None, :] > places[:, None], float("-inf"))
    bias = bias[None].repeat(users, 1, 1, 1)
    hidden = (places[None, :] < missing) & (places[:, None] != places[None, :])
    bias[0] = bias[0].masked_fill(hidden, float("-inf"))
    return torch.randn(users, length, model.width), bias


@pytest.mark.parametrize("missing", [0, 3, 8])
@pytest.mark.parametrize(("dtype", "tolerance"), [(torch.float32, 1e-5), (torch.bfloat16, 0.05)])
def test_a_reader_says_what_the_model_says(dtype: torch.dtype, tolerance: float, missing: int) -> None:
    torch.manual_seed(0)
    model = LanguageModel(1, 64, 2, 2, 0.0, 8).eval()
    torch.nn.init.normal_(model.distance)
    with torch.inference_mode():
        tokens, bias = inputs(model, 5, missing)
        answer, read = Reader(model, dtype)(tokens, bias)
        torch.testing.assert_close(answer, model.last_hidden(tokens, bias), atol=tolerance, rtol=tolerance)
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


def test_small_and_large_catalogues_count_the_same(monkeypatch: pytest.MonkeyPatch) -> None:
    random = np.random.default_rng(0)
    neighbours = np.array([random.permutation(50)[:8] for _ in range(50)], np.int32)
    weights = random.random((50, 8)).astype(np.float32)
    rows = torch.from_numpy(random.integers(0, 50, (7, 32)))
    dense = table(neighbours, weights).scores(rows)
    monkeypatch.setattr("models.pair_tables.DENSE_ITEMS", 0)
    np.testing.assert_allclose(table(neighbours, weights).scores(rows), dense, rtol=2e-3)  # held in float16

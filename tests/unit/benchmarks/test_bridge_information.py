"""Checks that the bridge carries information about users.

Without it, or with another user's, the language model knows less. It is measured on the demo model
and simulated users, by the language model's answer alone, without the blend. Figures and the same
at full size: docs/measured/soft-tokens.md.
"""

from __future__ import annotations

from typing import Any

import pytest

from models.predict import load_predictor
from stream.offline.explanations import simulated_histories
from tests.benchmarks.bridge_information import measure

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def found() -> dict[str, Any]:
    return measure(load_predictor(), simulated_histories(600, seed=33), seed=0)


def test_soft_tokens_of_another_user_lose_accuracy(found: dict[str, Any]) -> None:
    assert found["soft tokens of another user"]["loss minus own"][0] > 0.4
    assert found["soft tokens of another user"]["HR@10"] < 0.8 * found["own soft tokens"]["HR@10"]
    alone = [
        found[f"{whose}, no recent events"]["HR@10"]
        for whose in ("own soft tokens", "soft tokens of another user")
    ]
    assert alone[1] < alone[0] / 3


def test_no_soft_tokens_lose_accuracy(found: dict[str, Any]) -> None:
    assert found["soft tokens zeroed"]["loss minus own"][0] > 0.05


def test_interests_can_be_read_from_the_soft_tokens_by_a_linear_probe(
    found: dict[str, Any],
) -> None:
    assert found["probe"]["right"] > 2 * found["probe"]["most frequent"]
    assert found["probe"]["right"] > 2 * found["probe"]["shuffled"]

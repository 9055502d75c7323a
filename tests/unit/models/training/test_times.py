"""What a network may take leaves time to learn everything again."""

from __future__ import annotations

import math

import pytest

from models.training.times import Times


@pytest.fixture(autouse=True)
def _now(monkeypatch: pytest.MonkeyPatch) -> None:
    """Has 300 s of processor time gone by."""
    monkeypatch.setattr("time.process_time", lambda: 300.0)


def test_all_of_the_rest_is_there_where_nothing_is_learned_again() -> None:
    times = Times(end=1_000, anew=0, networks=200, attention=100)
    assert times.for_attention() == times.for_more_dropout() == 700


def test_what_was_learned_is_learned_again() -> None:
    times = Times(end=1_000, anew=1, networks=200, attention=100)
    # the attention twice, and the networks once more
    assert 2 * times.for_attention() + 200 == 700
    # other networks twice, and the attention once more
    assert 2 * times.for_more_dropout() + 100 == 700


def test_without_an_end_nothing_ends() -> None:
    times = Times(end=math.inf, anew=1, networks=200, attention=100)
    assert times.for_attention() == times.for_more_dropout() == math.inf

"""What a training reads of events: items by their rows, searches by their words, and what comes next."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from models.prepare import Dataset
from models.training_data import TrainingData


def test_searches_are_texts_beyond_the_items_and_never_asked_for(prepared: Callable[..., Dataset]) -> None:
    events = [("u", each, 1_000 * place) for place, each in enumerate(["a", "?tent", "b", "?stove", "?tent", "a", "b"])]
    data = TrainingData(prepared(events, "ab"), length=10)
    assert data.texts == ["?tent", "?stove"]  # the more frequent first
    pieces = data.pieces(held_out=0)
    assert pieces.rows[0, :6].tolist() == [1, 3, 2, 4, 3, 1]
    assert pieces.targets[0, :6].tolist() == [0, 2, 0, 0, 1, 2]


def test_only_the_most_frequent_texts_are_read(
    prepared: Callable[..., Dataset], monkeypatch: pytest.MonkeyPatch
) -> None:
    events = [("u", each, 1_000 * place) for place, each in enumerate(["a", "?tent", "b", "?stove", "?tent", "a", "b"])]
    monkeypatch.setattr("models.training_data.MOST_TEXTS", 1)
    data = TrainingData(prepared(events, "ab"), length=10)
    assert data.texts == ["?tent"]
    assert data.pieces(held_out=0).rows[0, :6].tolist() == [1, 3, 2, 0, 3, 1]

"""Checks what a training reads of events.

Items are read by their rows, searches by their words, and the target is what comes next.
"""

from __future__ import annotations

from collections.abc import Callable

import pytest

from models.data.prepare import Dataset
from models.training.sequences import TrainingData
from models.vocabulary import Tokenizer


def test_searches_are_texts_beyond_the_items_and_never_asked_for(
    prepared: Callable[..., Dataset],
) -> None:
    events = [
        ("u", each, 1_000 * place)
        for place, each in enumerate(["a", "?tent", "b", "?stove", "?tent", "a", "b"])
    ]
    data = TrainingData(prepared(events, "ab"), length=10)
    assert data.texts == ["?tent", "?stove"]  # the more frequent first
    pieces = data.pieces(data.ends)
    assert pieces.rows[0, :6].tolist() == [1, 3, 2, 4, 3, 1]
    assert pieces.targets[0, :6].tolist() == [0, 2, 0, 0, 1, 2]


def test_only_the_most_frequent_texts_are_read(
    prepared: Callable[..., Dataset], monkeypatch: pytest.MonkeyPatch
) -> None:
    events = [
        ("u", each, 1_000 * place)
        for place, each in enumerate(["a", "?tent", "b", "?stove", "?tent", "a", "b"])
    ]
    monkeypatch.setattr("models.training.sequences.MOST_TEXTS", 1)
    data = TrainingData(prepared(events, "ab"), length=10)
    assert data.texts == ["?tent"]
    assert data.pieces(data.ends).rows[0, :6].tolist() == [1, 3, 2, 0, 3, 1]


def test_words_of_few_users_are_not_kept_however_often_they_wrote_them(
    prepared: Callable[..., Dataset],
) -> None:
    """Checks a canary of one user in many searches, and words that five users wrote."""
    texts = [f"?canary{number} canary tent" for number in range(9)]
    events = [("lone", each, 1_000 * place) for place, each in enumerate(["a", *texts, "b"])]
    for user in range(4):
        events += [(f"u{user}", each, place) for place, each in enumerate(["a", "?a tent", "b"])]
    data = TrainingData(prepared(events, "ab"), length=20, least_users=5)
    assert len(data.texts) == len(data.words_of_many) == 10
    assert {word for each in data.words_of_many for word in each} == {"tent"}
    kept = Tokenizer.learn(["a", "b"], said=data.words_of_many).known
    assert kept == ["tent"]

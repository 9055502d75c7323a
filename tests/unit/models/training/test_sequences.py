"""Checks what a training reads of events.

Items are read by their rows, searches by their words, and the target is what comes next.
"""

from __future__ import annotations

from collections.abc import Callable

import pytest
import torch

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


def test_a_window_is_the_items_before_a_target_of_the_same_user(
    prepared: Callable[..., Dataset],
) -> None:
    events = [
        ("u", each, 1_000 * place) for place, each in enumerate(["a", "b", "?tent", "c", "d", "a"])
    ]
    events += [("v", each, 1_000 * place) for place, each in enumerate("dcb")]
    data = TrainingData(prepared(events, "abcd"), length=10)
    windows = data.windows(data.ends - 1)  # the last event of each user is not learned
    found = {
        (tuple(row for row in rows if row), target)
        for batch in windows.batches(2, size=2, most=100, generator=torch.Generator())
        for rows, target in zip(batch.rows.tolist(), batch.targets.tolist(), strict=True)
    }
    # of u: a b c d without the search; of v: d c
    assert found == {((1,), 2), ((1, 2), 3), ((2, 3), 4), ((4,), 3)}


def test_an_epoch_of_windows_has_no_more_than_it_may_and_draws_others_each_time(
    prepared: Callable[..., Dataset],
) -> None:
    events = [(f"u{user}", each, 1_000 * at) for user in range(9) for at, each in enumerate("abcd")]
    data = TrainingData(prepared(events, "abcd"), length=10)
    windows = data.windows(data.ends)
    generator = torch.Generator().manual_seed(0)
    epochs = [list(windows.batches(8, 4, 10, generator)) for _ in range(2)]
    for epoch in epochs:
        assert sorted(len(batch.targets) for batch in epoch) == [2, 4, 4]
        assert sum(batch.share for batch in epoch) == pytest.approx(3)
    first, second = (torch.cat([batch.targets for batch in epoch]) for epoch in epochs)
    assert not torch.equal(first, second)
    every = list(windows.batches(8, 4, 1_000, generator))
    assert sum(len(batch.targets) for batch in every) == 9 * 3

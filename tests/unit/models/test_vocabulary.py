"""Numbers that training and serving must agree on."""

from __future__ import annotations

import numpy as np
import pytest

from models.vocabulary import (
    FIRST_WORD,
    GAP_BUCKETS,
    HASHED,
    PAD,
    START,
    Tokenizer,
    gap_buckets,
    words,
)


@pytest.mark.parametrize(
    ("gap_ms", "bucket"),
    [
        (-1, 0),  # no event before
        (0, 1),
        (1_000, 1),  # up to a second
        (1_001, 2),
        (3_031, 2),  # 2 ** 1.6 seconds = 3.0314
        (3_032, 3),
        (10**15, GAP_BUCKETS - 1),
    ],
)
def test_gap_buckets(gap_ms: int, bucket: int) -> None:
    assert gap_buckets(np.array([gap_ms])).tolist() == [bucket]


def test_gap_buckets_never_fall() -> None:
    buckets = gap_buckets(np.logspace(0, 12, 400).astype(np.int64))
    assert (np.diff(buckets) >= 0).all()
    assert set(buckets.tolist()) == set(range(1, GAP_BUCKETS))


def test_words_of_several_scripts() -> None:
    assert words("Tent, 2-person (GREEN)") == ["tent", "2", "person", "green"]
    assert words("普洱茶 Tea") == ["普", "洱", "茶", "tea"]
    assert words("ｆｕｌｌ ＷＩＤＴＨ") == ["full", "width"]
    assert words("Straße ÉCOLE") == ["strasse", "école"]
    assert words("_ - !") == []


def test_the_most_frequent_words_are_known_and_the_rest_hashed() -> None:
    tokenizer = Tokenizer.learn(["green tent", "green lamp", "tent", "rope"], most=2)
    assert tokenizer.known == ["green", "tent"]
    assert tokenizer.size == FIRST_WORD + HASHED + 2
    (tokens,) = tokenizer.encode(["Green rope TENT"])
    assert tokens[0] == START
    assert tokens[1] == FIRST_WORD + HASHED
    assert FIRST_WORD <= tokens[2] < FIRST_WORD + HASHED
    assert tokens[3] == FIRST_WORD + HASHED + 1
    assert (tokens[4:] == PAD).all()
    assert (tokens < tokenizer.size).all()


def test_long_and_empty_texts_fit() -> None:
    tokenizer = Tokenizer(["a"], length=4)
    found = tokenizer.encode(["a b c d e f", "", "!!"])
    assert found.shape == (3, 4)
    assert (found[0] != PAD).all()
    assert found[1].tolist() == found[2].tolist() == [START, PAD, PAD, PAD]


def test_equal_catalogues_give_equal_vocabularies_in_any_order() -> None:
    texts = ["green tent", "green lamp", "tent rope rope"]
    assert Tokenizer.learn(texts).known == Tokenizer.learn(reversed(texts)).known

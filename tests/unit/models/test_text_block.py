"""A block of texts is read as the tuple of them is."""

from __future__ import annotations

import pickle

import pytest

from models.text_block import TextBlock

TEXTS = ("item-1", "", "帐篷", "a\udc80b", "é" * 300)


def test_it_reads_as_the_texts_that_it_was_made_of() -> None:
    block = TextBlock(TEXTS)
    assert list(block) == list(TEXTS)
    assert len(block) == len(TEXTS)
    assert [block[place] for place in range(-5, 5)] == [*TEXTS, *TEXTS]
    for some in (slice(1, 3), slice(None, None, -2), slice(4, 99)):
        assert list(block[some]) == list(TEXTS[some])
    assert block.index("帐篷") == 2
    assert "" in block
    assert "tent" not in block


def test_a_place_outside_is_an_error() -> None:
    for place in (5, -6):
        with pytest.raises(IndexError):
            TextBlock(TEXTS)[place]


def test_it_equals_what_has_the_same_texts_in_the_same_order() -> None:
    block = TextBlock(TEXTS)
    assert block == TEXTS
    assert block == TEXTS
    assert block == list(TEXTS)
    assert block == TextBlock(TEXTS)
    assert block != TextBlock(reversed(TEXTS))
    assert block != TEXTS[:-1]
    # the same bytes, cut elsewhere
    assert TextBlock(["ab", "c"]) != TextBlock(["a", "bc"])
    assert TextBlock(["a"]) != "a"


def test_it_grows_at_its_end_and_goes_to_another_process() -> None:
    block = TextBlock(TEXTS)
    block.append("last")
    assert pickle.loads(pickle.dumps(block)) == (*TEXTS, "last")
    assert repr(block) == "TextBlock(['item-1', '', '帐篷', ...])"

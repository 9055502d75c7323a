"""Nothing that a stranger wrote acts in a terminal, and no error quotes an event."""

from __future__ import annotations

import json
import unicodedata

import pytest
from aiokafka.errors import KafkaTimeoutError
from hypothesis import given
from hypothesis import strategies as st

from stream.errors import DataError
from stream.plain_text import plain, plain_lines, told, utc

EVIL = "\x1b]0;owned\x07\x1b[2J\x9b31m\x7f\r\u202edlo\u2066\u2028\x00"
ANY = st.text(st.characters(codec=None), max_size=60) | st.text(st.sampled_from(EVIL + "ab\n"))


@given(ANY)
def test_no_character_that_acts_is_left(text: str) -> None:
    for shown, ends in ((plain(text), ""), (plain_lines(text), "\n")):
        left = [each for each in shown if each not in ends]
        assert not [each for each in left if unicodedata.category(each) in ("Cc", "Cs", "Zl", "Zp")]
        assert not [each for each in left if unicodedata.bidirectional(each) in OVERRIDES]
    assert "\n" not in plain(text)


OVERRIDES = {"LRE", "RLE", "LRO", "RLO", "PDF", "LRI", "RLI", "FSI", "PDI"}


@given(ANY)
def test_json_stays_the_same_json(text: str) -> None:
    document = json.dumps({"title": text}, ensure_ascii=False)
    assert json.loads(plain(document)) == {"title": text}


def test_words_of_any_script_stay_as_they_are() -> None:
    for text in ("书籍", "שלום", "tent – 2 ₽", "👩‍🚀"):
        assert plain(text) == text


@pytest.mark.parametrize("time_ms", [1 << 62, -(1 << 62), 253_402_300_800_000])
def test_a_moment_that_no_calendar_has_is_shown_as_its_number(time_ms: int) -> None:
    assert utc(time_ms) == f"{time_ms} ms"
    assert utc(0) == "1970-01-01 00:00:00"


def test_an_error_of_somebody_else_is_told_without_what_it_quotes() -> None:
    def fail() -> None:
        raise KeyError("carol@example.com")

    with pytest.raises(KeyError) as caught:
        fail()
    assert told(caught.value).startswith("KeyError in fail (test_plain_text.py:")
    assert told(KeyError("carol@example.com")) == "KeyError"
    assert told(DataError("mend it")) == "DataError: mend it"
    assert told(KafkaTimeoutError("late")).startswith("KafkaTimeoutError: ")
    assert told(FileNotFoundError(2, "gone", "a")) == "FileNotFoundError: [Errno 2] gone: 'a'"

"""Which dead letters are sent again, as what, and that this ends."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import pytest

from stream.dead_letters import MAX_KEPT_BYTES, dead_letter
from stream.errors import DataError
from stream.events import ORIGIN_HEADER, Reject
from stream.replaying import REPLAY_HEADER, Parked, matching, parse, replayed, select

TOPICS = {"clicks"}


def parked(
    offset: int = 7, reason: str = "not-json", at_ms: int = 1_000, topic: str = "clicks", **parts: Any
) -> Parked:
    """What the command reads, of a record that the worker parked."""
    original = SimpleNamespace(**{"key": b"user-7", "value": b"{", "headers": (), "timestamp": 5, **parts})
    key, value, headers = dead_letter(topic, 3, original, Reject(offset, reason, "Error", "mend it", None), at_ms)
    return parse(SimpleNamespace(key=key, value=value, headers=headers, timestamp=9, partition=3, offset=0))


def test_what_is_sent_is_the_original_and_says_that_it_is_a_replay() -> None:
    own = [("trace", b"\xff"), ("none", None), ("is.dlq.reason", b"of somebody else")]
    key, value, headers = replayed(parked(headers=own, value=b"\xff{"))
    assert (key, value) == (b"user-7", b"\xff{")
    assert headers == [*own, (REPLAY_HEADER, b"clicks-3-7"), (ORIGIN_HEADER, b"clicks-3-7")]


def test_null_key_and_value_stay_null() -> None:
    assert replayed(parked(key=None, value=None))[:2] == (None, None)


def test_an_origin_that_is_there_stays_the_only_one() -> None:
    _, _, headers = replayed(parked(headers=[(ORIGIN_HEADER, b"raw-0-1")]))
    assert [value for name, value in headers if name == ORIGIN_HEADER] == [b"raw-0-1"]


def test_filters() -> None:
    letters = [parked(1, at_ms=10), parked(2, at_ms=20), parked(3, "too-deep", at_ms=30)]

    def offsets(*arguments: Any) -> list[int]:
        return [letter.offset for letter in matching(letters, *arguments)]

    assert offsets((), None, None) == [1, 2, 3]
    assert offsets(("not-json",), None, None) == [1, 2]
    assert offsets((), 20, None) == [2, 3]
    assert offsets((), None, 20) == [1]
    assert offsets(("too-deep", "not-json"), 20, 30) == [2]


def test_one_that_was_parked_twice_is_one() -> None:
    assert len(matching([parked(at_ms=1), parked(at_ms=2)], (), None, None)) == 1


def test_each_is_sent_once_and_what_is_refused_again_is_not() -> None:
    first, second = parked(1), parked(2)
    key, value, headers = replayed(first)
    refused_again = parked(99, key=key, value=value, headers=headers)
    selection = select([first, second, refused_again], {second.place}, TOPICS)
    assert selection.chosen == [first]
    assert selection.left_out == {"of a replay that was refused again": 1, "sent again before": 1}


def test_what_cannot_be_sent_is_counted() -> None:
    cut = parked(1, value=b"x" * (MAX_KEPT_BYTES + 1))
    selection = select([cut, parked(2, topic="other")], set(), TOPICS)
    assert not selection.chosen
    assert sum(selection.left_out.values()) == 2


def test_a_record_that_is_no_dead_letter_is_named() -> None:
    record = SimpleNamespace(key=b"k", value=b"v", headers=[], timestamp=0, partition=2, offset=11)
    with pytest.raises(DataError, match=r"record 11 of partition 2 is no dead letter"):
        parse(record)

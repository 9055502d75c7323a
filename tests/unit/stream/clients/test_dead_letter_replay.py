"""Which dead letters are sent again, as what, and that this ends."""

from __future__ import annotations

import asyncio
import dataclasses
from collections.abc import AsyncIterator
from types import SimpleNamespace
from typing import Any

import pytest

from stream.clients import dead_letter_replay as replay
from stream.clients.dead_letter_replay import (
    REPLAY_HEADER,
    Parked,
    matching,
    parse,
    replayed,
    select,
)
from stream.config import Settings
from stream.contracts.dead_letter import MAX_KEPT_BYTES, dead_letter
from stream.contracts.event import ORIGIN_HEADER
from stream.contracts.faults import Reject
from stream.errors import DataError

TOPICS = {"clicks"}


def parked(
    offset: int = 7,
    reason: str = "not-json",
    at_ms: int = 1_000,
    topic: str = "clicks",
    **parts: Any,
) -> Parked:
    """What the command reads, of a record that the worker parked."""
    original = SimpleNamespace(
        **{"key": b"user-7", "value": b"{", "headers": (), "timestamp": 5, **parts}
    )
    key, value, headers = dead_letter(
        topic, 3, original, Reject(offset, reason, "Error", "mend it", None), at_ms
    )
    return parse(
        SimpleNamespace(key=key, value=value, headers=headers, timestamp=9, partition=3, offset=0)
    )


def test_what_is_sent_is_the_original_and_says_that_it_is_a_replay() -> None:
    own = [("trace", b"\xff"), ("none", None), ("is.dlq.reason", b"of somebody else")]
    key, value, headers = replayed(parked(headers=own, value=b"\xff{"))
    assert (key, value) == (b"user-7", b"\xff{")
    assert headers == [*own, (REPLAY_HEADER, b"clicks-3-7@5"), (ORIGIN_HEADER, b"clicks-3-7@5")]


def test_another_record_at_the_same_place_is_another_letter() -> None:
    """Checks a topic that was deleted and created again: its offsets name other records."""
    old, new = parked(timestamp=5), parked(timestamp=900, at_ms=2_000)
    assert matching([old, new], (), None, None) == [old, new]
    assert select([old, new], {old.identity}, TOPICS).selected == [new]
    assert select([old, new], {old.place}, TOPICS).selected == []  # of an earlier version


def test_documents_of_one_record_are_letters_of_their_own() -> None:
    fault = Reject(7, "bad-time", "BadEvent", "mend it", None)
    original = SimpleNamespace(key=b"u", value=b"{}", headers=(), timestamp=5)
    found = []
    for number in (0, 1):
        one = dataclasses.replace(fault, document=number)
        key, value, headers = dead_letter("clicks", 3, original, one, 1_000)
        record = {"key": key, "value": value, "headers": headers}
        found.append(parse(SimpleNamespace(**record, timestamp=9, partition=3, offset=0)))
    first, second = found
    assert (first.identity, second.identity) == ("clicks-3-7@5#0", "clicks-3-7@5#1")
    assert matching(found, (), None, None) == found
    assert select(found, {first.identity}, TOPICS).selected == [second]
    assert replay.places_of(found, "clicks") == {}, "others of the record may have been applied"


def foreign(**headers: bytes | None) -> SimpleNamespace:
    """A record of another service in the same topic."""
    named = [(name.replace("_", "."), value) for name, value in headers.items()]
    return SimpleNamespace(key=b"k", value=b"v", headers=named, timestamp=9, partition=3, offset=0)


OURS = {
    "is_dlq_topic": b"clicks",
    "is_dlq_partition": b"1",
    "is_dlq_offset": b"2",
    "is_dlq_reason": b"not-json",
}


@pytest.mark.parametrize(
    "record",
    [
        foreign(),
        foreign(kafka_dlt_exception=b"x"),
        foreign(**{**OURS, "is_dlq_partition": b"-1"}),
        foreign(**{**OURS, "is_dlq_offset": b"many"}),
        foreign(**{**OURS, "is_dlq_offset": None}),
        foreign(is_dlq_topic=b"\xff"),
    ],
)
def test_records_of_others_are_counted_and_stop_nothing(
    record: SimpleNamespace, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def records(*_: Any) -> AsyncIterator[Any]:
        for each in (record, foreign(**OURS), record):
            yield each

    async def stop() -> None: ...

    monkeypatch.setattr(replay, "_records", records)
    monkeypatch.setattr(replay, "open_consumer", lambda settings: _done(SimpleNamespace(stop=stop)))
    found = asyncio.run(replay.read(Settings()))
    assert (len(found.parked), found.foreign) == (1, 2)


async def _done(value: Any) -> Any:
    return value


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
    assert selection.selected == [first]
    assert selection.left_out == {"of a replay that was refused again": 1, "sent again before": 1}


def test_what_cannot_be_sent_is_counted() -> None:
    cut = parked(1, value=b"x" * (MAX_KEPT_BYTES + 1))
    selection = select([cut, parked(2, topic="other")], set(), TOPICS)
    assert not selection.selected
    assert sum(selection.left_out.values()) == 2


def test_a_record_that_is_no_dead_letter_is_named() -> None:
    record = SimpleNamespace(key=b"k", value=b"v", headers=[], timestamp=0, partition=2, offset=11)
    with pytest.raises(DataError, match=r"record 11 of partition 2 is no dead letter"):
        parse(record)

"""Checks that invalid records and dead letters are held against each other."""

from __future__ import annotations

from types import SimpleNamespace

from stream.audit.dead_letters import DeadLetter, compare_dead_letters, letter_of
from stream.audit.event_rules import Limits
from stream.audit.replay import Replay
from stream.contracts.dead_letter import dead_letter
from stream.contracts.faults import Reject
from tests.unit.stream.audit.test_compare import NOW_MS, TOPIC, event, replayed


def test_a_dead_letter_that_came_later_or_whose_original_is_gone_is_not_judged() -> None:
    replay = Replay(Limits())
    replay.add(0, 7, b"user-1", b"garbage", NOW_MS, None)
    letters = {(0, each): DeadLetter(b"user-1", b"garbage") for each in (6, 7, 8)}
    found = compare_dead_letters(replay, letters, {0: 8})
    assert (found["dead_letters_of_valid"], found["dead_letters_missing"]) == (0, 0)


def test_dead_letters_are_compared_with_the_invalid_records() -> None:
    replay = replayed([event(0), b"garbage", b"more garbage"])
    letters = {(0, 1): DeadLetter(b"user-1", b"garbage"), (0, 0): DeadLetter(b"user-1", event(0))}
    found = compare_dead_letters(replay, letters, {0: 3})
    assert found["dead_letters_missing"] == 1
    assert found["dead_letters_of_valid"] == 1
    assert (
        compare_dead_letters(replay, {(0, 1): DeadLetter(b"user-1", b"gar")}, {0: 2})[
            "dead_letters_changed"
        ]
        == 1
    )


def test_what_another_service_parked_is_no_dead_letter() -> None:
    ours = {
        "is.dlq.topic": TOPIC.encode(),
        "is.dlq.partition": b"2",
        "is.dlq.offset": b"7",
        "is.dlq.timestamp": b"5",
    }

    def read(**changes: bytes | None) -> object:
        named = {f"is.dlq.{name}": content for name, content in changes.items()}
        return letter_of(b"k", b"v", (ours | named).items(), TOPIC)

    assert read() == ((2, 7), DeadLetter(b"k", b"v", ours, 5))
    others = ({"topic": b"\xff"}, {"topic": None}, {"partition": b"abc"}, {"offset": "²".encode()})
    assert [read(**each) for each in others] == [None] * len(others)
    assert letter_of(b"k", b"v", [("kafka_dlt-original-topic", b"x")], TOPIC) is None


def test_a_letter_of_an_earlier_topic_is_not_of_the_record_at_its_place() -> None:
    assert DeadLetter(b"k", b"v", {}, 5).may_be_of(5)
    assert not DeadLetter(b"k", b"v", {}, 5).may_be_of(6)
    assert DeadLetter(b"k", b"v").may_be_of(6)  # it does not say


def test_a_dead_letter_that_was_cut_is_compared_by_size_and_sum() -> None:
    """A value too large to keep is no false alarm; another one of the same size is found."""
    value = b"x" * 700_000
    fault = Reject(0, "too-large", "BadEvent", "too large", None)
    source = SimpleNamespace(key=b"user-1", value=value, headers=(), offset=0, timestamp=NOW_MS)
    key, kept, headers = dead_letter(TOPIC, 0, source, fault)
    assert kept is not None
    assert len(kept) < len(value)
    letter = DeadLetter(key, kept, {name: content or b"" for name, content in headers})
    assert (
        compare_dead_letters(replayed([value]), {(0, 0): letter}, {0: 1})["dead_letters_changed"]
        == 0
    )
    other = value[:-1] + b"y"
    assert (
        compare_dead_letters(replayed([other]), {(0, 0): letter}, {0: 1})["dead_letters_changed"]
        == 1
    )

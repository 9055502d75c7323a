"""The audit as a pure function of a history: each kind of fault, made by hand, is found and named as what it is."""

from __future__ import annotations

import struct
from collections.abc import Callable
from types import SimpleNamespace
from zlib import crc32

import orjson
import pytest

from stream.audit import Changelog, Letter, Replay, compare, compare_dead_letters, splitmix
from stream.audit_events import Limits
from stream.dead_letters import dead_letter
from stream.events import Reject

TOPIC = "clickstream"
MASK = 2**64 - 1
NOW_MS = 1_800_000_000_000


def event(number: int, user: str = "user-1", **more: object) -> bytes:
    return orjson.dumps({"user_id": user, "action": "view", "time": NOW_MS, "item_id": f"item-{number}", **more})


def history(count: int = 5) -> list[bytes]:
    return [event(number) for number in range(count)]


def replayed(values: list[bytes], key: bytes = b"user-1") -> Replay:
    replay = Replay(Limits())
    for offset, value in enumerate(values):
        replay.add(0, offset, key, value, NOW_MS, None)
    return replay


def record(applied: list[tuple[int, bytes]], partition: int = 0) -> bytes:
    """The state record after events (offset, value), by the published layout."""
    digest = 0
    for offset, value in applied:
        digest = (digest * 0x9E3779B97F4A7C15 + splitmix(offset, crc32(value), partition)) & MASK
    body = struct.pack(
        "<BBHIQiIqQQq", 1, 0, 0, crc32(TOPIC.encode()), 7, partition, 4, applied[-1][0], len(applied), digest, NOW_MS
    )
    return body + crc32(body).to_bytes(4, "little")


def changelog_of(*records: bytes, user: bytes = b"user-1", partition: int = 0) -> Changelog:
    changelog = Changelog()
    for offset, value in enumerate(records):
        changelog.add(partition, offset, user, value)
    return changelog


def report(changelog: Changelog, values: list[bytes] | None = None, committed: int = 5) -> dict[str, object]:
    return compare(replayed(values or history()), changelog, {0: committed}, TOPIC)


def numbered(values: list[bytes]) -> list[tuple[int, bytes]]:
    return list(enumerate(values))


def test_a_state_that_holds_every_event_once_is_clean() -> None:
    found = report(changelog_of(record(numbered(history())[:3]), record(numbered(history()))))
    assert found["clean"]
    assert found["users"]["compared"] == 1  # type: ignore[index]


@pytest.mark.parametrize(
    ("fault", "kind"),
    [
        (lambda events: [each for each in events if each[0] != 2], "lost"),
        (lambda events: [*events[:3], events[2], *events[3:]], "doubled"),
        (lambda events: [events[1], events[0], *events[2:]], "wrong"),
        (lambda events: [*events[:4], (4, b"other bytes")], "wrong"),
    ],
    ids=["one lost", "one twice", "two swapped", "one changed"],
)
def test_a_fault_in_a_state_is_named(
    fault: Callable[[list[tuple[int, bytes]]], list[tuple[int, bytes]]], kind: str
) -> None:
    found = report(changelog_of(record(fault(numbered(history())))))
    assert not found["clean"]
    assert found[kind] == 1
    assert "user-1" in found["examples"][0]  # type: ignore[index]


def test_a_missing_state_is_found() -> None:
    assert report(Changelog())["missing"] == 1


def test_a_state_without_events_is_found() -> None:
    changelog = changelog_of(record(numbered(history())))
    changelog.add(0, 9, b"nobody", record(numbered(history())))
    assert report(changelog)["unexpected"] == 1


def test_a_corrupt_record_is_found() -> None:
    value = bytearray(record(numbered(history())))
    value[30] ^= 1
    found = report(changelog_of(bytes(value)))
    assert (found["corrupt"], found["clean"]) == (1, False)


def test_an_older_record_written_later_is_counted_and_does_not_win() -> None:
    whole = record(numbered(history()))
    found = report(changelog_of(whole, record(numbered(history())[:2])))
    assert (found["clean"], found["regressions"]) == (True, 1)


def test_a_state_in_the_wrong_partition_is_found() -> None:
    found = report(changelog_of(record(numbered(history()), partition=3)))
    assert found["misplaced"] == 1


def test_events_after_the_commit_may_be_there_or_not() -> None:
    replay_of_five = history()
    assert report(changelog_of(record(numbered(replay_of_five))), committed=2)["clean"]
    ahead = report(changelog_of(record(numbered(replay_of_five)[:4])), committed=2)
    assert ahead["clean"]
    assert ahead["users"]["ahead"] == 1  # type: ignore[index]


def test_a_repeated_event_id_counts_once_within_32_events() -> None:
    near = [event(0, event_id="a"), event(1, event_id="a")]
    assert replayed(near).users[0, b"user-1"].count == 1
    far = [
        event(0, event_id="a"),
        *(event(number, event_id=f"b{number}") for number in range(32)),
        event(40, event_id="a"),
    ]
    assert replayed(far).users[0, b"user-1"].count == 34


def test_dead_letters_are_compared_with_the_invalid_records() -> None:
    replay = replayed([event(0), b"garbage", b"more garbage"])
    letters = {(0, 1): Letter(b"user-1", b"garbage"), (0, 0): Letter(b"user-1", event(0))}
    found = compare_dead_letters(replay, letters, {0: 3})
    assert found["dead_letters_missing"] == 1
    assert found["dead_letters_of_valid"] == 1
    assert compare_dead_letters(replay, {(0, 1): Letter(b"user-1", b"gar")}, {0: 2})["dead_letters_changed"] == 1


def test_a_dead_letter_that_was_cut_is_compared_by_size_and_sum() -> None:
    """A value that is too large to keep is no false alarm, and another one of the same size is found."""
    value = b"x" * 700_000
    fault = Reject(0, "too-large", "BadEvent", "too large", None)
    source = SimpleNamespace(key=b"user-1", value=value, headers=(), offset=0, timestamp=NOW_MS)
    key, kept, headers = dead_letter(TOPIC, 0, source, fault)
    assert kept is not None
    assert len(kept) < len(value)
    letter = Letter(key, kept, {name: content or b"" for name, content in headers})
    assert compare_dead_letters(replayed([value]), {(0, 0): letter}, {0: 1})["dead_letters_changed"] == 0
    other = value[:-1] + b"y"
    assert compare_dead_letters(replayed([other]), {(0, 0): letter}, {0: 1})["dead_letters_changed"] == 1


def test_users_in_two_partitions_are_counted() -> None:
    replay = replayed(history())
    replay.add(1, 0, b"user-1", event(0), NOW_MS, None)
    changelog = changelog_of(record(numbered(history())))
    changelog.add(1, 0, b"user-1", record([(0, event(0))], partition=1))
    assert compare(replay, changelog, {0: 5, 1: 1}, TOPIC)["users_in_two_partitions"] == 1

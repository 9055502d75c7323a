"""Each kind of fault in a state, made by hand, is found by the audit and named as what it is."""

from __future__ import annotations

import struct
from collections.abc import Callable
from zlib import crc32

import orjson
import pytest

from stream.audit.changelog import Changelog
from stream.audit.compare import compare
from stream.audit.event_rules import Limits
from stream.audit.replay import Replay, splitmix

TOPIC = "clickstream"
MASK = 2**64 - 1
NOW_MS = 1_800_000_000_000


def event(number: int, user: str = "user-1", **more: object) -> bytes:
    return orjson.dumps(
        {"user_id": user, "action": "view", "time": NOW_MS, "item_id": f"item-{number}", **more}
    )


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
        "<BBHIQiIqQQq",
        1,
        0,
        0,
        crc32(TOPIC.encode()),
        7,
        partition,
        4,
        applied[-1][0],
        len(applied),
        digest,
        NOW_MS,
    )
    return body + crc32(body).to_bytes(4, "little")


def changelog_of(*records: bytes, user: bytes = b"user-1", partition: int = 0) -> Changelog:
    changelog = Changelog()
    for offset, value in enumerate(records):
        changelog.add(partition, offset, user, value)
    return changelog


def report(
    changelog: Changelog, values: list[bytes] | None = None, committed: int = 5
) -> dict[str, object]:
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


def moving(
    state: list[tuple[int, bytes]], committed: int, values: list[bytes] | None = None
) -> dict[str, object]:
    """Returns the report of an audit that reads the topic after the changelog, as events come."""
    changelog = changelog_of(record(state))
    replay = Replay(Limits(), changelog, {0: committed})
    for offset, value in enumerate(values or history()):
        replay.add(0, offset, b"user-1", value, NOW_MS, None)
    return compare(replay, changelog, {0: committed}, TOPIC)


@pytest.mark.parametrize("committed", [0, 2, 3])
def test_events_that_came_while_the_audit_read_are_no_difference(committed: int) -> None:
    found = moving(numbered(history())[:3], committed)
    assert found["clean"]
    assert found["users"]["compared"] == 1  # type: ignore[index]


def test_a_committed_event_behind_the_state_is_lost_while_others_come() -> None:
    found = moving(numbered(history())[:3], committed=4)
    assert (found["lost"], found["clean"]) == (1, False)
    assert "3 up to 2, and 1 after that" in found["examples"][0]  # type: ignore[index]


@pytest.mark.parametrize("committed", [2, 4])
def test_a_fault_is_found_while_events_come(committed: int) -> None:
    """Checks a state that is ahead of the commit, too: it is compared where it stands."""
    events = numbered(history())[:4]
    found = moving([events[0], *events[2:]], committed)
    assert (found["lost"], found["clean"]) == (1, False)
    found = moving([events[0], events[0], *events[2:]], committed)
    assert (found["wrong"], found["clean"]) == (1, False)


@pytest.mark.parametrize(("committed", "missing"), [(0, 0), (1, 1)])
def test_a_user_without_a_state_is_missing_if_an_event_was_committed(
    committed: int, missing: int
) -> None:
    replay = Replay(Limits(), Changelog(), {0: committed})
    replay.add(0, 0, b"user-1", event(0), NOW_MS, None)
    assert compare(replay, Changelog(), {0: committed}, TOPIC)["missing"] == missing


def test_a_state_before_the_first_event_that_is_left_is_not_compared() -> None:
    changelog = changelog_of(record(numbered(history())[:3]))
    replay = Replay(Limits(), changelog, {0: 3})
    replay.add(0, 4, b"user-1", event(4), NOW_MS, None)
    found = compare(replay, changelog, {0: 3}, TOPIC, {0: 4})
    assert found["clean"]
    assert found["users"]["truncated"] == 1


def test_users_in_two_partitions_are_counted() -> None:
    replay = replayed(history())
    replay.add(1, 0, b"user-1", event(0), NOW_MS, None)
    changelog = changelog_of(record(numbered(history())))
    changelog.add(1, 0, b"user-1", record([(0, event(0))], partition=1))
    assert compare(replay, changelog, {0: 5, 1: 1}, TOPIC)["users_in_two_partitions"] == 1

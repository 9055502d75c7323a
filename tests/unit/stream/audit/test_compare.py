"""Each kind of fault in a state, made by hand, is found by the audit and named as what it is."""

from __future__ import annotations

import struct
from collections.abc import Callable
from types import SimpleNamespace
from zlib import crc32

import orjson
import pytest

from stream.audit.compare import (
    Changelog,
    DeadLetter,
    Replay,
    compare,
    compare_dead_letters,
    letter_of,
    splitmix,
)
from stream.audit.event_rules import Limits
from stream.audit.mapping_rules import MappedShape
from stream.contracts.dead_letter import dead_letter
from stream.contracts.faults import Reject

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


def test_a_dead_letter_that_came_later_or_whose_original_is_gone_is_not_judged() -> None:
    replay = Replay(Limits())
    replay.add(0, 7, b"user-1", b"garbage", NOW_MS, None)
    letters = {(0, each): DeadLetter(b"user-1", b"garbage") for each in (6, 7, 8)}
    found = compare_dead_letters(replay, letters, {0: 8})
    assert (found["dead_letters_of_valid"], found["dead_letters_missing"]) == (0, 0)


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


def test_users_in_two_partitions_are_counted() -> None:
    replay = replayed(history())
    replay.add(1, 0, b"user-1", event(0), NOW_MS, None)
    changelog = changelog_of(record(numbered(history())))
    changelog.add(1, 0, b"user-1", record([(0, event(0))], partition=1))
    assert compare(replay, changelog, {0: 5, 1: 1}, TOPIC)["users_in_two_partitions"] == 1


def test_events_of_one_record_have_places_in_the_digest_and_ids_of_their_origin() -> None:
    mapping = '[event]\nuser_id = "u"\naction = "a"\ntime = "t"\nitem_id = "lines[].sku"\n'
    replay = Replay(Limits(), shape=MappedShape(mapping))
    value = orjson.dumps({"u": "u", "a": "buy", "t": NOW_MS, "lines": [{"sku": 1}, {"sku": 2}]})
    bad = b'[%b, {"u":"u"}]' % value
    for offset, (each, origin) in enumerate(((value, "raw-1"), (value, "raw-1"), (bad, None))):
        replay.add(0, offset, b"u", each, NOW_MS, origin)
    assert (replay.events, replay.applied, replay.repeated) == (3, 4, 2)
    assert replay.invalid == {(0, 2, 0): (b"u", b'{"u":"u"}')}
    digest = 0
    for offset, each in ((0, value), (2, bad)):
        first = crc32(each)
        for checksum in (first, crc32((1).to_bytes(4, "little"), first)):
            digest = (digest * 0x9E3779B97F4A7C15 + splitmix(offset, checksum, 0)) & MASK
    assert (replay.users[0, b"u"].count, replay.users[0, b"u"].digest) == (4, digest)

    # the dead letter of the document is compared with the document's own bytes
    for kept, changed in ((b'{"u":"u"}', 0), (b'{"u":"v"}', 1)):
        letter = DeadLetter(b"u", kept, {}, NOW_MS)
        report = compare_dead_letters(replay, {(0, 2, 0): letter}, {0: 3})
        assert (report["dead_letters_missing"], report["dead_letters_changed"]) == (0, changed)
    assert compare_dead_letters(replay, {}, {0: 3})["dead_letters_missing"] == 1

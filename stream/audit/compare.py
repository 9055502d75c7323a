"""Compares what each user's state should be with what the changelog holds; it reads no Kafka.

The worker and the audit share only what is published: the event schema, the layout of a state
record and the digest (docs/understand/decisions/0003-state-record.md).

    Replay      replays the input topic: count, last offset and digest that each user should have
    Changelog   keeps the record with the highest source offset of each user
    compare     is a pure function of both: what is missing, lost, doubled
"""

from __future__ import annotations

from collections import Counter
from typing import Any, Final
from zlib import crc32

from stream.audit.changelog import Changelog, Held
from stream.audit.control_rules import Expected
from stream.audit.replay import Replay

SHOWN: Final = 20
"""Differences that are described; all of them are counted."""

KINDS: Final = ("missing", "lost", "doubled", "wrong", "misplaced", "unexpected")


def compare(
    replay: Replay,
    changelog: Changelog,
    committed: dict[int, int],
    topic: str,
    begins: dict[int, int] | None = None,
) -> dict[str, Any]:
    """Returns the report: a count of each kind of difference, and the first ones in words.

    Events at or after the committed offset of their partition may be in the states or not. A state
    that holds some of them is counted as `ahead` where the replay does not stop at states, because
    it cannot be compared by its digest. In a partition whose first events were deleted (begins > 0)
    a user with more events than are left is counted as `truncated`.
    """
    differences: dict[str, list[str]] = {name: [] for name in KINDS}
    compared = ahead = truncated = 0
    code = crc32(topic.encode())

    # Each user of the topic, against the state that the changelog holds.
    for (partition, user), expected in replay.users.items():
        name = _named(partition, user)
        held = changelog.held.get((partition, user))
        if held is None:
            events = expected.count + expected.late
            if (events or expected.marked) and not replay.may_be_gone(partition, expected):
                what = f"{events} events" if events else "it was erased"
                differences["missing"].append(f"{name}: {what}, no state")
            continue
        compared += 1
        if held.source_partition != partition or held.source_topic != code:
            differences["misplaced"].append(
                f"{name}: its state came from partition {held.source_partition}, "
                "or from another topic"
            )
            continue
        if _is_equal(held, expected) or _is_swept(replay, partition, held, expected):
            continue
        exact = replay.stops_at(partition, user)
        if held.offset >= committed.get(partition, 0) and not exact:
            ahead += 1
        elif _is_truncated(held, expected, (begins or {}).get(partition, 0)):
            truncated, compared = truncated + 1, compared - 1
        else:
            more = f", and {expected.late} after that" if expected.late else ""
            differences[_kind(held, expected)].append(
                f"{name}: state has {held.count} events up to offset {held.offset}, "
                f"the topic {expected.count} up to {expected.offset}{more}"
            )

    # States of users that the topic does not name.
    for partition, user in changelog.held.keys() - replay.users.keys():
        if changelog.held[partition, user].offset < (begins or {}).get(partition, 0):
            truncated += 1
            continue
        differences["unexpected"].append(f"{_named(partition, user)} has a state and no event")

    partitions_of_users = Counter(user for _, user in replay.users)
    described = [*(text for found in differences.values() for text in found), *changelog.corrupt]
    return {
        "clean": not (any(differences.values()) or changelog.corrupt),
        "users": {
            "compared": compared,
            "ahead": ahead,
            "truncated": truncated,
            "in_topic": len(replay.users),
            "in_changelog": len(changelog.held),
        },
        "events": {
            "read": replay.events,
            "applied": replay.applied,
            "repeated": replay.repeated,
            "erased": replay.erased,
            "suppressed": replay.suppressed,
            "dropped": replay.dropped,
        },
        "controls": replay.controls,
        "invalid": len(replay.invalid),
        **{name: len(found) for name, found in differences.items()},
        "corrupt": len(changelog.corrupt),
        "regressions": changelog.regressions,
        "users_in_two_partitions": sum(count > 1 for count in partitions_of_users.values()),
        "changelog_records": changelog.records,
        "examples": described[:SHOWN],
    }


def _named(partition: int, user: bytes) -> str:
    return f"user {user.decode(errors='replace')!r} of partition {partition}"


def _is_equal(held: Held, expected: Expected) -> bool:
    if expected.late or (held.suppressed, held.erased_ms) != expected.memory_of_erasure:
        return False
    return (held.count, held.offset, held.digest) == (
        expected.count,
        expected.offset,
        expected.digest,
    )


def _is_swept(replay: Replay, partition: int, held: Held, expected: Expected) -> bool:
    """Returns whether all that is held is that a user was erased before a silence that is over."""
    swept = held.count == 0 and held.offset == expected.offset and not expected.late
    return swept and replay.is_over(partition, expected)


def _is_truncated(held: Held, expected: Expected, begin: int) -> bool:
    """Returns whether a state fits a partition that has lost the user's events before `begin`."""
    if not begin or expected.late or held.count <= expected.count:
        return False
    return held.offset == expected.offset or (held.offset < begin and not expected.count)


def _kind(held: Held, expected: Expected) -> str:
    if held.count < expected.count or expected.late:
        return "lost"
    return "doubled" if held.count > expected.count else "wrong"

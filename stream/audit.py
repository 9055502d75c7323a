"""Was every event applied to its user's state exactly once? Checked with code that shares nothing with the worker.

What is shared is the published contract only: the event schema (what is a valid event is decided here by its own rules over
plain dictionaries), the record layout and the digest (docs/decisions/0003-state-record.md), read and computed here with struct
and Python integers, one event at a time.

    expected    the input topic, replayed: count, last offset and digest of each user
    held        the changelog: of each user the record with the highest source offset
    compare     a pure function of both: what is missing, lost, doubled
"""

from __future__ import annotations

import struct
from collections import deque
from collections.abc import Mapping
from dataclasses import dataclass, field
from hashlib import sha256
from typing import Any, Final
from zlib import crc32

from stream.audit_events import Limits, valid_event

MASK: Final = 2**64 - 1
WINDOW: Final = 32
RECORD: Final = struct.Struct("<BBHIQiIqQQq")
SHOWN: Final = 20


@dataclass(slots=True)
class Expected:
    """What a user's state must say after the events seen so far."""

    count: int = 0
    digest: int = 0
    offset: int = -1
    ids: deque[str] = field(default_factory=lambda: deque(maxlen=WINDOW))


@dataclass(frozen=True, slots=True)
class Held:
    """What a changelog record says."""

    partition: int  # of the changelog it was found in
    source_topic: int
    source_partition: int
    offset: int
    count: int
    digest: int


@dataclass(frozen=True, slots=True)
class Letter:
    """A dead letter, its headers included: of a part that was too large to keep they hold size and SHA-256."""

    key: bytes | None
    value: bytes | None
    headers: Mapping[str, bytes] = field(default_factory=dict)

    def is_of(self, key: bytes | None, value: bytes | None) -> bool:
        """Are these the original's key and value?"""
        return self._holds("key", key, self.key) and self._holds("value", value, self.value)

    def _holds(self, part: str, original: bytes | None, kept: bytes | None) -> bool:
        digest = self.headers.get(f"is.dlq.{part}-sha256")
        if digest is None or original is None or kept is None:
            return original == kept
        size = int(self.headers.get(f"is.dlq.{part}-bytes", b"-1"))
        return original.startswith(kept) and len(original) == size and sha256(original).hexdigest().encode() == digest


def splitmix(offset: int, checksum: int, partition: int) -> int:
    """What one event adds to a digest."""
    z = (offset ^ (checksum << 32) ^ (((partition << 1 | 1) * 0xD1B54A32D192ED03) & MASK)) & MASK
    z = ((z ^ (z >> 30)) * 0xBF58476D1CE4E5B9) & MASK
    z = ((z ^ (z >> 27)) * 0x94D049BB133111EB) & MASK
    return z ^ (z >> 31)


class Replay:
    """The input topic, one event at a time: expected states by (partition, user), and what was not valid."""

    def __init__(self, limits: Limits) -> None:
        self._limits = limits
        self.users: dict[tuple[int, bytes], Expected] = {}
        self.events = 0
        self.applied = 0
        self.repeated = 0
        self.invalid: dict[tuple[int, int], tuple[Any, Any]] = {}  # partition and offset to key and value

    def add(
        self, partition: int, offset: int, key: bytes | None, value: bytes | None, timestamp_ms: int, origin: str | None
    ) -> None:
        """The next record of a partition, in offset order."""
        self.events += 1
        event = valid_event(key, value, timestamp_ms, self._limits)
        if event is None or key is None or value is None:
            self.invalid[partition, offset] = key, value
            return
        user = self.users.setdefault((partition, key), Expected())
        event_id = event.get("event_id") or origin
        if event_id and event_id in user.ids:
            self.repeated += 1
            return
        user.ids.append(event_id or "")
        user.count += 1
        user.offset = offset
        user.digest = (user.digest * 0x9E3779B97F4A7C15 + splitmix(offset, crc32(value), partition)) & MASK
        self.applied += 1


class Changelog:
    """The states as the changelog holds them, read by an own parser."""

    def __init__(self) -> None:
        self.held: dict[tuple[int, bytes], Held] = {}
        self.records = 0
        self.regressions = 0
        self.corrupt: list[str] = []

    def add(self, partition: int, offset: int, user: bytes, value: bytes | None) -> None:
        """The next record of a partition, in log order; a tombstone forgets."""
        self.records += 1
        if value is None:
            self.held.pop((partition, user), None)
            return
        if len(value) < RECORD.size + 4 or crc32(value[:-4]) != int.from_bytes(value[-4:], "little"):
            self.corrupt.append(f"changelog[{partition}] offset {offset}, user {user!r}")
            return
        fields = RECORD.unpack_from(value)
        found = Held(partition, fields[3], fields[5], fields[7], fields[8], fields[9])
        before = self.held.get((partition, user))
        if before is not None and found.offset < before.offset:
            self.regressions += 1
            return
        self.held[partition, user] = found


def compare(
    replay: Replay, changelog: Changelog, committed: dict[int, int], topic: str, begins: dict[int, int] | None = None
) -> dict[str, Any]:
    """The report. Differences are lists of sentences; the counts beside them are complete, the sentences are the first ones.

    Events at or after the committed offset of their partition may be in the states or not; a state that holds some of them
    cannot be compared by its digest and is counted as `ahead`. In a partition whose first events were deleted (begins > 0) a user
    with more events than are left is counted as `truncated`.
    """
    differences: dict[str, list[str]] = {
        name: [] for name in ("missing", "lost", "doubled", "wrong", "misplaced", "unexpected")
    }
    compared = ahead = truncated = 0
    code = crc32(topic.encode())
    for (partition, user), want in replay.users.items():
        held = changelog.held.get((partition, user))
        name = f"user {user.decode(errors='replace')!r} of partition {partition}"
        if held is None:
            if want.count:
                differences["missing"].append(f"{name}: {want.count} events, no state")
            continue
        compared += 1
        if held.source_partition != partition or held.source_topic != code:
            differences["misplaced"].append(
                f"{name}: its state came from partition {held.source_partition}, or from another topic"
            )
        elif (held.count, held.offset, held.digest) != (want.count, want.offset, want.digest):
            if held.offset >= committed.get(partition, 0):
                ahead += 1
                continue
            if (begins or {}).get(partition, 0) and held.offset == want.offset and held.count > want.count:
                truncated += 1
                continue
            kind = "lost" if held.count < want.count else "doubled" if held.count > want.count else "wrong"
            differences[kind].append(
                f"{name}: state has {held.count} events up to offset {held.offset}, the topic {want.count} up to {want.offset}"
            )
    for partition, user in changelog.held.keys() - replay.users.keys():
        differences["unexpected"].append(
            f"user {user.decode(errors='replace')!r} of partition {partition} has a state and no event"
        )
    places: dict[bytes, int] = {}
    for _, user in replay.users:
        places[user] = places.get(user, 0) + 1
    scattered = sorted(user for user, count in places.items() if count > 1)
    return {
        "clean": not (any(differences.values()) or changelog.corrupt),
        "users": {
            "compared": compared - truncated,
            "ahead": ahead,
            "truncated": truncated,
            "in_topic": len(replay.users),
            "in_changelog": len(changelog.held),
        },
        "events": {"read": replay.events, "applied": replay.applied, "repeated": replay.repeated},
        "invalid": len(replay.invalid),
        **{name: len(found) for name, found in differences.items()},
        "corrupt": len(changelog.corrupt),
        "regressions": changelog.regressions,
        "users_in_two_partitions": len(scattered),
        "changelog_records": changelog.records,
        "examples": [text for found in (*differences.values(), changelog.corrupt) for text in found][:SHOWN],
    }


def compare_dead_letters(
    replay: Replay, letters: dict[tuple[int, int], Letter], committed: dict[int, int]
) -> dict[str, Any]:
    """Invalid records against dead letters, both by partition and offset of the original."""
    invalid = replay.invalid
    due = {place for place in invalid if place[1] < committed.get(place[0], 0)}
    missing = sorted(due - letters.keys())
    changed = sorted(
        place for place, letter in letters.items() if place in invalid and not letter.is_of(*invalid[place])
    )
    valid = sorted(letters.keys() - invalid.keys())
    examples = [f"invalid record {place} is no dead letter" for place in missing]
    examples += [f"the dead letter of {place} has other bytes" for place in changed]
    examples += [f"{place} is a dead letter, but the audit finds the event valid" for place in valid]
    return {
        "dead_letters": len(letters),
        "dead_letters_missing": len(missing),
        "dead_letters_changed": len(changed),
        "dead_letters_of_valid": len(valid),
        "dead_letter_examples": examples[:SHOWN],
    }

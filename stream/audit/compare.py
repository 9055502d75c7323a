"""Compares what each user's state should be with what the changelog holds; it reads no Kafka.

The worker and the audit share only what is published: the event schema, the layout of a state
record and the digest (docs/understand/decisions/0003-state-record.md). The audit reads the events
by rules of its own over plain dictionaries, and the records with struct and Python integers, one at
a time.

    Replay      replays the input topic: count, last offset and digest that each user should have
    Changelog   keeps the record with the highest source offset of each user
    compare     is a pure function of both: what is missing, lost, doubled
"""

from __future__ import annotations

import struct
from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from hashlib import sha256
from typing import Any, Final
from zlib import crc32

from stream.audit.control_rules import Expected, Headers, is_control, valid_control
from stream.audit.documents import FramedShape, Meant, Shape, meant_by
from stream.audit.event_rules import Limits, milliseconds, valid_event

MASK: Final = 2**64 - 1
RECORD: Final = struct.Struct("<BBHIQiIqQQq")
"""The head of a state record: version, recent events, size of the memory, source topic, model,
source partition, partitions, offset, count, digest, time. Version 2 adds flags, the broker's time
of the last erasure and that of the last event. The memory, the recent events and a CRC-32 of all of
it follow."""

RECORD_2: Final = struct.Struct("<QQQ")
"""What the head of version 2 has more."""

CHECK_BYTES: Final = 4
SHOWN: Final = 20
"""Differences that are described; all of them are counted."""

KINDS: Final = ("missing", "lost", "doubled", "wrong", "misplaced", "unexpected")


@dataclass(frozen=True, slots=True)
class Held:
    """Holds what a changelog record says of a user."""

    partition: int  # of the changelog it was found in
    source_topic: int
    source_partition: int
    offset: int
    count: int
    digest: int
    suppressed: bool = False
    erased_ms: int = 0


@dataclass(frozen=True, slots=True)
class DeadLetter:
    """Holds a dead letter with its headers.

    A key or value that was too large is kept in part; the headers then hold its size and SHA-256.
    """

    key: bytes | None
    value: bytes | None
    headers: Mapping[str, bytes] = field(default_factory=dict)
    timestamp_ms: int | None = None  # of the original; None: it does not say

    def may_be_of(self, timestamp_ms: int) -> bool:
        """Returns whether the record at its place, of this timestamp, may be the original.

        A topic that was deleted and created again has another record there.
        """
        return self.timestamp_ms in (None, timestamp_ms)

    def is_of(self, key: bytes | None, value: bytes | None) -> bool:
        """Returns whether these are the key and value of the original."""
        return self._holds("key", key, self.key) and self._holds("value", value, self.value)

    def _holds(self, name: str, original: bytes | None, kept: bytes | None) -> bool:
        digest = self.headers.get(f"is.dlq.{name}-sha256")
        if digest is None or original is None or kept is None:
            return original == kept
        size = int(self.headers.get(f"is.dlq.{name}-bytes", b"-1"))
        return (
            original.startswith(kept)
            and len(original) == size
            and sha256(original).hexdigest().encode() == digest
        )


def memory_at(value: bytes) -> int:
    """Returns where the memory begins in a state record: its head is longer in version 2."""
    return RECORD.size if value[0] == 1 else RECORD.size + RECORD_2.size


def held_in(partition: int, value: bytes) -> Held:
    """Returns what a sound record, found in a partition of the changelog, says of its user."""
    fields = RECORD.unpack_from(value)
    flags, erased_ms, _ = (0, 0, 0) if fields[0] == 1 else RECORD_2.unpack_from(value, RECORD.size)
    return Held(
        partition, fields[3], fields[5], fields[7], fields[8], fields[9], bool(flags & 1), erased_ms
    )


def splitmix(offset: int, checksum: int, partition: int) -> int:
    """Returns what one event adds to a digest, an unsigned 64-bit number.

    The mixing is that of SplitMix64 (Steele, Lea and Flood, 2014), as decision 0003 says.
    """
    z = (offset ^ (checksum << 32) ^ (((partition << 1 | 1) * 0xD1B54A32D192ED03) & MASK)) & MASK
    z = ((z ^ (z >> 30)) * 0xBF58476D1CE4E5B9) & MASK
    z = ((z ^ (z >> 27)) * 0x94D049BB133111EB) & MASK
    return z ^ (z >> 31)


class Replay:
    """Replays the input topic one event at a time, and keeps the states that should come of it.

    With the changelog that was read before, a user's events are replayed up to the offset of the
    user's state: so a state is compared exactly while workers go on, and an event behind it is
    missing only if it was committed when the audit began.
    """

    def __init__(
        self,
        limits: Limits,
        changelog: Changelog | None = None,
        committed: Mapping[int, int] | None = None,
        now_ms: int | None = None,
        shape: Shape | FramedShape | None = None,
    ) -> None:
        """Begins with no events; `now_ms` judges records whose timestamp is no plausible moment.

        shape: of the records, where it is not the contract's.
        """
        self._limits = limits
        self._shape = shape
        self._now_ms = now_ms
        self._held = None if changelog is None else changelog.held
        self._committed = committed or {}
        self.begins: dict[int, int] = {}  # offset of the first record read of each partition
        self.ends: dict[int, int] = {}  # offset after the last one
        self.users: dict[tuple[int, bytes], Expected] = {}  # by partition and user
        self.newest_ms: dict[int, int] = {}  # broker's time of the newest record of each partition
        self.events = 0  # records, whatever they hold
        self.controls = 0
        self.applied = 0
        self.repeated = 0
        self.erased = 0  # events that came late, after their user was erased
        self.suppressed = 0
        self.dropped = 0  # events left out on purpose
        # key and value of each invalid record, by partition and offset; of each invalid document of
        # a record that holds several, by its number among the invalid ones too
        self.invalid: dict[tuple[int, ...], tuple[Any, Any]] = {}
        self.refused: set[tuple[int, ...]] = set()  # invalid for a reason that is gone by now

    def add(
        self,
        partition: int,
        offset: int,
        key: bytes | None,
        value: bytes | None,
        timestamp_ms: int,
        origin: str | None,
        headers: Headers = (),
    ) -> None:
        """Takes the next record of a partition, in offset order.

        `origin` stands in for the event_id of an event that has none.
        """
        self.events += 1
        self.begins.setdefault(partition, offset)
        self.ends[partition] = offset + 1
        self.newest_ms[partition] = max(timestamp_ms, self.newest_ms.get(partition, 0))
        if is_control(headers):
            self._add_control(partition, offset, key, value, timestamp_ms, headers)
            return
        refused = (partition, offset) in self.refused
        meant = None if refused else self._meant(key, value, timestamp_ms, headers)
        if meant is None:
            self.invalid[partition, offset] = key, value
            return
        self.dropped += meant.dropped
        for number, (_, document) in enumerate(meant.bad):
            self.invalid[partition, offset, number] = key, document
        if key is None or value is None:
            return  # nothing that was meant needs them
        checksum = crc32(value)
        for place, event in enumerate(meant.events):
            given = origin and len(meant.events) > 1
            event_id = event.get("event_id") or (f"{origin}#{place}" if given else origin) or ""
            added = crc32(place.to_bytes(4, "little"), checksum) if place else checksum
            self._add_event(_Placed(partition, offset, key, timestamp_ms, added), event, event_id)

    def _meant(
        self, key: bytes | None, value: bytes | None, timestamp_ms: int, headers: Headers
    ) -> Meant | None:
        """Returns what a record means; None if nothing of it can be read."""
        if self._shape is not None:
            return meant_by(
                self._shape, key, value, timestamp_ms, headers, self._limits, self._now_ms
            )
        event = valid_event(key, value, timestamp_ms, self._limits, self._now_ms)
        return None if event is None else Meant([event])

    def _add_event(self, placed: _Placed, event: dict[str, Any], event_id: str) -> None:
        """Applies one event to what is expected of its user."""
        partition, offset, key = placed.partition, placed.offset, placed.key
        timestamp_ms = placed.timestamp_ms
        user = self._user(partition, key)
        if user.suppressed:
            self.suppressed += 1
            return
        if user.erased_ms and user.comes_late(
            milliseconds(event["time"]) or 0, timestamp_ms, self._limits
        ):
            self.erased += 1
            return
        behind, held = self._is_behind(partition, offset, key), self._held_of(partition, key)
        if behind and held is not None:
            user.passes_state()
        elif user.is_over(timestamp_ms, self._limits):
            user.blank()
        if not user.takes(event, event_id):
            self.repeated += 1
            return
        self.applied += 1
        if timestamp_ms > user.erased_ms + self._limits.late_window_ms:
            user.erased_ms = 0
        user.broker_ms = timestamp_ms
        if behind:
            user.late += offset < self._committed.get(partition, 0)
            return
        user.count, user.offset, user.marked = user.count + 1, offset, False
        _fold(user, offset, placed.checksum, partition)

    def _add_control(
        self,
        partition: int,
        offset: int,
        key: bytes | None,
        value: bytes | None,
        timestamp_ms: int,
        headers: Headers,
    ) -> None:
        control = valid_control(key, value, headers, self._limits)
        if control is None or key is None or value is None:
            self.invalid[partition, offset] = key, value
            return
        self.controls += 1
        user, behind = self._user(partition, key), self._is_behind(partition, offset, key)
        held, committed = self._held_of(partition, key), offset < self._committed.get(partition, 0)
        if behind and held is not None:
            # the state stands before the control, which matters to what comes next
            user.passes_state()
            user.late += committed
            if control["control"] != "forget":
                user.suppressed = control["control"] == "suppress"
                user.erased_ms = timestamp_ms
            return
        if user.is_over(timestamp_ms, self._limits):
            user.blank()
        if user.obey(control, timestamp_ms):
            _fold(user, offset, crc32(value), partition)
        user.offset, user.broker_ms = offset, timestamp_ms
        user.marked = committed or not behind

    def _user(self, partition: int, key: bytes) -> Expected:
        """Returns what is expected of a user; what retention took of it is read from its state."""
        user = self.users.get((partition, key))
        if user is None:
            user = self.users[partition, key] = Expected()
            held, begin = self._held_of(partition, key), self.begins[partition]
            if held is not None and begin > 0:
                user.erased_ms = held.erased_ms
                user.suppressed = held.suppressed and held.offset < begin
        return user

    def _held_of(self, partition: int, key: bytes) -> Held | None:
        return None if self._held is None else self._held.get((partition, key))

    def _is_behind(self, partition: int, offset: int, key: bytes) -> bool:
        """Returns whether the state of a user stands before an offset, or there is none."""
        held = self._held_of(partition, key)
        return self._held is not None and (held is None or offset > held.offset)

    def is_over(self, partition: int, expected: Expected) -> bool:
        """Returns whether a user was silent for longer than is remembered, as the log ends."""
        return expected.is_over(self.newest_ms.get(partition, 0), self._limits)

    def may_be_gone(self, partition: int, expected: Expected) -> bool:
        """Returns whether a user may have no state."""
        return expected.may_be_gone(self.newest_ms.get(partition, 0), self._limits)

    def stops_at(self, partition: int, user: bytes) -> bool:
        """Returns whether a user's events were replayed only up to the offset of its state."""
        return self._held is not None and (partition, user) in self._held


@dataclass(frozen=True, slots=True)
class _Placed:
    """Holds where an event lies, when the broker took it, and the checksum that stands for it."""

    partition: int
    offset: int
    key: bytes
    timestamp_ms: int
    checksum: int


def _fold(user: Expected, offset: int, checksum: int, partition: int) -> None:
    """Puts one event or control into the digest of a user."""
    added = splitmix(offset, checksum, partition)
    user.digest = (user.digest * 0x9E3779B97F4A7C15 + added) & MASK


class Changelog:
    """Keeps the states that the changelog holds, read by a parser of its own."""

    def __init__(self) -> None:
        self.held: dict[tuple[int, bytes], Held] = {}  # by partition and user
        self.records = 0
        self.regressions = 0
        self.corrupt: list[str] = []

    def add(self, partition: int, offset: int, user: bytes, value: bytes | None) -> None:
        """Takes the next record of a partition, in log order; a tombstone removes the user."""
        self.records += 1
        if value is None:
            self.held.pop((partition, user), None)
            return
        sum_read = int.from_bytes(value[-CHECK_BYTES:], "little")
        if len(value) < RECORD.size + CHECK_BYTES or crc32(value[:-CHECK_BYTES]) != sum_read:
            self.corrupt.append(f"changelog[{partition}] offset {offset}, user {user!r}")
            return
        found = held_in(partition, value)
        before = self.held.get((partition, user))
        if before is not None and found.offset < before.offset:
            self.regressions += 1
            return
        self.held[partition, user] = found


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


def letter_of(
    key: bytes | None, value: bytes | None, headers: Iterable[tuple[str, bytes | None]], topic: str
) -> tuple[tuple[int, ...], DeadLetter] | None:
    """Returns a dead letter of a topic and the partition and offset of its original.

    The number of a document among the bad ones of its record is the third. None: the record is of
    another topic, or no dead letter but what another service parked there.
    """
    notes = {name: content or b"" for name, content in headers}
    of, *numbers = (
        notes.get(f"is.dlq.{name}", b"").decode("utf-8", "replace")
        for name in ("topic", "partition", "offset", "timestamp", "document")
    )
    partition, offset, stamp, document = (
        int(each) if each.isascii() and each.removeprefix("-").isdecimal() else None
        for each in numbers
    )
    if of != topic or partition is None or offset is None:
        return None
    place = (partition, offset) if document is None else (partition, offset, document)
    return place, DeadLetter(key, value, notes, stamp)


def compare_dead_letters(
    replay: Replay, letters: Mapping[Any, DeadLetter], committed: dict[int, int]
) -> dict[str, Any]:
    """Returns how the invalid records and the dead letters of the topic differ.

    `letters` are by partition and offset of the original, and number of a document. An invalid
    record that is not committed yet needs no dead letter. A dead letter whose original was not
    read, because it is gone or came later, is not judged.
    """
    invalid = replay.invalid
    due = {place for place in invalid if place[1] < committed.get(place[0], 0)}
    missing = sorted(due - letters.keys())
    changed = sorted(
        place
        for place, letter in letters.items()
        if place in invalid and not letter.is_of(*invalid[place])
    )
    valid = sorted(
        place
        for place in letters.keys() - invalid.keys()
        if replay.begins.get(place[0], 0) <= place[1] < replay.ends.get(place[0], 0)
    )
    described = [f"invalid record {place} is no dead letter" for place in missing]
    described += [f"the dead letter of {place} has other bytes" for place in changed]
    described += [
        f"{place} is a dead letter, but the audit finds the event valid" for place in valid
    ]
    return {
        "dead_letters": len(letters),
        "dead_letters_missing": len(missing),
        "dead_letters_changed": len(changed),
        "dead_letters_of_valid": len(valid),
        "dead_letter_examples": described[:SHOWN],
    }

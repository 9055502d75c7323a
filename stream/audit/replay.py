"""Replays the input topic, and says what each user's state should be: events, offset, digest.

The audit reads the events by rules of its own over plain dictionaries (event_rules.py, shapes.py);
the digest is that of docs/understand/decisions/0003-state-record.md.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final
from zlib import crc32

from stream.audit.changelog import Changelog, Held
from stream.audit.control_rules import Expected, Headers, is_control, valid_control
from stream.audit.documents import FramedShape, Meant, Shape, meant_by
from stream.audit.event_rules import Limits, milliseconds, valid_event

MASK: Final = 2**64 - 1


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


def splitmix(offset: int, checksum: int, partition: int) -> int:
    """Returns what one event adds to a digest, an unsigned 64-bit number.

    The mixing is that of SplitMix64 (Steele, Lea and Flood, 2014), as decision 0003 says.
    """
    z = (offset ^ (checksum << 32) ^ (((partition << 1 | 1) * 0xD1B54A32D192ED03) & MASK)) & MASK
    z = ((z ^ (z >> 30)) * 0xBF58476D1CE4E5B9) & MASK
    z = ((z ^ (z >> 27)) * 0x94D049BB133111EB) & MASK
    return z ^ (z >> 31)

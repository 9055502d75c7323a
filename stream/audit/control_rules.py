"""Reads controls, and says what a user's state must be after them, by a second reading of the laws.

It shares no code with stream/contracts/control.py and stream/policies/erasure.py: one record of one
user is taken at a time, as plain Python. Begin with `Expected`.
"""

from __future__ import annotations

import hashlib
import hmac
from collections import deque
from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Any, Final
from zlib import crc32

from stream.audit.event_rules import (
    Limits,
    json_object,
    milliseconds,
)

WINDOW: Final = 32
"""Events among which an event_id is recognised as a repetition: those that a state keeps."""

TEXT_BYTES: Final = 30
"""Of a query that a state keeps."""

HEADER: Final = "is.control"
MAC_HEADER: Final = "is.control.mac"
KINDS: Final = ("erase", "suppress", "unsuppress", "forget")

Headers = Iterable[tuple[str, bytes | None]]


def is_control(headers: Headers) -> bool:
    """Returns whether a record with these headers is a control."""
    return any(name == HEADER for name, _ in headers)


def valid_control(
    key: bytes | None, value: bytes | None, headers: Headers, limits: Limits
) -> dict[str, Any] | None:
    """Returns the control as a dictionary if it is to be obeyed, else None."""
    if key is None or value is None or len(value) > limits.value_bytes:
        return None
    if limits.control_key is not None:
        wanted = hmac.new(limits.control_key, value, hashlib.sha256).hexdigest().encode()
        signed = [found or b"" for name, found in headers if name == MAC_HEADER]
        if not signed or not hmac.compare_digest(signed[-1], wanted):
            return None
    control = json_object(value)
    if control is None or control.get("control") not in KINDS:
        return None
    texts = [control.get(name) for name in ("user_id", "request_id", "item_id", "query")]
    if not all(each is None or isinstance(each, str) for each in texts):
        return None
    user, request, item, query = (each or "" for each in texts)
    if not (1 <= len(user.encode()) <= 256 and 1 <= len(request.encode()) <= 256):
        return None
    ids = user + request + item
    if user.encode() != key or any(ord(each) < 32 or ord(each) == 127 for each in ids):
        return None
    if bool(item) + bool(query) != (control["control"] == "forget"):
        return None
    if max(len(item.encode()), len(query.encode())) > limits.text_bytes:
        return None
    return None if milliseconds(control.get("time")) is None else control


@dataclass(slots=True)
class Expected:
    """Holds what a user's state must be after its events and controls, up to where it stands."""

    count: int = 0
    digest: int = 0
    offset: int = -1
    late: int = 0  # events that are committed, and behind which the state stands
    erased_ms: int = 0  # broker's time of the last erasure, while an event may come late
    suppressed: bool = False
    broker_ms: int = 0  # broker's time of the last event or control applied
    marked: bool = False  # there must be a state that says that something was erased
    # suppressed and erased_ms where the state stands, if controls or events came after it
    stated: tuple[bool, int] | None = None
    # of each event that the state keeps: its event_id, and what it is about and searched as sums
    ids: deque[str] = field(default_factory=lambda: deque(maxlen=WINDOW))
    subjects: deque[int] = field(default_factory=lambda: deque(maxlen=WINDOW))

    def blank(self) -> None:
        """Forgets all events."""
        self.count = self.digest = self.late = 0
        self.forget_recent()

    def forget_recent(self) -> None:
        """Forgets which events the state keeps."""
        self.ids.clear()
        self.subjects.clear()

    def is_over(self, moment_ms: int, limits: Limits) -> bool:
        """Returns whether the user was silent for longer than is remembered."""
        known = limits.ttl_ms and self.broker_ms
        return bool(known and moment_ms - self.broker_ms > limits.ttl_ms)

    def comes_late(self, own_ms: int, broker_ms: int, limits: Limits) -> bool:
        """Returns whether an event happened before the user was erased, as far as that is known."""
        within = broker_ms <= self.erased_ms + limits.late_window_ms
        return self.erased_ms > 0 and own_ms <= self.erased_ms and within

    def may_be_gone(self, newest_ms: int, limits: Limits) -> bool:
        """Returns whether nothing need be held of the user, by the newest moment of its partition.

        A silence that is over is forgotten, and that a user was erased, once nothing can be late.
        """
        if self.suppressed:
            return False
        quiet = max(self.erased_ms, self.broker_ms) + limits.late_window_ms < newest_ms
        if self.is_blank:
            return quiet
        return self.is_over(newest_ms, limits)

    @property
    def is_blank(self) -> bool:
        """Returns whether no event of the user counts, or only such as are not committed."""
        return not (self.count or self.late)

    @property
    def memory_of_erasure(self) -> tuple[bool, int]:
        """Returns what the state must hold as suppressed and erased_ms."""
        return self.stated or (self.suppressed, self.erased_ms)

    def passes_state(self) -> None:
        """Notes that what comes now lies behind the user's state."""
        self.stated = self.memory_of_erasure

    def takes(self, event: dict[str, Any], event_id: str) -> bool:
        """Remembers an event unless its id is remembered already; returns whether it counts."""
        if event_id and event_id in self.ids:
            return False
        query = event.get("query") or ""
        about = event.get("item_id") or query or event.get("title") or ""
        self.ids.append(event_id)
        self.subjects.append(crc32(about.encode()) << 32 | _query_sum(query))
        return True

    def obey(self, control: dict[str, Any], moment_ms: int) -> bool:
        """Changes what is expected as a control asks; returns whether it goes into the digest."""
        kind = control["control"]
        if kind in ("erase", "suppress") or (
            kind == "unsuppress" and (self.suppressed or self.is_blank)
        ):
            self.blank()
            self.erased_ms = moment_ms
            self.suppressed = kind == "suppress" or (kind == "erase" and self.suppressed)
            return False
        if kind == "unsuppress" or self.is_blank:
            return False
        if item := control.get("item_id"):
            gone = [each >> 32 == crc32(item.encode()) for each in self.subjects]
        else:
            wanted = _query_sum(control.get("query") or "")
            gone = [each & 0xFFFFFFFF == wanted for each in self.subjects]
        left = [
            pair
            for pair, out in zip(zip(self.ids, self.subjects, strict=True), gone, strict=True)
            if not out
        ]
        self.forget_recent()
        for event_id, subject in left:
            self.ids.append(event_id)
            self.subjects.append(subject)
        return True


def _query_sum(query: str) -> int:
    """Returns a checksum of what a state keeps of a query, 0 for none."""
    return crc32(query[:TEXT_BYTES].encode()[:TEXT_BYTES])

"""Reads one behaviour event by the published contract, or says precisely what is wrong with it.

The contract is schemas/event-1.json; this is the reading that workers, files and clients share.
Every record is judged alone, so a bad one never touches its neighbours. Pure: no clock. "Too far in
the future" is measured against the timestamp of the record, so that each reading of the log decides
alike; where that is no plausible moment, against the clock that the caller hands over.

Rules that the schema cannot say: of a key given twice the last value counts; null and "" mean "not
given" for optional fields; an unknown field is ignored, but must be sound JSON; an action that
models/compact.py does not list, in no spelling, is `other`.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import Annotated, Any, Final

import msgspec
import numpy as np
from msgspec import Meta

from models.compact import ACTION_CODES, COMPACT, ITEM_ID, NO_TEXT, QUERY, TEXT_BYTES, TITLE, hash64
from stream.config import Settings
from stream.contracts.faults import (
    REKEY_FIX,
    BadEvent,
    UnreadableBytes,
    depth_of,
    fault_of,
    shown,
)
from stream.contracts.times import FIRST_TIME_MS, MAX_TIME_MS, parse_time, time_fault

MAX_USER_BYTES: Final = 256
MAX_DEPTH: Final = 64
"""Arrays and objects inside each other. The contract needs two; unknown fields may bring more."""

ORIGIN_HEADER: Final = "is.origin"
"""Header that `--rekey` sets to source topic-partition-offset.

It stands in for a missing event_id, so a second copy does not count.
"""

CONTROL_HEADER: Final = "is.control"
"""Header of a record that is no event but a request about its user (control.py)."""

HASHES_KEPT: Final = 1_000_000
"""Item ids whose hash is remembered; some 150 MB at most."""

_MOST: Final = 2**63 - 1  # what the decoder reads; check_event says which unit a number looks like
_CONTROL: Final = re.compile(r"[\x00-\x1f\x7f]")
_TEXTS: Final = ("action", "item_id", "title", "query", "event_id", "session_id")


class Event(msgspec.Struct, gc=False, omit_defaults=True):
    """Holds one behaviour event, with the fields of the contract.

    time: Unix milliseconds, or RFC 3339.
    """

    user_id: str
    action: str
    time: Annotated[int, Meta(ge=0, le=_MOST)] | str
    item_id: str | None = None
    title: str | None = None
    categories: list[str] | None = None
    query: str | None = None
    event_id: str | None = None
    session_id: str | None = None
    dwell_ms: Annotated[float, Meta(ge=0)] | None = None
    value: float | None = None


class ControlRecordError(BadEvent):
    """Says that a record is a control, and reads as an event nevertheless."""


@dataclass(frozen=True, slots=True)
class Limits:
    """Holds the limits beyond which an event is refused.

    Meaning and defaults are those of stream/config/settings.py; earliest_ms and latest_ms are the
    moments between which a time is plausible, which only readers of files change.
    """

    max_value_bytes: int = 65_536
    max_text_bytes: int = 2_048
    max_future_s: int = 86_400
    earliest_ms: int = FIRST_TIME_MS
    latest_ms: int = MAX_TIME_MS


def limits_of(settings: Settings) -> Limits:
    """Returns the limits that the settings give the events of a topic."""
    return Limits(settings.max_value_bytes, settings.max_text_bytes, settings.max_future_s)


_decode: Final = msgspec.json.Decoder(Event).decode


def parse_event(record: Any, limits: Limits, now_ms: int | None = None) -> Event:
    """Returns the event of one record, with its time in Unix milliseconds.

    `now_ms` is the caller's clock. Raises BadEvent.
    """
    value = record.value
    if value is None or record.key is None or len(value) > limits.max_value_bytes:
        raise unreadable(record, limits)
    if value.count(b"[") + value.count(b"{") > MAX_DEPTH and depth_of(value) > MAX_DEPTH:
        raise BadEvent(
            "too-deep", f"arrays and objects nest deeper than {MAX_DEPTH}; flatten the event"
        )
    try:
        if not value.isascii():
            value.decode()  # the decoder looks at the fields of the contract only
        event = _decode(value)
    except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError) as error:
        raise fault_of(value, error) from None
    if event.user_id.encode() != record.key:
        raise key_fault(record.key, event.user_id)
    time_ms = check_event(event, limits, len(value))
    if record.headers:
        _take_headers(event, record.headers)
    # A timestamp in seconds, or of an unset clock, says nothing about the event.
    clock_ms = record.timestamp if record.timestamp >= FIRST_TIME_MS else now_ms
    if clock_ms is not None and time_ms > clock_ms + limits.max_future_s * 1000:
        raise future_fault(time_ms, clock_ms, clock_ms is now_ms, limits)
    return event


def check_event(event: Event, limits: Limits, value_bytes: int | None = None) -> int:
    """Checks the rules behind the types, and turns `time` into Unix milliseconds, which it returns.

    It serves events from files too. Raises BadEvent.

    value_bytes: size of the JSON it came from. JSON never shortens a text, so in a small value no
    text is too long.
    """
    ids = event.user_id + (event.item_id or "") + (event.event_id or "")
    if not ids.isprintable() and _CONTROL.search(ids):
        raise BadEvent("control-character", "an id holds a control character; send ids without any")
    if not (event.item_id or event.query or event.title):
        raise BadEvent("no-subject", "item_id, title and query are all missing; send at least one")
    if not event.user_id or not event.action:
        raise BadEvent(
            "missing-field",
            f"{'action' if event.user_id else 'user_id'} is empty; it must have a value",
        )
    if (
        value_bytes is None
        or value_bytes > limits.max_text_bytes
        or len(event.user_id) > MAX_USER_BYTES // 4
    ):
        _check_lengths(event, limits)
    time = event.time
    if isinstance(time, str):
        time = event.time = parse_time(time)
    if not limits.earliest_ms <= time <= limits.latest_ms:
        raise time_fault(time, limits.earliest_ms, limits.latest_ms)
    return time


def compact_event(
    event: Event, hash_of: Callable[[str], int] = hash64
) -> tuple[int, int, int, int, int, bytes]:
    """Returns the fields of models.compact.COMPACT of an event.

    They are all that a model, a state and an explanation know of it.
    """
    item_id, time = event.item_id, event.time
    if event.query:
        kind, text = QUERY, event.query
    elif event.title:
        kind, text = TITLE, event.title
    elif item_id:
        kind, text = ITEM_ID, item_id
    else:
        kind, text = NO_TEXT, ""
    return (
        hash_of(item_id or text),
        hash64(event.event_id) if event.event_id else 0,
        time if isinstance(time, int) else parse_time(time),
        ACTION_CODES[event.action],
        kind,
        text[:TEXT_BYTES].encode(),  # cut to bytes by the dtype
    )


def compact_events(events: Iterable[Event]) -> np.ndarray[Any, Any]:
    """Returns COMPACT [N] of events, in their order."""
    return np.array([compact_event(event) for event in events], COMPACT)


class RememberedHashes(dict[str, int]):
    """Computes hash64 of texts and remembers it, for at most HASHES_KEPT texts."""

    def __missing__(self, text: str) -> int:
        if len(self) >= HASHES_KEPT:
            self.clear()
        key = self[text] = hash64(text)
        return key


def unreadable(record: Any, limits: Limits) -> BadEvent:
    """Returns why a record without key or value, or with too large a value, is no event."""
    if record.value is None:
        return BadEvent(
            "null-value", "the value is null; send an event, the clickstream takes no tombstones"
        )
    if isinstance(record.value, UnreadableBytes):
        return BadEvent(record.value.reason, record.value.message)
    size = len(record.value)
    if size <= limits.max_value_bytes:
        return BadEvent("null-key", f"the record has no key; {REKEY_FIX}")
    return BadEvent(
        "too-large",
        f"the value has {size} bytes; send at most {limits.max_value_bytes} (max_value_bytes)",
    )


def key_fault(key: bytes, user_id: str) -> BadEvent:
    """Returns what is wrong with a record whose key is another user."""
    both = f"the key {shown(key)} is not the user_id {shown(user_id)}"
    return BadEvent("key-mismatch", f"{both}; {REKEY_FIX}")


def future_fault(time_ms: int, clock_ms: int, is_own: bool, limits: Limits) -> BadEvent:
    """Returns what is wrong with an event ahead of a clock: this machine's own, or the broker's."""
    whose = "this machine's" if is_own else "the broker's"
    late = f"{limits.max_future_s} s ahead of {whose} {clock_ms}"
    return BadEvent(
        "future-time",
        f"time {time_ms} is more than {late}; correct the clock, or send milliseconds",
    )


def origin_of(headers: Iterable[tuple[str, bytes | None]]) -> str | None:
    """Returns what stands in for the event_id of an event that has none, None if nothing does."""
    for name, value in headers:
        if name == ORIGIN_HEADER and value:
            return value.decode("utf-8", "backslashreplace")
    return None


def _check_lengths(event: Event, limits: Limits) -> None:
    if len(event.user_id.encode()) > MAX_USER_BYTES:
        raise BadEvent(
            "text-too-long",
            f"user_id is longer than {MAX_USER_BYTES} bytes; send a shorter one, or its hash",
        )
    texts = [(name, getattr(event, name)) for name in _TEXTS]
    texts += [("categories", text) for text in event.categories or ()]
    for name, text in texts:
        if text and len(text.encode()) > limits.max_text_bytes:
            limit = f"{limits.max_text_bytes} bytes (max_text_bytes)"
            raise BadEvent("text-too-long", f"{name} is longer than {limit}; shorten it")


def _take_headers(event: Event, headers: Sequence[tuple[str, bytes | None]]) -> None:
    """Gives an event without an id its origin as one; raises ControlRecordError for a control."""
    if any(name == CONTROL_HEADER for name, _ in headers):
        raise ControlRecordError("bad-control", "the record is a control and no event")
    event.event_id = event.event_id or origin_of(headers)

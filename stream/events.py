"""Hop 2. Bytes to events: the event contract (schemas/event-1.json) and the decoder of fetched batches.

Every record is judged alone by `parse_event`, so one bad record never touches its neighbours. Pure: no clock; "too far
in the future" is measured against the broker's timestamp of the record.

Rules that the schema cannot say: of a key given twice the last value counts; null and "" mean "not given" for optional
fields; an unknown field is ignored, but must be sound JSON; an action not listed in models/compact.py is `other`.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Annotated, Any, Final
from zlib import crc32

import msgspec
import numpy as np
from msgspec import Meta

from models.compact import ACTION_CODES, COMPACT, ITEM_ID, NO_TEXT, QUERY, TEXT_BYTES, TITLE, hash64
from stream.event_faults import REKEY_FIX, BadEvent, depth_of, fault_of, shown

__all__ = ["ORIGIN_HEADER", "BadEvent", "Decoder", "Event", "EventBatch", "Limits", "Reject", "joined"]

MAX_USER_BYTES: Final = 256
MAX_DEPTH: Final = 64
"""Arrays and objects inside each other. The contract needs two; unknown fields may bring more."""

MAX_TIME_MS: Final = 253_402_300_799_999
"""End of the year 9999, the last moment that RFC 3339 can write."""

ORIGIN_HEADER: Final = "is.origin"
"""Set by `--rekey` to source topic-partition-offset; stands in for a missing event_id: a second copy does not count."""

HASHES_KEPT: Final = 1_000_000
"""Item ids whose hash is remembered; some 150 MB at most."""

_EPOCH: Final = datetime(1970, 1, 1, tzinfo=UTC)
_MILLISECOND: Final = timedelta(milliseconds=1)
_RFC_3339: Final = re.compile(r"(\d{4}-\d\d-\d\d)[Tt ](\d\d:\d\d:\d\d)(\.\d+)?(?:([Zz])|([+-]\d\d:\d\d))", re.ASCII)
_CONTROL: Final = re.compile(r"[\x00-\x1f\x7f]")
_TEXTS: Final = ("action", "item_id", "title", "query", "event_id", "session_id")


class Event(msgspec.Struct, gc=False, omit_defaults=True):
    """One behaviour event, the fields of the contract. `time`: Unix milliseconds, or RFC 3339."""

    user_id: str
    action: str
    time: Annotated[int, Meta(ge=0, le=MAX_TIME_MS)] | str
    item_id: str | None = None
    title: str | None = None
    categories: list[str] | None = None
    query: str | None = None
    event_id: str | None = None
    session_id: str | None = None
    dwell_ms: Annotated[float, Meta(ge=0)] | None = None
    value: float | None = None


@dataclass(frozen=True, slots=True)
class Limits:
    """What is refused; meaning and defaults as in stream/config.py."""

    max_value_bytes: int = 65_536
    max_text_bytes: int = 2_048
    max_future_s: int = 86_400


@dataclass(frozen=True, slots=True)
class Reject:
    """A bad record on its way to the dead-letter topic."""

    offset: int
    reason: str  # closed list: event_faults.REASONS
    error: str  # class of the error behind it
    message: str  # names field and fix
    record: Any  # as fetched, with key, value, headers, timestamp; None when only the offset is at hand


@dataclass(slots=True)
class EventBatch:
    """The N good records of one fetched batch of a partition as columns, in log order, and the bad ones."""

    topic: str
    partition: int
    first_offset: int  # of the fetched batch, bad records included; -1 if it was empty
    last_offset: int
    users: list[bytes]  # [N]
    offsets: np.ndarray[Any, Any]  # int64 [N]
    checksums: np.ndarray[Any, Any]  # uint32 [N], crc32 of the value bytes
    compact: np.ndarray[Any, Any]  # COMPACT [N]
    timestamps_ms: np.ndarray[Any, Any]  # int64 [N], the broker's
    rejects: list[Reject]


def joined(batches: Sequence[EventBatch]) -> EventBatch:
    """Batches of one partition that follow each other, as one."""
    if len(batches) == 1:
        return batches[0]
    columns = {
        name: np.concatenate([getattr(batch, name) for batch in batches])
        for name in ("offsets", "checksums", "compact", "timestamps_ms")
    }
    return EventBatch(
        topic=batches[0].topic,
        partition=batches[0].partition,
        first_offset=batches[0].first_offset,
        last_offset=batches[-1].last_offset,
        users=[user for batch in batches for user in batch.users],
        rejects=[reject for batch in batches for reject in batch.rejects],
        **columns,
    )


class Decoder:
    """Turns fetched batches into columns; holds nothing but remembered hashes."""

    def __init__(self, limits: Limits | None = None) -> None:
        self._limits = limits or Limits()
        self._hashes = _Hashes()

    def decode(self, topic: str, partition: int, records: Sequence[Any]) -> EventBatch:
        """One fetched batch: records with key, value, headers, offset, timestamp. What they hold raises nothing."""
        limits, hash_of = self._limits, self._hashes.__getitem__
        good, rows, rejects = [], [], []
        for record in records:
            try:
                rows.append(compact_event(parse_event(record, limits), hash_of))
            except BadEvent as error:
                rejects.append(Reject(record.offset, error.reason, error.error, str(error), record))
            else:
                good.append(record)
        return EventBatch(
            topic=topic,
            partition=partition,
            first_offset=records[0].offset if records else -1,
            last_offset=records[-1].offset if records else -1,
            users=[record.key for record in good],
            offsets=np.array([record.offset for record in good], np.int64),
            checksums=np.array([crc32(record.value) for record in good], np.uint32),
            compact=np.array(rows, COMPACT),
            timestamps_ms=np.array([record.timestamp for record in good], np.int64),
            rejects=rejects,
        )


_decode: Final = msgspec.json.Decoder(Event).decode


def parse_event(record: Any, limits: Limits) -> Event:
    """The event of one record, its time in Unix milliseconds. Raises BadEvent."""
    value = record.value
    if value is None or record.key is None or len(value) > limits.max_value_bytes:
        raise _unreadable(record, limits)
    if value.count(b"[") + value.count(b"{") > MAX_DEPTH and depth_of(value) > MAX_DEPTH:
        raise BadEvent("too-deep", f"arrays and objects nest deeper than {MAX_DEPTH}; flatten the event")
    try:
        if not value.isascii():
            value.decode()  # the decoder looks at the fields of the contract only
        event = _decode(value)
    except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError) as error:
        raise fault_of(value, error) from None
    if event.user_id.encode() != record.key:
        both = f"the key {shown(record.key)} is not the user_id {shown(event.user_id)}"
        raise BadEvent("key-mismatch", f"{both}; {REKEY_FIX}")
    check_event(event, limits, len(value))
    if record.headers and not event.event_id:
        event.event_id = _origin(record.headers)
    if 0 <= record.timestamp < event.time - limits.max_future_s * 1000:  # type: ignore[operator]  # it is an int by now
        late = f"{limits.max_future_s} s ahead of the broker's {record.timestamp}"
        raise BadEvent("future-time", f"time {event.time} is more than {late}; correct the clock, or send milliseconds")
    return event


def check_event(event: Event, limits: Limits, value_bytes: int | None = None) -> None:
    """The rules behind the types; also for events from files. Turns `time` into Unix milliseconds. Raises BadEvent.

    value_bytes: size of the JSON it came from. JSON never shortens a text, so in a small value no text is too long.
    """
    ids = event.user_id + (event.item_id or "") + (event.event_id or "")
    if not ids.isprintable() and _CONTROL.search(ids):
        raise BadEvent("control-character", "an id holds a control character; send ids without any")
    if not (event.item_id or event.query or event.title):
        raise BadEvent("no-subject", "item_id, title and query are all missing; send at least one")
    if not event.user_id or not event.action:
        raise BadEvent("missing-field", f"{'action' if event.user_id else 'user_id'} is empty; it must have a value")
    if value_bytes is None or value_bytes > limits.max_text_bytes or len(event.user_id) > MAX_USER_BYTES // 4:
        _check_lengths(event, limits)
    if event.time.__class__ is str:
        event.time = parse_time(event.time)


def compact_event(event: Event, hash_of: Callable[[str], int] = hash64) -> tuple[int, int, int, int, int, bytes]:
    """The fields of models.compact.COMPACT: all that a model, a state and an explanation know of an event."""
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
        time if time.__class__ is int else parse_time(time),  # type: ignore[arg-type]
        ACTION_CODES.get(event.action, 0),
        kind,
        text[:TEXT_BYTES].encode(),  # cut to bytes by the dtype
    )


def compact_events(events: Iterable[Event]) -> np.ndarray[Any, Any]:
    """COMPACT [N] of events, in their order."""
    return np.array([compact_event(event) for event in events], COMPACT)


def parse_time(text: str) -> int:
    """Unix milliseconds of an RFC 3339 time; finer digits are dropped, a leap second is the next. Raises BadEvent."""
    found = _RFC_3339.fullmatch(text)
    if found is None:
        naive = " without a zone" if _RFC_3339.fullmatch(text + "Z") else ""
        fix = "write 2026-11-25T10:00:00Z or integer milliseconds"
        raise BadEvent("bad-time", f"time {shown(text)} is not RFC 3339{naive}; {fix}")
    date, clock, fraction, _, offset = found.groups()
    leap = clock.endswith(":60")
    try:
        moment = datetime.fromisoformat(f"{date}T{clock[:-2] + '59' if leap else clock}{offset or '+00:00'}")
    except ValueError as error:
        raise BadEvent("bad-time", f"time {shown(text)} does not exist ({error})") from None
    time_ms = (moment - _EPOCH) // _MILLISECOND + 1000 * leap + int((fraction or ".0")[1:4].ljust(3, "0"))
    if not 0 <= time_ms <= MAX_TIME_MS:
        raise BadEvent("bad-time", f"time {shown(text)} is before 1970 or after 9999; send the time of the event")
    return time_ms


class _Hashes(dict[str, int]):
    """hash64, remembered."""

    def __missing__(self, text: str) -> int:
        if len(self) >= HASHES_KEPT:
            self.clear()
        key = self[text] = hash64(text)
        return key


def _unreadable(record: Any, limits: Limits) -> BadEvent:
    if record.value is None:
        return BadEvent("null-value", "the value is null; send an event, the clickstream takes no tombstones")
    if record.key is None:
        return BadEvent("null-key", f"the record has no key; {REKEY_FIX}")
    size = len(record.value)
    return BadEvent("too-large", f"the value has {size} bytes; send at most {limits.max_value_bytes} (max_value_bytes)")


def _check_lengths(event: Event, limits: Limits) -> None:
    if len(event.user_id.encode()) > MAX_USER_BYTES:
        raise BadEvent(
            "text-too-long", f"user_id is longer than {MAX_USER_BYTES} bytes; send a shorter one, or its hash"
        )
    texts = [(name, getattr(event, name)) for name in _TEXTS]
    texts += [("categories", text) for text in event.categories or ()]
    for name, text in texts:
        if text and len(text.encode()) > limits.max_text_bytes:
            limit = f"{limits.max_text_bytes} bytes (max_text_bytes)"
            raise BadEvent("text-too-long", f"{name} is longer than {limit}; shorten it")


def _origin(headers: Iterable[tuple[str, bytes]]) -> str | None:
    for name, value in headers:
        if name == ORIGIN_HEADER and value:
            return value.decode("utf-8", "backslashreplace")
    return None

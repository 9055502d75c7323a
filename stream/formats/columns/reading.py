"""Reads and judges the plain records of a fetched batch at once, as records.py does one by one.

A record that is not plainly sound, by its size, its key, its headers or its event, is not judged
here: it is left for the reading that says what is wrong with it. Pure.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Any, Final, NamedTuple
from zlib import crc32

import numpy as np

from models.compact import ACTION_CODES, COMPACT, ITEM_ID, QUERY, TEXT_BYTES, TITLE, hash64
from stream.contracts.event import CONTROL_HEADER, MAX_USER_BYTES, ORIGIN_HEADER, Limits
from stream.contracts.event_batch import EventBatch, in_order, stretch
from stream.contracts.times import FIRST_TIME_MS, MAX_TIME_MS
from stream.formats.columns.event_columns import ColumnFormat, EventColumns
from stream.formats.documents import DESCRIBING
from stream.formats.event_format import EventFormat
from stream.formats.framed.readers import FramedFormat

READ_HEADERS: Final = (CONTROL_HEADER, ORIGIN_HEADER, DESCRIBING)
"""Headers that say something of a record, which no format looks at that reads columns."""

LEAST_AT_ONCE: Final = 32
"""Records that are read by columns. A batch costs some 0.15 ms beside its records, so for fewer of
them that is more than it saves."""

MOST_ODD: Final = 0.6
"""Of the records of a batch; with more of them it costs more than it saves."""

BATCHES_LEFT_OUT: Final = 15
"""After a batch of which hardly a record was plain; then it is tried again."""

_BYTES_OF_A_CHARACTER: Final = 4

Array = np.ndarray[Any, Any]


class PlainRecords(NamedTuple):
    """Holds what the plain records of a fetched batch are, and the others."""

    batch: EventBatch  # of the plain ones, without rejects and controls
    rest: list[Any]  # the other records, in their order

    def with_rest(self, read: EventBatch) -> EventBatch:
        """Returns the whole batch, given what the other records are."""
        return replace(
            in_order([self.batch, read]) if self.rest else self.batch,
            topic=read.topic,
            partition=read.partition,
            last_offset=self.batch.last_offset,
        )


class PlainReader:
    """Reads the plain records of batches of one format; it remembers whether they are worth it."""

    def __init__(
        self, event_format: EventFormat | None, limits: Limits, hash_of: Callable[[str], int]
    ) -> None:
        """`hash_of`: `hash64`, which may remember."""
        inner = event_format.inner if isinstance(event_format, FramedFormat) else event_format
        self._format: ColumnFormat | None = None
        if isinstance(inner, ColumnFormat) and isinstance(event_format, ColumnFormat):
            self._format = event_format
        self._limits, self._hash_of = limits, hash_of
        self._left_out = 0  # batches that are not tried

    def read(self, records: Sequence[Any], now_ms: int | None) -> PlainRecords | None:
        """Returns the events of records of one partition, and the records still to be read.

        None: they are few, or of no format that reads columns, or not in the order of a log, or
        hardly one of a batch before was plain. now_ms: the caller's clock.
        """
        if len(records) < LEAST_AT_ONCE or self._format is None:
            return None
        if self._left_out:
            self._left_out -= 1
            return None
        offsets = np.array([record.offset for record in records], np.int64)
        if not (offsets[1:] > offsets[:-1]).all():
            return None
        found = self._read(self._format, records, offsets, now_ms)
        if len(found.rest) > MOST_ODD * len(records):
            self._left_out = BATCHES_LEFT_OUT
        return found

    def _read(
        self, event_format: ColumnFormat, records: Sequence[Any], offsets: Array, now_ms: int | None
    ) -> PlainRecords:
        odd = set[int]()
        values, keys = _values(records, self._limits, odd), [record.key for record in records]
        stamps = [record.timestamp for record in records]
        found = event_format.columns(values, stamps, odd)
        if None in keys:
            odd.update(place for place, key in enumerate(keys) if key is None)
        dropped = {place: why for place, why in found.dropped.items() if place not in odd}
        times_ms = _times(found.times_ms)
        _judge_texts(found, keys, odd)
        _judge_lengths(found, self._limits, odd)
        _judge_times(times_ms, np.array(stamps, np.int64), self._limits, now_ms, odd)

        odd -= dropped.keys()  # there is no event to judge
        batch = EventBatch(
            topic="",
            partition=-1,
            first_offset=records[0].offset,
            last_offset=records[-1].offset,
            users=keys,
            offsets=offsets,
            checksums=np.array(list(map(crc32, values)), np.uint32),
            compact=_compact(found, times_ms, self._hash_of),
            timestamps_ms=np.array(stamps, np.int64),
            rejects=[],
        )
        if odd or dropped:
            kept = np.ones(len(records), bool)
            kept[[*odd, *dropped]] = False
            batch = stretch(batch, np.flatnonzero(kept))
        batch.dropped = Counter(dropped.values())
        return PlainRecords(batch, [records[place] for place in sorted(odd)])


def _values(records: Sequence[Any], limits: Limits, odd: set[int]) -> list[bytes]:
    """Returns the values that may be read; another one, and that of a control, is empty and odd."""
    values = [record.value for record in records]
    sizes = [len(value) if type(value) is bytes else -1 for value in values]
    if min(sizes) < 0 or max(sizes) > limits.max_value_bytes:
        odd.update(
            place for place, size in enumerate(sizes) if not 0 <= size <= limits.max_value_bytes
        )
    odd.update(
        place
        for place, record in enumerate(records)
        if record.headers and any(name.lower() in READ_HEADERS for name, _ in record.headers)
    )
    for place in odd:
        values[place] = b""
    return values


def _times(times_ms: Sequence[int]) -> Array:
    """Returns times as int64 [N]; 0, which is no plausible one, for what has more than 64 bits."""
    try:
        return np.array(times_ms, np.int64)
    except OverflowError:
        return np.array([each if 0 <= each <= MAX_TIME_MS else 0 for each in times_ms], np.int64)


def _judge_texts(found: EventColumns, keys: Sequence[bytes | None], odd: set[int]) -> None:
    """Finds events of another user than their key, of no user, action or subject, or odd ids."""
    users = found.users
    if list(map(str.encode, users)) != keys:
        pairs = enumerate(zip(users, keys, strict=True))
        odd.update(place for place, (user, key) in pairs if user.encode() != key)
    for needed in (users, found.actions):
        if not all(needed):
            odd.update(place for place, text in enumerate(needed) if not text)
    if not all(found.item_ids):
        subjects = enumerate(zip(found.item_ids, found.titles, found.queries, strict=True))
        odd.update(place for place, subject in subjects if not any(subject))
    for ids in (users, found.item_ids, found.event_ids):
        if not "".join(ids).isprintable():
            odd.update(place for place, text in enumerate(ids) if not text.isprintable())


def _judge_lengths(found: EventColumns, limits: Limits, odd: set[int]) -> None:
    """Finds events with a text that may be too long."""
    most_user = MAX_USER_BYTES // _BYTES_OF_A_CHARACTER
    if max(map(len, found.users)) > most_user:
        odd.update(place for place, user in enumerate(found.users) if len(user) > most_user)
    most = limits.max_text_bytes // _BYTES_OF_A_CHARACTER
    columns = (
        *(found.actions, found.item_ids, found.titles, found.queries, found.event_ids),
        *found.others,
    )
    for column in columns:
        if max(map(len, column)) > most:
            odd.update(place for place, text in enumerate(column) if len(text) > most)


def _judge_times(
    times_ms: Array, stamps: Array, limits: Limits, now_ms: int | None, odd: set[int]
) -> None:
    """Finds events whose time is implausible, or too far ahead of the record's or the caller's."""
    ahead_ms = limits.max_future_s * 1000
    clocks = np.where(
        stamps >= FIRST_TIME_MS, stamps, limits.latest_ms if now_ms is None else now_ms
    )
    wrong = (times_ms < limits.earliest_ms) | (times_ms > limits.latest_ms)
    wrong |= times_ms - ahead_ms > clocks
    odd.update(np.flatnonzero(wrong).tolist())


def _compact(found: EventColumns, times_ms: Array, hash_of: Callable[[str], int]) -> Array:
    """Returns COMPACT [N], row for row what `compact_event` makes of an event."""
    names = texts = found.item_ids
    compact = np.zeros(len(names), COMPACT)
    if any(found.titles) or any(found.queries):
        rows = list(zip(found.queries, found.titles, names, strict=True))
        texts = [query or title or item for query, title, item in rows]
        compact["kind"] = [
            QUERY if query else TITLE if title else ITEM_ID for query, title, _ in rows
        ]
        names = [item or text for item, text in zip(names, texts, strict=True)]
    else:
        compact["kind"] = ITEM_ID
    compact["key"] = np.fromiter(map(hash_of, names), np.uint64, len(names))
    if any(found.event_ids):
        compact["event_id"] = [hash64(each) if each else 0 for each in found.event_ids]
    compact["time_ms"] = times_ms
    compact["action"] = list(map(ACTION_CODES.__getitem__, found.actions))
    compact["text"] = [text[:TEXT_BYTES].encode() for text in texts]  # cut by the dtype
    return compact

"""Holds the events of one fetched batch as columns, joins batches, and cuts them.

It is what hops 2 to 5 hand on, and what rules about events look at. Pure.
"""

from __future__ import annotations

import dataclasses
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from itertools import groupby, zip_longest
from typing import Any, Final, TypeVar
from zlib import crc32

import numpy as np

from models.compact import COMPACT
from stream.contracts.control import PlacedControl
from stream.contracts.digest import checksums_of
from stream.contracts.faults import BadEvent, Reject

Array = np.ndarray[Any, Any]

Of = TypeVar("Of")

MOST_EVENTS: Final = 16_384
"""In one call of the model, unless somebody says otherwise."""

MOST_ROWS: Final = 16_384
"""Events that are held one by one, in some 300 bytes each, until they become columns of 84."""

_COLUMNS: Final = ("offsets", "checksums", "compact", "timestamps_ms")


@dataclass(slots=True)
class EventBatch:
    """Holds the N events of one fetched batch as columns, in log order, and its other records.

    Events of one record have the same offset. They are applied together, or none is.
    """

    topic: str
    partition: int
    first_offset: int  # of the fetched batch, bad records included; -1 if it was empty
    last_offset: int
    users: list[bytes]  # [N]
    offsets: Array  # int64 [N]
    checksums: Array  # uint32 [N], of the value bytes (digest.checksums_of)
    compact: Array  # COMPACT [N]
    timestamps_ms: Array  # int64 [N], the broker's
    rejects: list[Reject]
    controls: list[PlacedControl] = field(default_factory=list)
    dropped: Counter[str] = field(default_factory=Counter)  # on purpose, by why


@dataclass(slots=True)
class Collected:
    """Collects what the records of a fetched batch hold, and makes columns of it."""

    records: list[Any] = field(default_factory=list)  # of each event, so one may come again
    rows: list[tuple[Any, ...]] = field(default_factory=list)  # of COMPACT
    several: bool = False  # some record is not one event
    rejects: list[Reject] = field(default_factory=list)
    controls: list[PlacedControl] = field(default_factory=list)
    dropped: Counter[str] = field(default_factory=Counter)

    columns: list[EventBatch] = field(default_factory=list)  # of events that were many

    def take(self, record: Any, rows: Sequence[tuple[Any, ...]]) -> None:
        """Notes a record of several events, or of none; once they are many, they become columns."""
        self.several = True
        self.records += [record] * len(rows)
        self.rows += rows
        if len(self.rows) >= MOST_ROWS:
            batch = self.batch("", -1, ())
            self.columns = [dataclasses.replace(batch, rejects=[], controls=[], dropped=Counter())]
            self.records, self.rows = [], []

    def refuse(self, record: Any, fault: BadEvent) -> None:
        """Notes that a record is neither an event nor a control."""
        reject = Reject(record.offset, fault.reason, fault.error, str(fault), record)
        self.rejects.append(reject)

    def batch(self, topic: str, partition: int, fetched: Sequence[Any]) -> EventBatch:
        """Returns the columns of all that was fetched."""
        good = self.records
        checksums = [crc32(record.value) for record in good]
        if self.several:
            checksums = []
            for _, events in groupby(good, key=id):
                record, *others = events
                checksums += checksums_of(record.value, 1 + len(others))
        rest = EventBatch(
            topic=topic,
            partition=partition,
            first_offset=fetched[0].offset if fetched else -1,
            last_offset=fetched[-1].offset if fetched else -1,
            users=[record.key for record in good],
            offsets=np.array([record.offset for record in good], np.int64),
            checksums=np.array(checksums, np.uint32),
            compact=np.array(self.rows, COMPACT),
            timestamps_ms=np.array([record.timestamp for record in good], np.int64),
            rejects=self.rejects,
            controls=self.controls,
            dropped=self.dropped,
        )
        if not self.columns:
            return rest
        whole = joined([*self.columns, rest])
        return dataclasses.replace(
            whole, topic=topic, partition=partition, first_offset=rest.first_offset
        )


def joined(batches: Sequence[EventBatch]) -> EventBatch:
    """Returns batches of one partition that follow each other as one."""
    if len(batches) == 1:
        return batches[0]
    columns: dict[str, Any] = {
        name: np.concatenate([getattr(batch, name) for batch in batches]) for name in _COLUMNS
    }
    return dataclasses.replace(
        batches[0],
        last_offset=batches[-1].last_offset,
        users=[user for batch in batches for user in batch.users],
        rejects=[reject for batch in batches for reject in batch.rejects],
        controls=[control for batch in batches for control in batch.controls],
        dropped=sum((batch.dropped for batch in batches), Counter[str]()),
        **columns,
    )


def in_order(batches: Sequence[EventBatch]) -> EventBatch:
    """Returns batches whose records stand between each other's as one, by offset.

    Events of one record keep their order. The rest of the batches follow each other.
    """
    whole = joined(batches)
    order = np.argsort(whole.offsets, kind="stable")
    ordered = stretch(whole, order)
    return dataclasses.replace(
        ordered, rejects=whole.rejects, controls=whole.controls, dropped=whole.dropped
    )


def stretch(batch: EventBatch, places: slice | Array) -> EventBatch:
    """Returns some events of a batch, without its bad records and controls."""
    if isinstance(places, slice):
        users = batch.users[places]
    else:
        users = [batch.users[place] for place in places.tolist()]
    cut = {name: getattr(batch, name)[places] for name in _COLUMNS}
    none = Counter[str]()
    return dataclasses.replace(batch, users=users, rejects=[], controls=[], dropped=none, **cut)


def pieces(batch: EventBatch, most: int) -> Iterator[EventBatch]:
    """Yields a batch in stretches of at most so many events, cut between records.

    A record that alone holds more is one of them.
    """
    start, events = 0, len(batch.users)
    while start < events:
        end = start + most
        if end < events:
            across = batch.offsets[end]  # the first event behind the cut may be of the same record
            end = int(np.searchsorted(batch.offsets, across))
            if end <= start:
                end = int(np.searchsorted(batch.offsets, across, "right"))
        yield stretch(batch, slice(start, end))
        start = end


def rounds(
    batches: Sequence[tuple[EventBatch, Of]], most: int
) -> Iterator[tuple[list[int], list[tuple[EventBatch, Of]]]]:
    """Yields batches, each with what it is of, in stretches of at most so many events in all.

    With them their places among the batches. Nearly always there is one round, of all as they are.
    """
    if sum(len(batch.users) for batch, _ in batches) <= most:
        yield list(range(len(batches))), list(batches)
        return
    share = max(1, most // len(batches))
    for found in zip_longest(*(pieces(batch, share) for batch, _ in batches)):
        left = [place for place, piece in enumerate(found) if piece is not None]
        yield left, [(found[place], batches[place][1]) for place in left]


def halves(batch: EventBatch) -> tuple[EventBatch, EventBatch]:
    """Returns a batch of several records in two, cut between records: one is never divided."""
    middle = batch.offsets[len(batch.users) // 2]
    cut = int(np.searchsorted(batch.offsets, middle))
    if not cut:  # the first record reaches beyond the middle
        cut = int(np.searchsorted(batch.offsets, middle, "right"))
    return stretch(batch, slice(None, cut)), stretch(batch, slice(cut, None))

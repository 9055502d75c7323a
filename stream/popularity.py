"""What all users met lately: decayed counts of items, and the snapshot that carries them to the workers. Pure.

An event counts 1 when it is the newest, half of that a half-life later. A snapshot holds the counts and the offsets up to which
they count, so it is all the state that the counting job (stream/counting.py) has.
"""

from __future__ import annotations

import heapq
import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Annotated, Any, Final

import msgspec
import numpy as np
from msgspec import Meta

from models.predict import POPULARITY_HALF_LIFE_DAYS
from stream.errors import DataError
from stream.events import MAX_TIME_MS, BadEvent, Limits, parse_event

SCHEMA: Final = "item-popularity/1"
HALF_LIFE_MS: Final = round(POPULARITY_HALF_LIFE_DAYS * 86_400_000)

MOST_ITEMS: Final = 10_000
"""In a snapshot, those with the largest shares. A restart forgets the counts of the others."""

MOST_BYTES: Final = 900_000
"""Of a snapshot; Kafka takes a megabyte. Long ids cost the items with the smallest shares their place."""

MOST_HELD: Final = 200_000
"""Items counted at a time, some 30 MB. Beyond that the lighter half is forgotten: shares under 1 in MOST_HELD / 2."""

FAR: Final = 500
"""Half-lives after which weights are taken relative to a newer moment. A float64 holds 1,023 doublings."""

Array = np.ndarray[Any, Any]
Count = Annotated[int, Meta(ge=0)]


class Snapshot(msgspec.Struct, frozen=True, kw_only=True):
    """The value of a record of the popularity topic, fields in the order of its JSON."""

    schema: str = SCHEMA
    as_of: Annotated[int, Meta(ge=0, le=MAX_TIME_MS)]  # time of the newest event counted, Unix milliseconds
    half_life_days: float
    events: Annotated[int, Meta(ge=1)]  # all that were ever counted
    weight: Annotated[float, Meta(gt=0)]  # what they count at as_of, items that are not listed included
    offsets: dict[Count, Count]  # by partition of the events topic: the next one to count
    items: list[
        tuple[Annotated[str, Meta(min_length=1)], Annotated[float, Meta(ge=0, le=1)]]
    ]  # share of weight, largest first


class _Head(msgspec.Struct):
    """What says how to read the rest."""

    schema: str = ""


class Counts:
    """Decayed counts by item.

    Weights are kept relative to a moment in the past (2 ** half-lives since then), so that an event changes its own item only,
    not all of them. They would outgrow a float, so from time to time the moment moves on, by whole half-lives: that changes
    exponents alone, and rounds nothing.
    """

    def __init__(self) -> None:
        self.events = 0
        self.as_of = 0
        self._moment = 0  # where an event weighs 1
        self._total = 0.0
        self._weights: dict[str, float] = {}

    @classmethod
    def of(cls, snapshot: Snapshot) -> Counts:
        """Where a snapshot left off."""
        counts = cls()
        counts.events, counts.as_of = snapshot.events, snapshot.as_of
        counts._moment, counts._total = snapshot.as_of, snapshot.weight
        counts._weights = {item_id: share * snapshot.weight for item_id, share in snapshot.items}
        return counts

    def __len__(self) -> int:
        return len(self._weights)

    def add(self, item_ids: Sequence[str], times_ms: Sequence[int]) -> None:
        """Count events, in any order."""
        if not item_ids:
            return
        times = np.asarray(times_ms, np.int64)
        newest = int(times.max())
        if not self.events:
            self._moment = newest
        self.as_of = max(self.as_of, newest)
        self._move_on()
        added = np.exp2((times - self._moment) / HALF_LIFE_MS)
        weights = self._weights
        for item_id, weight in zip(item_ids, added.tolist(), strict=True):
            weights[item_id] = weights.get(item_id, 0.0) + weight
        self._total += float(added.sum())
        self.events += len(item_ids)
        if len(weights) > MOST_HELD:
            self._weights = dict(self._heaviest(MOST_HELD // 2))

    def snapshot(self, offsets: Mapping[int, int]) -> Snapshot:
        """The counts as of the newest event. ValueError if there was none."""
        if not self.events:
            raise ValueError("nothing was counted")
        return Snapshot(
            as_of=self.as_of,
            half_life_days=POPULARITY_HALF_LIFE_DAYS,
            events=self.events,
            weight=self._total * 2.0 ** ((self._moment - self.as_of) / HALF_LIFE_MS),
            offsets=dict(offsets),
            items=[(item_id, min(1.0, weight / self._total)) for item_id, weight in self._heaviest(MOST_ITEMS)],
        )

    def _heaviest(self, count: int) -> list[tuple[str, float]]:
        """Largest first, equal ones by name: the same events give the same bytes."""
        return heapq.nsmallest(count, self._weights.items(), key=lambda each: (-each[1], each[0]))

    def _move_on(self) -> None:
        halvings = (self.as_of - self._moment) // HALF_LIFE_MS
        if halvings <= FAR:
            return
        self._moment += halvings * HALF_LIFE_MS
        self._total = math.ldexp(self._total, -halvings)
        moved = ((item_id, math.ldexp(weight, -halvings)) for item_id, weight in self._weights.items())
        self._weights = {item_id: weight for item_id, weight in moved if weight}


def read_events(records: Iterable[Any], limits: Limits) -> tuple[list[str], list[int], int]:
    """Items and times of fetched records, and how many of these are no events (workers make dead letters of them).

    An event is no newer than the broker's timestamp: one dated ahead would move the clock, and all others into the past.
    """
    item_ids, times, bad = [], [], 0
    for record in records:
        try:
            event = parse_event(record, limits)
        except BadEvent:
            bad += 1
            continue
        if event.item_id:
            moment: int = event.time  # type: ignore[assignment]  # it is an int by now
            item_ids.append(event.item_id)
            times.append(min(moment, record.timestamp) if record.timestamp >= 0 else moment)
    return item_ids, times, bad


def encode(snapshot: Snapshot) -> bytes:
    """The value of its record; without the last items if all of them would be over MOST_BYTES."""
    value = msgspec.json.encode(snapshot)
    if len(value) <= MOST_BYTES:
        return value
    room = MOST_BYTES - len(msgspec.json.encode(msgspec.structs.replace(snapshot, items=[])))
    ends = np.cumsum([len(msgspec.json.encode(each)) + 1 for each in snapshot.items])
    fit = int(np.searchsorted(ends, room, "right"))
    return msgspec.json.encode(msgspec.structs.replace(snapshot, items=snapshot.items[:fit]))


def decode(value: bytes | None) -> Snapshot:
    """The snapshot of a record's value. Raises DataError naming the field and what to do."""
    try:
        schema = msgspec.json.decode(value or b"", type=_Head).schema
        if schema != SCHEMA:
            raise DataError(
                f"a popularity snapshot has schema {schema!r}, this version reads {SCHEMA!r}; run the job "
                "'interest-stream popularity' and the workers in the same version"
            )
        found = msgspec.json.decode(value or b"", type=Snapshot)
    except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError) as error:
        raise DataError(
            f"a popularity snapshot cannot be read ({error}); let nothing but 'interest-stream popularity' write to its "
            "topic, or name another with --popularity-topic: there the job counts anew"
        ) from None
    if found.half_life_days != POPULARITY_HALF_LIFE_DAYS:
        raise DataError(
            f"a popularity snapshot has half_life_days {found.half_life_days:g}, this version counts with "
            f"{POPULARITY_HALF_LIFE_DAYS:g}; name another topic with --popularity-topic: there the job counts anew"
        )
    return found


@dataclass(frozen=True, slots=True)
class Start:
    """Where counting goes on, by partition; `anew`: with empty counts. `warning`: what was lost, empty if nothing was."""

    offsets: dict[int, int]
    anew: bool = False
    warning: str = ""


def where_to_start(stored: Mapping[int, int], begins: Mapping[int, int], ends: Mapping[int, int]) -> Start:
    """From the offsets of a snapshot (none: a first start) and those that the topic holds now."""
    gone = sorted(each for each, offset in stored.items() if each not in ends or offset > ends[each])
    if gone:
        return Start(
            dict(begins),
            anew=True,
            warning=f"partition {_listed(gone)} ends before what was counted of it: the topic was deleted and created again; "
            "counting anew, from the beginning of what is there",
        )
    late = {each: begins[each] - offset for each, offset in stored.items() if offset < begins[each]}
    offsets = {each: max(begin, stored.get(each, 0)) for each, begin in begins.items()}
    if not late:
        return Start(offsets)
    return Start(
        offsets,
        warning=f"{sum(late.values())} records of partition {_listed(sorted(late))} were deleted by retention before they were "
        "counted; going on from the beginning of what is there",
    )


def _listed(partitions: Iterable[int]) -> str:
    return ", ".join(map(str, partitions))

"""Counts what all users met lately, and writes and reads the snapshot that carries the counts.

An event counts 1 when it is the newest and half of that a half-life later. A snapshot holds the
counts and the offsets up to which they count, so it is all the state that the counting job
(stream/popularity/job.py) has. Nothing here does I/O or reads a clock.
"""

from __future__ import annotations

import heapq
import math
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Annotated, Any, Final, NamedTuple

import msgspec
import numpy as np
from msgspec import Meta

from models.compact import hash64
from models.contract import POPULARITY_HALF_LIFE_DAYS
from stream.contracts.control import ERASE, SUPPRESS, is_control, parse_control
from stream.contracts.event import Event, Limits, parse_event
from stream.contracts.faults import BadEvent
from stream.contracts.times import FIRST_TIME_MS, MAX_TIME_MS
from stream.errors import DataError
from stream.formats.event_format import EventFormat
from stream.formats.records import read_record

SCHEMA: Final = "item-popularity/1"
HALF_LIFE_MS: Final = round(POPULARITY_HALF_LIFE_DAYS * 86_400_000)

MOST_ITEMS: Final = 10_000
"""In a snapshot: those with the largest shares. A restart drops the counts of the others."""

MOST_BYTES: Final = 900_000
"""Of a snapshot; Kafka takes a megabyte. Where ids are long, the smallest shares are left out."""

MOST_HELD: Final = 200_000
"""Items counted at a time, some 30 MB. Beyond that the lighter half is dropped: each of those has a
share of less than 1 in MOST_HELD / 2."""

HASH_BYTES: Final = 8
"""Of a user who met an item that is not listed yet. Two users share one by a chance of 2 ** -64."""

FAR: Final = 500
"""Half-lives after which weights are taken relative to a newer moment; a float64 holds 1,023."""

Array = np.ndarray[Any, Any]
Count = Annotated[int, Meta(ge=0)]
Moment = Annotated[int, Meta(ge=0, le=MAX_TIME_MS)]  # Unix milliseconds
ItemId = Annotated[str, Meta(min_length=1)]
Share = Annotated[float, Meta(ge=0, le=1)]  # of the weight of all events


class Snapshot(msgspec.Struct, frozen=True, kw_only=True):
    """Holds the value of a record of the popularity topic, fields in the order of its JSON."""

    schema: str = SCHEMA
    as_of: Moment  # of the newest event counted
    half_life_days: float
    events: Annotated[int, Meta(ge=1)]  # all that were ever counted
    weight: Annotated[float, Meta(gt=0)]  # of all events at as_of, unlisted items included
    offsets: dict[Count, Count]  # by partition of the events topic: the next one to count
    min_users: Annotated[int, Meta(ge=1)] = 1  # who met an item before it was listed
    items: list[tuple[ItemId, Share]]  # largest share first
    topic_id: str = ""  # of the events topic whose offsets these are; "" where it is not known


class _Head(msgspec.Struct):
    """Holds the field that says how to read the others."""

    schema: str = ""


class Counts:
    """Holds a decayed count of each item.

    Weights are kept relative to a moment in the past (2 ** half-lives since then), so that an event
    changes its own item only, not all of them. They would outgrow a float, so from time to time the
    moment moves on, by whole half-lives: that changes exponents alone, and rounds nothing.

    An item is listed in snapshots once `min_users` different users met it. Until then hashes of
    those users are held, less than min_users of them; they are in no snapshot, so a restart begins
    to count them anew. Who is listed stays so while the item is held. Nothing else is held of
    users, so what an erased user met stays in the sums, and is listed on account of others alone.
    """

    def __init__(self, snapshot: Snapshot | None = None, min_users: int = 1) -> None:
        """Starts where a snapshot left off, or with nothing."""
        self._min_users = min_users
        self._few: dict[str, bytes] = {}  # of items that are not listed yet: hashes of their users
        self.events = 0
        self.as_of = 0
        self._moment = 0  # where an event weighs 1
        self._total = 0.0
        self._weights: dict[str, float] = {}
        if snapshot is not None:
            self.events, self.as_of = snapshot.events, snapshot.as_of
            self._moment, self._total = snapshot.as_of, snapshot.weight
            self._weights = {item_id: share * snapshot.weight for item_id, share in snapshot.items}

    def __len__(self) -> int:
        return len(self._weights)

    @property
    def held_users(self) -> int:
        """Returns how many users are held of the items that are not listed yet."""
        return sum(map(len, self._few.values())) // HASH_BYTES

    def add(
        self, item_ids: Sequence[str], times_ms: Sequence[int], users: Sequence[str] = ()
    ) -> None:
        """Counts events, given in any order.

        users: who met them, where min_users is above 1; "": somebody who is erased, of whom an
        event is a number.
        """
        if not item_ids:
            return
        times = np.asarray(times_ms, np.int64)
        newest = int(times.max())
        if not self.events:
            self._moment = newest
        self.as_of = max(self.as_of, newest)
        self._move_on()
        if self._min_users > 1:
            self._note_users(item_ids, users)
        added = np.exp2((times - self._moment) / HALF_LIFE_MS)
        weights = self._weights
        for item_id, weight in zip(item_ids, added.tolist(), strict=True):
            weights[item_id] = weights.get(item_id, 0.0) + weight
        self._total += float(added.sum())
        self.events += len(item_ids)
        if len(weights) > MOST_HELD:
            self._keep(dict(self._heaviest(MOST_HELD // 2, weights)))

    def snapshot(self, offsets: Mapping[int, int], topic_id: str = "") -> Snapshot:
        """Returns the counts as of the newest event; raises ValueError if there was none."""
        if not self.events:
            raise ValueError("nothing was counted")
        return Snapshot(
            as_of=self.as_of,
            half_life_days=POPULARITY_HALF_LIFE_DAYS,
            events=self.events,
            weight=self._total * 2.0 ** ((self._moment - self.as_of) / HALF_LIFE_MS),
            offsets=dict(offsets),
            min_users=self._min_users,
            items=[
                (item_id, min(1.0, weight / self._total))
                for item_id, weight in self._heaviest(MOST_ITEMS, self._listed())
            ],
            topic_id=topic_id,
        )

    def forget(self, users: Collection[str]) -> None:
        """Forgets whom users of the items not listed yet were, of those who were erased."""
        gone = {_hash(user) for user in users}
        if not gone:
            return
        for item_id, held in self._few.items():
            left = [each for each in _hashes(held) if each not in gone]
            if len(left) * HASH_BYTES < len(held):
                self._few[item_id] = b"".join(left)

    def _note_users(self, item_ids: Sequence[str], users: Sequence[str]) -> None:
        """Notes who met the items that are not listed yet; those that enough users met are."""
        few, weights = self._few, self._weights
        for item_id, user in zip(item_ids, users, strict=True):
            held = few.get(item_id)
            if held is None:
                if item_id in weights:  # it is listed
                    continue
                few[item_id] = held = b""
                weights[item_id] = 0.0
            one = _hash(user)
            if not user or one in _hashes(held):
                continue
            if len(held) + HASH_BYTES < self._min_users * HASH_BYTES:
                few[item_id] = held + one
            else:
                del few[item_id]

    def _listed(self) -> dict[str, float]:
        """Returns the weights of the items that enough users met."""
        return {each: weight for each, weight in self._weights.items() if each not in self._few}

    def _keep(self, weights: dict[str, float]) -> None:
        """Goes on with some of the items alone."""
        self._weights = weights
        self._few = {each: users for each, users in self._few.items() if each in weights}

    def _heaviest(self, count: int, weights: Mapping[str, float]) -> list[tuple[str, float]]:
        """Returns the largest weights first, equal ones by name: equal events give equal bytes."""
        return heapq.nsmallest(count, weights.items(), key=lambda each: (-each[1], each[0]))

    def _move_on(self) -> None:
        """Takes weights relative to a newer moment once the old one is FAR in the past."""
        halvings = (self.as_of - self._moment) // HALF_LIFE_MS
        if halvings <= FAR:
            return
        self._moment += halvings * HALF_LIFE_MS
        self._total = math.ldexp(self._total, -halvings)
        moved = (
            (item_id, math.ldexp(weight, -halvings)) for item_id, weight in self._weights.items()
        )
        self._keep({item_id: weight for item_id, weight in moved if weight})


def _hash(user: str) -> bytes:
    return hash64(user).to_bytes(HASH_BYTES, "little")


def _hashes(held: bytes) -> list[bytes]:
    return [held[at : at + HASH_BYTES] for at in range(0, len(held), HASH_BYTES)]


class Met(NamedTuple):
    """Holds what fetched records say was met: the items, times and users of N events."""

    item_ids: list[str]  # [N]
    times_ms: list[int]  # [N]
    users: list[str]  # [N]; "": erased by a later one of the records
    bad: int  # records that are no events; workers make dead letters of them
    ahead: int  # events that are ahead of the job's own clock
    erased: set[str]  # users whom a request erased, or suppressed


def read_events(
    records: Iterable[Any],
    limits: Limits,
    now_ms: int,
    key: bytes | None = None,
    event_format: EventFormat | None = None,
) -> Met:
    """Returns what records say was met, judged by the job's own clock as well as by theirs.

    The record's timestamp may be the producer's. One event dated ahead would move the clock, and
    with it all others into the past. So an event that is ahead of `now_ms` by more than
    max_future_s is not counted, and another one counts as no newer than its record and `now_ms`.
    Records are of the contract unless another format is given.

    key: of the workers, with which requests about users are signed.
    """
    item_ids: list[str] = []
    times_ms: list[int] = []
    users: list[str] = []
    erased: dict[str, int] = {}  # and how many of the events came before
    bad = ahead = 0
    for record in records:
        try:
            if event_format is None:
                events: Sequence[Event] = (parse_event(record, limits, now_ms),)
            else:
                reading = read_record(record, event_format, limits, now_ms)
                events, bad = reading.events, bad + len(reading.bad)
        except BadEvent:
            if not is_control(record.headers or ()):
                bad += 1
            elif (user := _erased(record, limits, key)) is not None:
                erased[user] = len(users)
            continue
        for event in events:
            moment = int(event.time)  # in milliseconds, whatever was written
            if moment > now_ms + limits.max_future_s * 1000:
                ahead += 1
            elif event.item_id:
                stamped = record.timestamp if record.timestamp >= FIRST_TIME_MS else now_ms
                item_ids.append(event.item_id)
                times_ms.append(min(moment, stamped, now_ms))
                users.append(event.user_id)
    if erased:
        users = ["" if at < erased.get(user, 0) else user for at, user in enumerate(users)]
    return Met(item_ids, times_ms, users, bad, ahead, set(erased))


def _erased(record: Any, limits: Limits, key: bytes | None) -> str | None:
    """Returns the user whom a request erases or suppresses, None where it does neither."""
    try:
        control = parse_control(record, limits, key)
    except BadEvent:  # workers make a dead letter of it
        return None
    return control.user_id if control.control in (ERASE, SUPPRESS) else None


def encode(snapshot: Snapshot) -> bytes:
    """Returns the value of a snapshot's record, without the last items if it is over MOST_BYTES."""
    value = msgspec.json.encode(snapshot)
    if len(value) <= MOST_BYTES:
        return value
    room = MOST_BYTES - len(msgspec.json.encode(msgspec.structs.replace(snapshot, items=[])))
    ends = np.cumsum([len(msgspec.json.encode(each)) + 1 for each in snapshot.items])
    fit = int(np.searchsorted(ends, room, "right"))
    return msgspec.json.encode(msgspec.structs.replace(snapshot, items=snapshot.items[:fit]))


def decode(value: bytes | None) -> Snapshot:
    """Returns the snapshot in a record's value; raises DataError naming the field and the fix."""
    try:
        schema = msgspec.json.decode(value or b"", type=_Head).schema
        if schema != SCHEMA:
            raise DataError(
                f"a popularity snapshot has schema {schema!r}, this version reads {SCHEMA!r}; "
                "run the job 'interest-stream popularity' and the workers in the same version"
            )
        found = msgspec.json.decode(value or b"", type=Snapshot)
    except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError) as error:
        raise DataError(
            f"a popularity snapshot cannot be read ({error}); "
            "let nothing but 'interest-stream popularity' write to its topic, "
            "or name another with --popularity-topic: there the job counts anew"
        ) from None
    if found.half_life_days != POPULARITY_HALF_LIFE_DAYS:
        raise DataError(
            f"a popularity snapshot has half_life_days {found.half_life_days:g}, "
            f"this version counts with {POPULARITY_HALF_LIFE_DAYS:g}; "
            "name another topic with --popularity-topic: there the job counts anew"
        )
    return found


@dataclass(frozen=True, slots=True)
class Start:
    """Says where counting goes on."""

    offsets: dict[int, int]  # by partition
    anew: bool = False  # with empty counts
    warning: str = ""  # what was lost, empty if nothing was


def where_to_start(
    stored: Mapping[int, int],
    begins: Mapping[int, int],
    ends: Mapping[int, int],
    *,
    replaced: bool = False,
) -> Start:
    """Returns where to start, from the offsets of a snapshot and those that the topic holds now.

    Without a snapshot (`stored` is empty) counting starts at the beginning. It starts anew if the
    topic was made again, which its id tells (`replaced`) or an end before a stored offset. It goes
    on behind a gap if retention deleted what was not counted yet.
    """
    again = (
        "the topic was deleted and created again; "
        "counting anew, from the beginning of what is there"
    )
    if replaced:
        return Start(dict(begins), anew=True, warning=again)
    gone = sorted(
        each for each, offset in stored.items() if each not in ends or offset > ends[each]
    )
    if gone:
        return Start(
            dict(begins),
            anew=True,
            warning=f"partition {_listed(gone)} ends before what was counted of it: {again}",
        )
    late = {each: begins[each] - offset for each, offset in stored.items() if offset < begins[each]}
    offsets = {each: max(begin, stored.get(each, 0)) for each, begin in begins.items()}
    if not late:
        return Start(offsets)
    return Start(
        offsets,
        warning=f"{sum(late.values())} records of partition {_listed(sorted(late))} "
        "were deleted by retention before they were counted; "
        "going on from the beginning of what is there",
    )


def _listed(partitions: Iterable[int]) -> str:
    return ", ".join(map(str, partitions))

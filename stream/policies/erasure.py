"""Says what a control does to a user's state, and which events are dropped because of one.

A batch with controls is taken in waves: a wave holds the events of each user up to its next
control, and those controls end it. Users do not touch each other, so a thousand controls of a
thousand users cost two waves, and the order of a user's own events and controls is that of the log.

Laws, each a test: any cut of the input gives the same rows; a replayed control changes nothing; an
event is dropped if it came late (stream/contracts/control.py) or while its user is suppressed; what
an erased user sends after that makes the state of a user who was never seen. Pure: what is given
are arrays, log places and times of the log.

N events of a batch, W users that occur in it, C controls of different users.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from itertools import compress
from typing import Any, Final, Protocol

import numpy as np

from models.compact import QUERY, TEXT_BYTES, hash64
from stream.contracts.control import (
    ERASE,
    FORGET,
    SUPPRESS,
    UNSUPPRESS,
    Control,
    PlacedControl,
    is_late,
)
from stream.contracts.digest import DIGEST_FACTOR, digest_events
from stream.contracts.event_batch import EventBatch, stretch
from stream.contracts.state_record import MARKER, SUPPRESSED, encode_rows, topic_code
from stream.contracts.state_rows import blank, drop_recent

Array = np.ndarray[Any, Any]

DAY_MS: Final = 86_400_000
SWEEP_MARGIN_MS: Final = 300_000


@dataclass(frozen=True, slots=True)
class Remembering:
    """Holds how long users are remembered, and for how long it is that they were erased."""

    late_window_ms: int = 30 * DAY_MS
    ttl_ms: int = 0  # silence that ends a state; 0: none does


class States(Protocol):
    """Holds the states of one partition, a row a user (stream/pipeline/state.py)."""

    erased: bool

    @property
    def naming(self) -> object:
        """Returns what stands for which place is whose."""

    def find(self, users: Sequence[bytes]) -> Array:
        """Returns the rows of users, int64 [U]; a new user gets a blank row."""

    def last_offsets(self, rows: Array, topic: int, partition: int) -> Array:
        """Returns the source offset last applied of rows, int64 [U]; -1 for another source."""

    def head(self, rows: Array, *names: str) -> Array:
        """Returns some fields of rows, as a structured array."""

    def gather(self, rows: Array) -> Array:
        """Returns copies of rows."""

    def put(self, rows: Array, values: Array) -> None:
        """Stores new values of rows."""


@dataclass(frozen=True, slots=True)
class Cleared:
    """Holds users of one partition of whom nothing may be published any more.

    It goes the way of scored users: their profiles become null, their states the rows given.
    """

    source: tuple[str, int]  # topic, partition
    users: list[bytes]
    rows: Array | None  # row dtype [U]: markers; None: tombstones
    arena: object
    places: Array  # int64 [U] of the rows in it
    scores: None = None

    def states(self) -> list[bytes | None]:
        """Returns what the changelog is to hold of them."""
        return [None] * len(self.users) if self.rows is None else list(encode_rows(self.rows))


def waves(
    batch: EventBatch, states: States, rules: Remembering
) -> Iterator[tuple[EventBatch, list[PlacedControl]]]:
    """Yields the events of each wave of a batch, and the controls that end it.

    A wave is cut when it is asked for, after the one before was applied. Controls break a silence
    too, so which of a wave's events end one is known only after the controls before it.
    """
    for events, controls in _waves(batch):
        if rules.ttl_ms:
            for piece, is_last in unexpired_pieces(events, states, rules.ttl_ms):
                yield piece, controls if is_last else []
        else:
            yield events, controls


def _waves(batch: EventBatch) -> Iterator[tuple[EventBatch, list[PlacedControl]]]:
    if not batch.controls:
        yield batch, []
        return
    own: dict[bytes, list[PlacedControl]] = {}
    for each in batch.controls:
        own.setdefault(each.user, []).append(each)
    wave_of = np.zeros(len(batch.users), np.int64)
    for place, user in enumerate(batch.users):
        if user in own:
            offset = int(batch.offsets[place])
            wave_of[place] = sum(each.offset < offset for each in own[user])
    last = max(int(wave_of.max(initial=0)), *(len(each) - 1 for each in own.values()))
    for number in range(last + 1):
        ending = [each[number] for each in own.values() if len(each) > number]
        yield stretch(batch, np.flatnonzero(wave_of == number)), ending


def unexpired_pieces(
    batch: EventBatch, states: States, ttl_ms: int
) -> Iterator[tuple[EventBatch, bool]]:
    """Yields stretches of a batch in which a state expires at its user's first event or not at all.

    So a batch can be planned as a whole. Nearly always there is one; with each it is said whether
    it is the last. Each is cut when it is asked for, after the one before was applied.
    """
    start = 0
    while True:
        times = batch.timestamps_ms[start:]
        spans = np.maximum.accumulate(times) - np.minimum.accumulate(times)
        end = start + int(np.searchsorted(spans, ttl_ms, "right"))
        end = start + _first_over(stretch(batch, slice(start, end)), states, ttl_ms)
        is_last = end >= len(batch.users)
        yield stretch(batch, slice(start, end)), is_last
        if is_last:
            return
        start = end


def _first_over(batch: EventBatch, states: States, ttl_ms: int) -> int:
    """Returns the place of the first event that may expire a state and is not its user's first.

    The number of events, if there is none.
    """
    index: dict[bytes, int] = {}
    owner = np.array([index.setdefault(user, len(index)) for user in batch.users], np.int64)
    rows = states.find(list(index))
    newer = (
        batch.offsets > states.last_offsets(rows, topic_code(batch.topic), batch.partition)[owner]
    )
    over = newer & is_over(states.head(rows, "broker_ms")[owner], batch.timestamps_ms, ttl_ms)
    in_time = np.flatnonzero(newer & ~over)
    first_in_time = np.full(len(index), len(owner), np.int64)
    np.minimum.at(first_in_time, owner[in_time], in_time)
    places = np.flatnonzero(over & (first_in_time[owner] < np.arange(len(owner))))
    return int(places[0]) if len(places) else len(owner)


def dropped(
    heads: Array, owner: Array, own_ms: Array, broker_ms: Array, window_ms: int
) -> tuple[Array, Array]:
    """Returns which events are of suppressed users, and which others came late, bool [N] each.

    heads: flags and erased_ms of the W users; owner: int64 [N], each event's place among them.
    """
    muted = ((heads["flags"] & np.uint64(SUPPRESSED)) != 0)[owner]
    late = is_late(heads["erased_ms"][owner], own_ms, broker_ms, window_ms)
    return muted, late & ~muted


@dataclass(frozen=True, slots=True)
class Obeyed:
    """Holds what controls of different users of one partition led to; states are changed."""

    controls: list[str]  # what was carried out; those that the states held already were not
    cleared: list[Cleared]
    # users of whom events are left, with their rows and places: they need an update
    left: tuple[list[bytes], Array, Array] | None


def carry_out(
    batch: EventBatch,
    states: States,
    controls: Sequence[PlacedControl],
    rules: Remembering,
    rebuild: Callable[[Array], Array],
) -> Obeyed:
    """Changes the states of users as their controls ask; a replayed control changes nothing.

    rebuild: gives the memory that recent events leave (models.contract.Predictor).
    """
    # those that the states hold already are replayed
    code, partition = topic_code(batch.topic), batch.partition
    places = states.find([each.user for each in controls])
    offsets = np.array([each.offset for each in controls])
    fresh = offsets > states.last_offsets(places, code, partition)
    places, controls = places[fresh], list(compress(controls, fresh.tolist()))
    if not controls:
        return Obeyed([], [], None)

    # memory is made anew from the events that are left
    rows = states.gather(places)
    changed = obey(rows, controls, batch.topic, partition, rules)
    if changed.any():
        rows["memory"][changed] = rebuild(rows["recent"][changed])
    states.put(places, rows)
    states.erased = True

    # of whom events are left gets an update, of the others the profile goes
    def some(which: Array) -> tuple[list[bytes], Array, Array]:
        users = [each.user for each in compress(controls, which.tolist())]
        return users, rows[which], places[which]

    gone = rows["n_recent"] == 0
    cleared = []
    if gone.any():
        users, markers, where = some(gone)
        source = (batch.topic, partition)
        cleared = [Cleared(source, users, markers, states.naming, where)]
    kinds: list[str] = [each.control.control for each in controls]
    return Obeyed(kinds, cleared, None if gone.all() else some(~gone))


def obey(
    rows: Array, controls: Sequence[PlacedControl], topic: str, partition: int, rules: Remembering
) -> Array:
    """Changes rows, row dtype [C], as their controls ask, one each.

    Returns which memory is to be made anew from the events that are left, bool [C].
    """
    rebuild = np.zeros(len(rows), bool)
    for number, each in enumerate(controls):
        row, kind = rows[number : number + 1], each.control.control
        if is_over(row, each.broker_ms, rules.ttl_ms)[0]:
            blank(row)
        was_suppressed = bool(int(row["flags"][0]) & SUPPRESSED)
        if kind in (ERASE, SUPPRESS) or (
            kind == UNSUPPRESS and (was_suppressed or not row["count"][0])
        ):
            blank(row)
            muted = kind == SUPPRESS or (kind == ERASE and was_suppressed)
            row["flags"], row["erased_ms"] = MARKER | (SUPPRESSED * muted), each.broker_ms
        elif not row["count"][0]:
            row["flags"] |= np.uint64(MARKER)  # nothing to forget; the control is remembered
        elif kind == FORGET:
            drop_recent(row, _subject(row["recent"][0], each.control))
            added = digest_events(
                np.array([each.offset]), np.array([each.checksum], np.uint32), partition
            )
            row["digest"] = row["digest"] * DIGEST_FACTOR + added
            row["memory"] = 0
            rebuild[number] = bool(row["n_recent"][0])
        row["topic"], row["partition"] = topic_code(topic), partition
        row["offset"], row["broker_ms"] = each.offset, each.broker_ms
    return rebuild


def is_over(rows: Array, broker_ms: Any, ttl_ms: int) -> Array:
    """Returns whose silence up to a moment was longer than the TTL, bool [U].

    A broker's time that is not known, in states of version 1, ends nothing.
    """
    known = rows["broker_ms"] > 0
    over: Array = known & (broker_ms - rows["broker_ms"] > ttl_ms) & bool(ttl_ms)
    return over


def due(
    heads: Array, newest_ms: int, committed: int, topic: str, partition: int, rules: Remembering
) -> tuple[Array, Array]:
    """Returns who may be forgotten, bool [U] each: all that is held; all but that it was erased.

    heads: HEADER [U]; newest_ms: time of the log; committed: next offset committed of the source.
    What is not committed may be read again, and is needed to know it for what it is. A sweep waits
    some minutes more than it must, because the clocks of brokers differ.
    """
    code = topic_code(topic)
    safe = (heads["topic"] == code) & (heads["partition"] == partition)
    safe &= (heads["offset"] < committed) & ((heads["flags"] & np.uint64(SUPPRESSED)) == 0)
    marked = (heads["flags"] & np.uint64(MARKER)) != 0
    margin = min(SWEEP_MARGIN_MS, rules.ttl_ms or SWEEP_MARGIN_MS)
    silent = ~marked & is_over(heads, newest_ms - margin, rules.ttl_ms)
    window = rules.late_window_ms + min(SWEEP_MARGIN_MS, rules.late_window_ms)
    moot = np.maximum(heads["erased_ms"], heads["broker_ms"] * marked) + window < newest_ms
    return safe & (silent | marked) & moot, safe & silent & ~moot


def _subject(recent: Array, control: Control) -> Array:
    """Returns which recent events are about what a user wants forgotten, bool [32].

    Of a query as many bytes count as a state keeps of it.
    """
    if control.item_id:
        about: Array = recent["key"] == np.uint64(hash64(control.item_id))
    else:
        text = (control.query or "")[:TEXT_BYTES].encode()[:TEXT_BYTES]
        about = (recent["kind"] == QUERY) & (recent["text"] == text)
    return about

"""Decides which events are new, in which order the model reads them, and the new rows (hop 4).

Batches of several partitions are planned together, so that one call of the model serves them all.
Pure.

Laws, each a test: any cut of the input into batches gives the same rows; a replayed event changes
nothing; the events of a user are applied in log order; an event with the event_id of one of the
user's last 32 applied events counts once.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from models.compact import RECENT
from stream.contracts.digest import DIGEST_FACTOR, digest_events
from stream.contracts.event_batch import EventBatch
from stream.contracts.state_record import topic_code
from stream.contracts.state_rows import push_recent
from stream.pipeline.state import Arena
from stream.policies.erasure import Remembering, dropped, is_over
from stream.policies.repeats import repeats

Array = np.ndarray[Any, Any]

PartitionBatch = tuple[EventBatch, Arena]
"""A batch of a partition, and the states of that partition."""


@dataclass(slots=True)
class Plan:
    """Holds batches made ready for the model.

    Users with most new events come first, so round k is a prefix of them.
    """

    users: list[bytes]  # [U] with at least one new event
    batch: Array  # int64 [U] which of the batches each belongs to
    topics: Array  # uint32 [U] codes of the source topics
    partitions: Array  # int32 [U]
    rows: Array  # int64 [U] their rows in the arena of their partition
    states: Array  # row dtype [U] copies of those rows, before the batch; `rows_after` changes them
    counts: Array  # int64 [U] new events of each
    events: Array  # COMPACT [N] round by round: the first event of every user, then the second ...
    offsets: Array  # int64 [N] source offsets, same order
    digests: Array  # uint64 [N] event digests, same order
    broker_ms: Array  # int64 [N], same order
    sizes: Array  # int64 [R] users in each round, never growing
    applied: list[int]  # of each batch: new events
    replayed: list[int]  # events skipped because the state holds them already
    repeated: list[int]  # events skipped because their event_id was seen
    erased: list[int]  # events dropped because they came late, after their user was erased
    suppressed: list[int]  # events dropped because their user is suppressed
    late_window_ms: int


@dataclass(frozen=True, slots=True)
class _Decided:
    """Holds what is known of a batch before it is laid out."""

    users: list[bytes]  # [W] all that occur in it
    rows: Array  # int64 [W]
    owner: Array  # int64 [N] place of each event's user
    fresh: Array  # bool [N] not applied before
    muted: Array  # bool [N] fresh, and of a suppressed user
    late: Array  # bool [N] fresh, and from before its user was erased
    new: Array  # bool [N] fresh, and nothing of all that, and no repetition


def plan(batches: Sequence[PartitionBatch], rules: Remembering | None = None) -> Plan:
    """Decides which events are new, and lays out batches of different partitions in rounds."""
    rules = rules or Remembering()
    decided = [_decide(batch, arena, rules) for batch, arena in batches]
    return _in_rounds(batches, decided, rules)


def _decide(batch: EventBatch, arena: Arena, rules: Remembering) -> _Decided:
    index: dict[bytes, int] = {}
    owner = np.array([index.setdefault(user, len(index)) for user in batch.users], np.int64)
    users = list(index)
    rows = arena.find(users)
    fresh = taken = _not_applied(batch, arena, rows, owner)
    muted = late = np.zeros(len(fresh), bool)
    if arena.erased:
        times, heads = batch.compact["time_ms"], arena.head(rows, "flags", "erased_ms")
        found = dropped(heads, owner, times, batch.timestamps_ms, rules.late_window_ms)
        muted, late = (fresh & each for each in found)
        taken = fresh & ~muted & ~late
    if rules.ttl_ms:  # the first event after too long a silence begins a blank state
        heads = arena.head(rows, "broker_ms")[owner]
        over = taken & is_over(heads, batch.timestamps_ms, rules.ttl_ms)
        if over.any():
            arena.expire(rows[np.unique(owner[over])])
    ids = batch.compact["event_id"]
    new = taken
    if ids[taken].any():
        new = taken & ~repeats(ids, owner, arena.gather(rows), taken)
    return _Decided(users, rows, owner, fresh, muted, late, new)


def rows_after(work: Plan, memory: Array) -> Array:
    """Returns the rows after the batch, row dtype [U], with the model's new memory, float32 [U, S].

    They are made in place of `work.states`, so a plan is used once.
    """
    rows, counts, sizes = work.states, work.counts, work.sizes
    starts = np.concatenate(([0], np.cumsum(sizes)))
    last = starts[counts - 1] + np.arange(len(counts))  # where each user's last event lies
    digest = rows["digest"].copy()
    for first, size in zip(starts.tolist(), sizes.tolist(), strict=False):
        digest[:size] = digest[:size] * DIGEST_FACTOR + work.digests[first : first + size]
    rows["digest"] = digest
    rows["topic"], rows["partition"] = work.topics, work.partitions
    rows["offset"] = work.offsets[last]
    rows["time_ms"] = work.events["time_ms"][last]
    rows["broker_ms"], rows["flags"] = work.broker_ms[last], 0
    # nothing can be late any more, so that is forgotten too
    rows["erased_ms"][rows["broker_ms"] > rows["erased_ms"] + work.late_window_ms] = 0
    rows["count"] += counts.astype(np.uint64)
    rows["n_recent"] = np.minimum(RECENT, rows["n_recent"].astype(np.int64) + counts)
    push_recent(rows["recent"], work.events, counts, starts)
    rows["memory"] = memory
    return rows


def _not_applied(batch: EventBatch, arena: Arena, rows: Array, owner: Array) -> Array:
    """Returns which events are newer than the states, bool [N].

    Offsets compare only within one topic and partition.
    """
    newer: Array = (
        batch.offsets > arena.last_offsets(rows, topic_code(batch.topic), batch.partition)[owner]
    )
    return newer


def _in_rounds(
    given: Sequence[PartitionBatch], decided: Sequence[_Decided], rules: Remembering
) -> Plan:
    # the users of all batches in one numbering
    batches = [batch for batch, _ in given]
    users = [user for each in decided for user in each.users]
    widths = np.array([len(each.users) for each in decided])
    shifts = np.cumsum(widths) - widths
    owner = np.concatenate(
        [each.owner + shift for each, shift in zip(decided, shifts.tolist(), strict=True)]
    )

    # those with most new events first
    places = np.flatnonzero(np.concatenate([each.new for each in decided]))
    counts = np.bincount(owner[places], minlength=len(users))
    by_count = np.argsort(-counts, kind="stable")[: int((counts > 0).sum())]
    place = np.full(len(users), -1, np.int64)
    place[by_count] = np.arange(len(by_count))

    # each user's events in log order, then the first of every user, the second of every user, ...
    by_user = places[np.argsort(place[owner[places]], kind="stable")]
    sorted_counts = counts[by_count]
    firsts = np.repeat(np.cumsum(sorted_counts) - sorted_counts, sorted_counts)
    rank = np.arange(len(by_user)) - firsts
    order = by_user[np.argsort(rank, kind="stable")]

    which = np.repeat(np.arange(len(given)), widths)[by_count]
    rows = np.concatenate([each.rows for each in decided])[by_count]
    digests = [digest_events(each.offsets, each.checksums, each.partition) for each in batches]
    return Plan(
        users=[users[each] for each in by_count.tolist()],
        batch=which,
        topics=np.array([topic_code(batch.topic) for batch in batches], np.uint32)[which],
        partitions=np.array([batch.partition for batch in batches], np.int32)[which],
        rows=rows,
        states=_gathered(given, which, rows),
        counts=sorted_counts,
        events=np.concatenate([batch.compact for batch in batches])[order],
        offsets=np.concatenate([batch.offsets for batch in batches])[order],
        digests=np.concatenate(digests)[order],
        broker_ms=np.concatenate([batch.timestamps_ms for batch in batches])[order],
        sizes=np.bincount(rank),
        applied=[int(each.new.sum()) for each in decided],
        replayed=[int((~each.fresh).sum()) for each in decided],
        repeated=[
            int((each.fresh & ~each.muted & ~each.late & ~each.new).sum()) for each in decided
        ],
        erased=[int(each.late.sum()) for each in decided],
        suppressed=[int(each.muted.sum()) for each in decided],
        late_window_ms=rules.late_window_ms,
    )


def _gathered(given: Sequence[PartitionBatch], which: Array, rows: Array) -> Array:
    if len(given) == 1:
        return given[0][1].gather(rows)
    found = [arena.gather(rows[which == number]) for number, (_, arena) in enumerate(given)]
    states = np.empty(len(rows), found[0].dtype)
    for number, each in enumerate(found):
        states[which == number] = each
    return states

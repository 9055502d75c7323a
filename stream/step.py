"""Hop 4. The rules of applying batches: what is skipped, in which order, and what a user's row becomes. Pure.

Batches of several partitions are planned together, so that one call of the model serves them all.

Laws, each a test: any cut of the input into batches gives the same rows; a replayed event changes nothing; the events of a
user are applied in log order; an event with the event_id of one of the user's last 32 applied events counts once.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Final

import numpy as np

from models.compact import COMPACT, RECENT
from stream.events import EventBatch
from stream.state import Arena, topic_code

Array = np.ndarray[Any, Any]

DIGEST_FACTOR: Final = np.uint64(0x9E3779B97F4A7C15)
PARTITION_FACTOR: Final = 0xD1B54A32D192ED03

_OPAQUE: Final = np.dtype((np.void, COMPACT.itemsize))  # moved as one piece, not field by field


Part = tuple[EventBatch, Arena]
"""A batch of a partition, and the states of that partition."""


@dataclass(slots=True)
class Plan:
    """Batches made ready for the model. Users with most new events come first, so round k is a prefix of them."""

    users: list[bytes]  # [U] with at least one new event
    part: Array  # int64 [U] which of the batches each belongs to
    topics: Array  # uint32 [U] codes of the source topics
    partitions: Array  # int32 [U]
    rows: Array  # int64 [U] their rows in the arena of their partition
    states: Array  # row dtype [U] copies of those rows, before the batch; `fold` makes them the rows after it
    counts: Array  # int64 [U] new events of each
    events: Array  # COMPACT [N] round-major: the first event of every user, then the second of those who have one, ...
    offsets: Array  # int64 [N] source offsets, same order
    digests: Array  # uint64 [N] event digests, same order
    sizes: Array  # int64 [R] users in each round, never growing
    applied: list[int]  # of each batch: new events
    replayed: list[int]  # events skipped because the state holds them already
    repeated: list[int]  # events skipped because their event_id was seen


@dataclass(frozen=True, slots=True)
class _Decided:
    """What is known of a batch before it is laid out."""

    users: list[bytes]  # [W] all that occur in it
    rows: Array  # int64 [W]
    owner: Array  # int64 [N] place of each event's user
    fresh: Array  # bool [N] not applied before
    new: Array  # bool [N] fresh, and no repetition


def plan(parts: Sequence[Part]) -> Plan:
    """Decide which events are new and lay them out in rounds. Each batch is of another partition."""
    return _in_rounds(parts, [_decide(batch, arena) for batch, arena in parts])


def _decide(batch: EventBatch, arena: Arena) -> _Decided:
    index: dict[bytes, int] = {}
    owner = np.array([index.setdefault(user, len(index)) for user in batch.users], np.int64)
    users = list(index)
    rows = arena.find(users)
    fresh = _not_applied(batch, arena, rows, owner)
    return _Decided(users, rows, owner, fresh, fresh & ~_repeats(batch, arena, rows, owner, fresh))


def fold(work: Plan, memory: Array) -> Array:
    """Rows after the batch, row dtype [U], from the plan and the model's new memory, float32 [U, S].

    They are made in place of `work.states`, so a plan is folded once.
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
    rows["count"] += counts.astype(np.uint64)
    rows["n_recent"] = np.minimum(RECENT, rows["n_recent"].astype(np.int64) + counts)
    _push_recent(rows["recent"], work.events, counts, starts)
    rows["memory"] = memory
    return rows


def digest_events(offsets: Array, checksums: Array, partition: int) -> Array:
    """uint64 [N]: what each event adds to its user's digest (splitmix64's finaliser over offset, payload and partition)."""
    salt = np.uint64(((partition << 1 | 1) * PARTITION_FACTOR) & 0xFFFFFFFFFFFFFFFF)
    z = offsets.astype(np.uint64) ^ (checksums.astype(np.uint64) << np.uint64(32)) ^ salt
    z = (z ^ (z >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    z = (z ^ (z >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    return z ^ (z >> np.uint64(31))


def _not_applied(batch: EventBatch, arena: Arena, rows: Array, owner: Array) -> Array:
    """Bool [N]: offsets compare only within one topic and partition."""
    newer: Array = batch.offsets > arena.last_offsets(rows, topic_code(batch.topic), batch.partition)[owner]
    return newer


def _repeats(batch: EventBatch, arena: Arena, rows: Array, owner: Array, fresh: Array) -> Array:
    """Bool [N]: events whose event_id is among the user's last 32 applied ones, those of this batch included."""
    repeats = np.zeros(len(owner), bool)
    ids = batch.compact["event_id"]
    candidates = np.flatnonzero(fresh & (ids != 0))
    if not len(candidates):
        return repeats
    states = arena.gather(rows)
    held = states["recent"]["event_id"]
    slots = np.arange(RECENT)[None, :] < states["n_recent"][:, None]
    held_owner, held_slot = np.nonzero(slots & (held != 0))
    all_owners = np.concatenate((held_owner, owner[candidates]))
    all_ids = np.concatenate((held[held_owner, held_slot], ids[candidates]))
    order = np.lexsort((all_ids, all_owners))
    same = (all_ids[order][1:] == all_ids[order][:-1]) & (all_owners[order][1:] == all_owners[order][:-1])
    for user in np.unique(all_owners[order][1:][same]).tolist():
        _mark_repeats(user, states, np.flatnonzero(fresh & (owner == user)), ids, repeats)
    return repeats


def _mark_repeats(user: int, states: Array, mine: Array, ids: Array, repeats: Array) -> None:
    """The exact rule for one user who has some id twice; event by event, because each repeat shifts the window."""
    recent = states["recent"]["event_id"][user][: states["n_recent"][user]]
    window = recent[::-1].tolist()
    for place in mine.tolist():
        event_id = int(ids[place])
        if event_id and event_id in window[-RECENT:]:
            repeats[place] = True
        else:
            window.append(event_id)


def _in_rounds(parts: Sequence[Part], decided: Sequence[_Decided]) -> Plan:
    batches = [batch for batch, _ in parts]
    users = [user for each in decided for user in each.users]
    widths = np.array([len(each.users) for each in decided])
    shifts = np.cumsum(widths) - widths
    owner = np.concatenate([each.owner + shift for each, shift in zip(decided, shifts.tolist(), strict=True)])
    places = np.flatnonzero(np.concatenate([each.new for each in decided]))
    counts = np.bincount(owner[places], minlength=len(users))
    by_count = np.argsort(-counts, kind="stable")[: int((counts > 0).sum())]
    place = np.full(len(users), -1, np.int64)
    place[by_count] = np.arange(len(by_count))
    by_user = places[np.argsort(place[owner[places]], kind="stable")]  # user by user, each in log order
    sorted_counts = counts[by_count]
    firsts = np.repeat(np.cumsum(sorted_counts) - sorted_counts, sorted_counts)
    rank = np.arange(len(by_user)) - firsts
    order = by_user[np.argsort(rank, kind="stable")]
    part = np.repeat(np.arange(len(parts)), widths)[by_count]
    rows = np.concatenate([each.rows for each in decided])[by_count]
    return Plan(
        users=[users[each] for each in by_count.tolist()],
        part=part,
        topics=np.array([topic_code(batch.topic) for batch in batches], np.uint32)[part],
        partitions=np.array([batch.partition for batch in batches], np.int32)[part],
        rows=rows,
        states=_gathered(parts, part, rows),
        counts=sorted_counts,
        events=np.concatenate([batch.compact for batch in batches])[order],
        offsets=np.concatenate([batch.offsets for batch in batches])[order],
        digests=np.concatenate([digest_events(batch.offsets, batch.checksums, batch.partition) for batch in batches])[
            order
        ],
        sizes=np.bincount(rank),
        applied=[int(each.new.sum()) for each in decided],
        replayed=[int((~each.fresh).sum()) for each in decided],
        repeated=[int((each.fresh & ~each.new).sum()) for each in decided],
    )


def _gathered(parts: Sequence[Part], part: Array, rows: Array) -> Array:
    if len(parts) == 1:
        return parts[0][1].gather(rows)
    found = [arena.gather(rows[part == number]) for number, (_, arena) in enumerate(parts)]
    states = np.empty(len(rows), found[0].dtype)
    for number, each in enumerate(found):
        states[part == number] = each
    return states


def _push_recent(recent: Array, events: Array, counts: Array, starts: Array) -> None:
    """Put each user's new events before the ones held, newest first, in recent COMPACT [U, 32].

    Users with equally many new events lie side by side, so whole columns move at once.
    """
    recent, events = recent.view(_OPAQUE), events.view(_OPAQUE)
    most, first = np.unique(-counts, return_index=True)
    edges = [*first.tolist(), len(counts)]
    for count, low, high in zip((-most).tolist(), edges, edges[1:], strict=False):
        if count < RECENT:
            recent[low:high, count:] = recent[low:high, : RECENT - count].copy()
        for back in range(min(count, RECENT)):  # 0: the newest
            start = int(starts[count - 1 - back])
            recent[low:high, back] = events[start + low : start + high]

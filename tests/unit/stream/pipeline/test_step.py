"""Checks the laws of applying a batch, against a slow reference.

The reference handles one event at a time with Python integers.
"""

from __future__ import annotations

from collections import defaultdict
from dataclasses import dataclass, field
from itertools import pairwise

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from models.compact import COMPACT, RECENT
from stream.contracts.event_batch import EventBatch
from stream.contracts.state_record import encode_rows, topic_code
from stream.pipeline.state import Arena
from stream.pipeline.step import plan, rows_after

STATE_SIZE = 2
MASK = 2**64 - 1
EVENT = st.tuples(st.integers(0, 4), st.integers(0, 5))  # user, event id (0: none)


def batch_of(
    events: list[tuple[int, int]], first_offset: int = 0, partition: int = 3
) -> EventBatch:
    compact = np.zeros(len(events), COMPACT)
    offsets = np.arange(first_offset, first_offset + len(events), dtype=np.int64)
    compact["key"] = offsets + 1
    compact["event_id"] = [event_id for _, event_id in events]
    compact["time_ms"] = 1_000 * offsets
    return EventBatch(
        topic="clickstream",
        partition=partition,
        first_offset=first_offset,
        last_offset=first_offset + len(events) - 1,
        users=[b"user-%d" % user for user, _ in events],
        offsets=offsets,
        checksums=(offsets * 2654435761 % 2**32).astype(np.uint32),
        compact=compact,
        timestamps_ms=1_000 * offsets,
        rejects=[],
    )


def remember(memory: np.ndarray, events: np.ndarray, sizes: np.ndarray) -> np.ndarray:
    """Stands for the LSTM, and depends on the order of events.

    m = 0.5 m + key, and a counter.
    """
    start = 0
    for size in sizes.tolist():
        memory[:size, 0] = 0.5 * memory[:size, 0] + events["key"][start : start + size]
        memory[:size, 1] += 1
        start += size
    return memory


def apply(arena: Arena, batch: EventBatch) -> tuple[int, int]:
    work = plan([(batch, arena)])
    rows = rows_after(work, remember(work.states["memory"].copy(), work.events, work.sizes))
    arena.put(work.rows, rows)
    return work.replayed[0], work.repeated[0]


@dataclass
class Reference:
    """Applies the events of one user, one at a time."""

    count: int = 0
    digest: int = 0
    offset: int = -1
    memory: float = 0.0
    keys: list[int] = field(default_factory=list)
    ids: list[int] = field(default_factory=list)

    def apply(self, batch: EventBatch, place: int) -> None:
        offset, event_id = int(batch.offsets[place]), int(batch.compact["event_id"][place])
        if offset <= self.offset or (event_id and event_id in self.ids[-RECENT:]):
            return
        z = (
            offset
            ^ (int(batch.checksums[place]) << 32)
            ^ (((batch.partition << 1 | 1) * 0xD1B54A32D192ED03) & MASK)
        )
        z = ((z ^ (z >> 30)) * 0xBF58476D1CE4E5B9) & MASK
        z = ((z ^ (z >> 27)) * 0x94D049BB133111EB) & MASK
        self.digest = (self.digest * 0x9E3779B97F4A7C15 + (z ^ (z >> 31))) & MASK
        self.count, self.offset = self.count + 1, offset
        self.memory = 0.5 * self.memory + int(batch.compact["key"][place])
        self.keys.append(int(batch.compact["key"][place]))
        self.ids.append(event_id)


def assert_equal(arena: Arena, expected: dict[bytes, Reference]) -> None:
    assert set(arena.users()) == set(expected)
    rows = arena.gather(arena.find(list(expected)))
    for row, want in zip(rows, expected.values(), strict=True):
        assert (row["count"], row["digest"], row["offset"]) == (
            want.count,
            want.digest,
            want.offset,
        )
        assert row["n_recent"] == min(RECENT, want.count)
        assert row["recent"]["key"][: row["n_recent"]].tolist() == want.keys[::-1][:RECENT]
        assert not row["recent"]["key"][row["n_recent"] :].any()
        assert row["memory"].tolist() == [np.float32(want.memory), want.count]
        assert row["time_ms"] == 1_000 * want.offset
        assert row["topic"] == topic_code("clickstream")
        assert row["partition"] == 3


@settings(max_examples=150, deadline=None)
@given(st.lists(EVENT, min_size=1, max_size=120), st.lists(st.integers(0, 120), max_size=4))
def test_any_cut_of_the_input_equals_one_event_at_a_time(
    events: list[tuple[int, int]], cuts: list[int]
) -> None:
    whole = batch_of(events)
    expected: dict[bytes, Reference] = defaultdict(Reference)
    for place, user in enumerate(whole.users):
        expected[user].apply(whole, place)
    arena = Arena(STATE_SIZE, fingerprint=7, partitions=4)
    edges = sorted({0, len(events), *(min(cut, len(events)) for cut in cuts)})
    for start, end in pairwise(edges):
        apply(arena, batch_of(events[start:end], first_offset=start))
    assert_equal(arena, expected)


@settings(max_examples=60, deadline=None)
@given(st.lists(EVENT, min_size=1, max_size=60), st.integers(0, 59))
def test_a_replay_from_any_offset_changes_nothing(
    events: list[tuple[int, int]], start: int
) -> None:
    arena = Arena(STATE_SIZE, fingerprint=7, partitions=4)
    apply(arena, batch_of(events))
    users = arena.users()
    before = encode_rows(arena.gather(arena.find(users)))
    start = min(start, len(events) - 1)
    apply(arena, batch_of(events[start:], first_offset=start))
    assert encode_rows(arena.gather(arena.find(users))) == before


def test_skipped_events_are_counted_by_their_reason() -> None:
    arena = Arena(STATE_SIZE, fingerprint=7, partitions=4)
    assert apply(arena, batch_of([(1, 5), (1, 5), (2, 5), (1, 0), (1, 0)])) == (0, 1)
    assert apply(arena, batch_of([(1, 5), (2, 5)], first_offset=3)) == (1, 1)


def test_offsets_of_another_partition_do_not_compare() -> None:
    arena = Arena(STATE_SIZE, fingerprint=7, partitions=4)
    apply(arena, batch_of([(1, 0)], first_offset=100))
    assert apply(arena, batch_of([(1, 0)], first_offset=5, partition=2)) == (0, 0)


def test_rounds_are_prefixes_of_the_users() -> None:
    arena = Arena(STATE_SIZE, fingerprint=7, partitions=4)
    work = plan([(batch_of([(1, 0), (2, 0), (2, 0), (3, 0), (2, 0), (3, 0)]), arena)])
    assert work.users == [b"user-2", b"user-3", b"user-1"]
    assert work.sizes.tolist() == [3, 2, 1]
    assert work.events["key"].tolist() == [2, 4, 1, 3, 6, 5]


@pytest.mark.parametrize("users", [1, 500])
def test_a_long_batch_of_one_user_and_a_wide_batch_agree_with_the_reference(users: int) -> None:
    events = [(place % users, 0) for place in range(1_500)]
    whole = batch_of(events)
    expected: dict[bytes, Reference] = defaultdict(Reference)
    for place, user in enumerate(whole.users):
        expected[user].apply(whole, place)
    arena = Arena(STATE_SIZE, fingerprint=7, partitions=4)
    apply(arena, whole)
    assert_equal(arena, expected)


@settings(max_examples=60, deadline=None)
@given(st.lists(EVENT, min_size=1, max_size=60), st.lists(EVENT, min_size=1, max_size=60))
def test_batches_planned_together_equal_batches_planned_alone(
    first: list[tuple[int, int]], second: list[tuple[int, int]]
) -> None:
    batches = [batch_of(first, partition=3), batch_of(second, first_offset=7, partition=1)]
    alone, together = (
        [Arena(STATE_SIZE, fingerprint=7, partitions=4) for _ in batches] for _ in range(2)
    )
    for batch, arena in zip(batches, alone, strict=True):
        apply(arena, batch)
    work = plan(list(zip(batches, together, strict=True)))
    rows = rows_after(work, remember(work.states["memory"].copy(), work.events, work.sizes))
    for number, arena in enumerate(together):
        arena.put(work.rows[work.batch == number], rows[work.batch == number])
    for one, other in zip(alone, together, strict=True):
        assert {user: one.encoded(user) for user in one.users()} == {
            user: other.encoded(user) for user in other.users()
        }

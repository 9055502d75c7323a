"""Sweeping users who were silent for too long cannot be observed, and gives memory back."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from itertools import pairwise
from types import SimpleNamespace
from typing import Any, cast

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from stream.config import Settings
from stream.contracts.update import UpdateSize
from stream.pipeline.decode import Decoder
from stream.pipeline.scoring import Scoring
from stream.policies.erasure import Cleared, Remembering
from stream.worker.restore import RestorableArena
from stream.worker.sweep import LEAST_OFTEN_S, MOST_OFTEN_S, Sweeper
from tests.unit.stream.audit.test_control_rules import LIMITS, report
from tests.unit.stream.policies.test_erasure import (
    BEGIN_MS,
    PARTITION,
    STEP,
    OrderKeeping,
    control,
    event,
    records_of,
)

SOURCE = ("clickstream", PARTITION)
FAR_MS = BEGIN_MS + 10_000_000
LONG_MS = 10 * 365 * 86_400_000
"""Before BEGIN_MS, so that it is past for the clock of this machine."""


def run(
    records: Sequence[Any], rules: Remembering, sweeps: dict[int, int]
) -> tuple[RestorableArena, dict[bytes, bytes | None]]:
    """Applies records, a few at a time, with sweeps between; also what the changelog then holds.

    sweeps: after how many records, with which offset committed.
    """
    scoring, decoder = Scoring(OrderKeeping(), UpdateSize(), rules=rules), Decoder()
    arena, changelog = RestorableArena(2, 1, 4), dict[bytes, bytes | None]()
    edges = sorted({0, len(records), *(min(each, len(records)) for each in sweeps)})
    for start, end in pairwise(edges):
        outcome = scoring.process(decoder.decode(*SOURCE, records[start:end]), arena, 7)
        changelog.update(zip(outcome.users, outcome.states, strict=True))
        if end in sweeps:
            for each in arena.sweep(SOURCE, sweeps[end], FAR_MS, rules, 1_000):
                changelog.update(zip(each.users, each.states(), strict=True))
    return arena, changelog


CONTROL_IN_A_SILENCE = [
    *[(0, "event", 0, 0, 0, 0)] * 13,
    (0, "unsuppress", 9, 0, 0, 0),
    (0, "event", 12, 0, 0, 0),
    (0, "event", 9, 0, 0, 0),
]
"""A request breaks a silence, also where it comes first in a batch with a later one behind it."""


@example(CONTROL_IN_A_SILENCE, {13: 0})
@settings(max_examples=60, deadline=None)
@given(
    st.lists(STEP, min_size=1, max_size=80),
    st.dictionaries(st.integers(1, 80), st.integers(0, 80), max_size=6),
)
def test_states_are_the_same_with_and_without_sweeps(
    steps: list[Any], sweeps: dict[int, int]
) -> None:
    rules = Remembering(late_window_ms=40, ttl_ms=20)
    # only what was applied can be committed
    sweeps = {after: min(committed, after) for after, committed in sweeps.items()}
    records = [*records_of(steps), event("last", len(steps), sum(each[2] for each in steps) + 1)]
    swept, changelog = run(records, rules, sweeps)
    kept, _ = run(records, rules, dict.fromkeys(sweeps, 0))
    for user in kept.users():
        one, other = swept.encoded(user), kept.encoded(user)
        assert changelog.get(user) == (one if user in changelog else None)
        if one != other:  # forgotten: its next event would begin a blank state
            heads = kept.head(kept.find([user]), "broker_ms", "count", "erased_ms", "flags")[0]
            over = records[-1].timestamp - int(heads["broker_ms"]) > rules.ttl_ms
            assert over or not heads["count"]
    # nobody can tell later either, from an event in time for nobody
    after = [*records, *(event(f"u{each}", len(records) + each, 9_000) for each in range(3))]
    assert run(after, rules, sweeps)[0].encoded(b"u1") == run(after, rules, {})[0].encoded(b"u1")
    # and the audit, which knows the law and no sweep, finds both clean
    limits = SimpleNamespace(**{name: getattr(LIMITS, name) for name in LIMITS.__slots__})
    limits.ttl_ms = rules.ttl_ms
    found = report(records, changelog, cast(Any, limits))
    assert found["clean"], found["examples"]


def test_memory_goes_back_when_most_users_are_gone() -> None:
    rules = Remembering(ttl_ms=60_000)
    many = [event(f"u{each}", each, 1) for each in range(5_000)]
    few = [event(f"u{each}", 5_000 + each, 200_000) for each in range(100)]
    arena, _ = run([*many, *few], rules, {})
    before = arena.statistics()
    naming = arena.naming
    cleared = arena.sweep(SOURCE, 5_100, FAR_MS, rules, 100_000)
    after = arena.statistics()
    assert (before.users, after.users, len(cleared[0].users)) == (5_000, 100, 4_900)
    assert after.allocated_bytes < before.allocated_bytes / 20
    assert arena.naming is not naming, "places are others now"
    held = arena.gather(arena.find([b"u7", b"u99"]))
    assert held["count"].tolist() == [1, 1], "their silence was too long: blank, then one event"
    assert cleared[0].states() == [None] * 4_900


def test_what_is_not_committed_and_what_is_suppressed_stays() -> None:
    rules = Remembering(late_window_ms=1_000, ttl_ms=1_000)
    records = [
        event("u", 0, 1),
        control("suppress", "v", 1, 1),
        control("erase", "w", 2, 1),
        event("x", 3, 1),
        event("y", 4, 100_000),
    ]
    arena, _ = run(records, rules, {})
    gone = [user for each in arena.sweep(SOURCE, 3, FAR_MS, rules, 10) for user in each.users]
    assert sorted(gone) == [b"u", b"w"]
    assert sorted(arena.users()) == [b"v", b"x", b"y"]
    assert arena.sweep(SOURCE, 5, BEGIN_MS + 500, rules, 10) == [], "this clock is behind the log"


def test_states_whose_time_is_not_known_are_never_swept() -> None:
    """Those of version 1; they would all have expired in 1970."""
    rules = Remembering(ttl_ms=1_000)
    arena, _ = run([event("u", 0, 1), event("v", 1, 100_000)], rules, {})
    rows = arena.find([b"u"])
    values = arena.gather(rows)
    values["broker_ms"] = 0
    arena.put(rows, values)
    assert arena.sweep(SOURCE, 2, FAR_MS, rules, 10) == []


@pytest.mark.parametrize(
    ("rules", "every_s"),
    [
        (Remembering(), LEAST_OFTEN_S),
        (Remembering(ttl_ms=60_000), 6.0),
        (Remembering(ttl_ms=10), MOST_OFTEN_S),
    ],
)
def test_a_sweep_comes_a_tenth_of_the_silence_late(rules: Remembering, every_s: float) -> None:
    none: Any = None
    assert Sweeper(none, none, none, none, rules, none).every_s == every_s


def test_what_was_swept_is_delivered_before_partitions_go() -> None:
    """A rebalance waits for it, because its tombstones may not be written by a former owner."""

    class Delivering:
        failed = False
        group = SimpleNamespace(generation=3, flowing=True)
        jobs: list[Any] = []  # noqa: RUF012

        async def submit(self, portions: Any, read: Any, now_ms: int) -> asyncio.Event:
            self.jobs.append((portions, read, asyncio.Event()))
            over: asyncio.Event = self.jobs[-1][2]
            return over

    async def check() -> None:
        rules, delivery = Remembering(ttl_ms=1_000), Delivering()
        arena, _ = run([event("u", 0, -LONG_MS), event("v", 1, 100_000 - LONG_MS)], rules, {})
        host = cast(Any, SimpleNamespace(settings=Settings(events_topic=SOURCE[0])))
        with ThreadPoolExecutor(1) as thread:
            sweeper = Sweeper(
                host, cast(Any, delivery), lambda: {PARTITION: arena}, lambda tp: 2, rules, thread
            )
            sweeping = asyncio.create_task(sweeper.sweep())
            while not delivery.jobs:  # noqa: ASYNC110 the sweep fills it
                await asyncio.sleep(0)
            settling = asyncio.create_task(sweeper.settle())
            await asyncio.sleep(0.05)
            assert not settling.done()
            ((portion,), read, over) = delivery.jobs[0]
            assert read == {((SOURCE[0], PARTITION), 3)}
            (cleared,) = portion.outcome.scored
            assert isinstance(cleared, Cleared)
            assert (cleared.users, cleared.states()) == ([b"u"], [None])
            over.set()
            assert await sweeping
            await settling
            assert not await sweeper.sweep(), "nobody is left whose silence is over"

    asyncio.run(check())

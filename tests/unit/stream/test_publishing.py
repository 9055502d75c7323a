"""Which updates are sent: the rules of `changed` and `interval`, and that no user's last update is lost."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise
from typing import Any

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from models.predict import Scores
from stream.publishing import Publishing, PublishPolicy, has_changed
from stream.scoring import Scored
from stream.state import Arena

NOTHING = np.zeros((0, 0))


def scored(arena: Arena, users: Sequence[bytes], interest: Any, probability: Any, partition: int = 0) -> Scored:
    return Scored(
        source=("clickstream", partition),
        users=list(users),
        rows=NOTHING,
        arena=arena,
        places=arena.find(users),
        scores=Scores(np.array(interest, np.int32), np.array(probability, np.float32), *[NOTHING] * 6),
        by_model=np.ones(len(users), bool),
        published_at_ms=0,
    )


def sent(publishing: Publishing, arena: Arena, user: bytes, interest: Any, probability: Any, now_ms: int = 0) -> bool:
    users, _ = publishing.choose([scored(arena, [user], [interest], [probability])], [b"update"], now_ms)
    return users == [user]


def test_an_update_has_changed_when_interests_order_or_a_probability_have() -> None:
    before = np.array([[1, 2]] * 4), np.array([[0.5, 0.3]] * 4, np.float32)
    interest = np.array([[1, 2], [2, 1], [1, 3], [1, 2]])
    probability = np.array([[0.54, 0.26], [0.5, 0.3], [0.5, 0.3], [0.5, 0.36]], np.float32)
    assert has_changed(interest, probability, *before, 0.05).tolist() == [False, True, True, True]


def test_small_steps_one_way_are_sent_once_they_add_up() -> None:
    publishing, arena = Publishing(PublishPolicy("changed", threshold=0.05)), Arena(2, 1, 4)
    steps = [0.50, 0.53, 0.54, 0.56, 0.58, 0.62]
    assert [sent(publishing, arena, b"u", [1], [step]) for step in steps] == [True, False, False, True, False, True]


@given(st.lists(st.tuples(st.integers(0, 3), st.integers(0, 2), st.floats(0, 1, width=32)), max_size=60))
def test_what_a_user_was_sent_last_is_never_further_than_the_threshold(events: list[tuple[int, int, float]]) -> None:
    publishing, arena, last = Publishing(PublishPolicy("changed", threshold=0.1)), Arena(2, 1, 4), {}
    for user, interest, probability in events:
        if sent(publishing, arena, b"%d" % user, [interest], [probability]):
            last[user] = interest, probability
        assert last[user][0] == interest
        assert abs(last[user][1] - probability) <= 0.1 + 1e-6


def test_another_arena_of_the_partition_knows_nothing_of_what_was_sent() -> None:
    """After a rebalance the first update of a user is sent."""
    publishing = Publishing(PublishPolicy("changed"))
    assert [sent(publishing, arena, b"u", [1], [0.5]) for arena in (Arena(2, 1, 4), Arena(2, 1, 4))] == [True, True]


@given(st.lists(st.tuples(st.integers(0, 2), st.integers(0, 3_000), st.booleans()), max_size=60))
def test_with_an_interval_the_last_update_always_comes_and_no_two_come_sooner(
    steps: list[tuple[int, int, bool]],
) -> None:
    publishing, arena, now_ms = Publishing(PublishPolicy("interval", interval_s=2)), Arena(2, 1, 4), 0
    made: dict[bytes, bytes] = {}
    told: dict[bytes, list[tuple[int, bytes]]] = {}

    def tell(users: list[bytes], updates: list[bytes]) -> None:
        for user, update in zip(users, updates, strict=True):
            told.setdefault(user, []).append((now_ms, update))

    for number, (who, later_ms, release) in enumerate(steps):
        now_ms += later_ms
        if release:
            for users, updates in publishing.release(now_ms, everything=False).values():
                tell(users, updates)
        user, update = b"%d" % who, b"%d" % number
        made[user] = update
        tell(*publishing.choose([scored(arena, [user], [[1]], [[0.5]])], [update], now_ms))
    now_ms += 2_000
    for users, updates in publishing.release(now_ms, everything=False).values():
        tell(users, updates)
    assert {user: history[-1][1] for user, history in told.items()} == made
    for history in told.values():
        assert all(after[0] - before[0] >= 2_000 for before, after in pairwise(history))
    assert publishing.release(now_ms, everything=True) == {}


def test_all_that_is_withheld_is_released_by_partition() -> None:
    publishing, arena = Publishing(PublishPolicy("interval", interval_s=60)), Arena(2, 1, 4)
    for update in (b"first", b"second", b"third"):
        publishing.choose([scored(arena, [b"u"], [[1]], [[0.5]], partition=3)], [update], 1_000)
    assert publishing.release(1_000, everything=False) == {}
    assert publishing.release(1_000, everything=True) == {3: ([b"u"], [b"third"])}


def test_every_update_is_sent_unless_told_otherwise() -> None:
    publishing, arena = Publishing(PublishPolicy()), Arena(2, 1, 4)
    assert all(sent(publishing, arena, b"u", [1], [0.5]) for _ in range(3))

"""Checks the rules of `changed` and `interval`, which say which updates are sent.

No user's last update is lost.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from itertools import pairwise
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from models.contract import Scores
from stream.pipeline.state import Arena
from stream.pipeline.updates import Scored
from stream.policies.erasure import Cleared
from stream.policies.publish_policy import PublishPolicy, UpdateFilter, has_changed

NOTHING = np.zeros((0, 0))


def scored(
    arena: Arena, users: Sequence[bytes], interest: Any, probability: Any, partition: int = 0
) -> Scored:
    return Scored(
        source=("clickstream", partition),
        users=list(users),
        rows=NOTHING,
        arena=arena.naming,
        places=arena.find(users),
        scores=Scores(
            np.array(interest, np.int32), np.array(probability, np.float32), *[NOTHING] * 6
        ),
        by_model=np.ones(len(users), bool),
        published_at_ms=0,
    )


def sent(
    publishing: UpdateFilter,
    arena: Arena,
    user: bytes,
    interest: Any,
    probability: Any,
    now_ms: int = 0,
) -> bool:
    users, _ = publishing.select(
        [scored(arena, [user], [interest], [probability])], [b"update"], now_ms
    )
    return users == [user]


def test_an_update_has_changed_when_interests_order_or_a_probability_have() -> None:
    before = np.array([[1, 2]] * 4), np.array([[0.5, 0.3]] * 4, np.float32)
    interest = np.array([[1, 2], [2, 1], [1, 3], [1, 2]])
    probability = np.array([[0.54, 0.26], [0.5, 0.3], [0.5, 0.3], [0.5, 0.36]], np.float32)
    assert has_changed(interest, probability, *before, 0.05).tolist() == [False, True, True, True]


def test_small_steps_one_way_are_sent_once_they_add_up() -> None:
    publishing, arena = UpdateFilter(PublishPolicy("changed", threshold=0.05)), Arena(2, 1, 4)
    steps = [0.50, 0.53, 0.54, 0.56, 0.58, 0.62]
    assert [sent(publishing, arena, b"u", [1], [step]) for step in steps] == [
        True,
        False,
        False,
        True,
        False,
        True,
    ]


@given(
    st.lists(
        st.tuples(st.integers(0, 3), st.integers(0, 2), st.floats(0, 1, width=32)), max_size=60
    )
)
def test_what_a_user_was_sent_last_is_never_further_than_the_threshold(
    events: list[tuple[int, int, float]],
) -> None:
    publishing, arena, last = (
        UpdateFilter(PublishPolicy("changed", threshold=0.1)),
        Arena(2, 1, 4),
        {},
    )
    for user, interest, probability in events:
        if sent(publishing, arena, b"%d" % user, [interest], [probability]):
            last[user] = interest, probability
        assert last[user][0] == interest
        assert abs(last[user][1] - probability) <= 0.1 + 1e-6


def test_another_arena_of_the_partition_knows_nothing_of_what_was_sent() -> None:
    """After a rebalance the first update of a user is sent."""
    publishing = UpdateFilter(PublishPolicy("changed"))
    assert [
        sent(publishing, arena, b"u", [1], [0.5]) for arena in (Arena(2, 1, 4), Arena(2, 1, 4))
    ] == [True, True]


@given(st.lists(st.tuples(st.integers(0, 2), st.integers(0, 3_000), st.booleans()), max_size=60))
def test_with_an_interval_the_last_update_always_comes_and_no_two_come_sooner(
    steps: list[tuple[int, int, bool]],
) -> None:
    publishing, arena, now_ms = (
        UpdateFilter(PublishPolicy("interval", interval_s=2)),
        Arena(2, 1, 4),
        0,
    )
    made: dict[bytes, bytes] = {}
    sent: dict[bytes, list[tuple[int, bytes | None]]] = {}

    def send(users: list[bytes], updates: Sequence[bytes | None]) -> None:
        for user, update in zip(users, updates, strict=True):
            sent.setdefault(user, []).append((now_ms, update))

    for number, (who, later_ms, release) in enumerate(steps):
        now_ms += later_ms
        if release:
            for users, updates in publishing.release(now_ms, everything=False).values():
                send(users, updates)
        user, update = b"%d" % who, b"%d" % number
        made[user] = update
        send(*publishing.select([scored(arena, [user], [[1]], [[0.5]])], [update], now_ms))
    now_ms += 2_000
    for users, updates in publishing.release(now_ms, everything=False).values():
        send(users, updates)
    assert {user: history[-1][1] for user, history in sent.items()} == made
    for history in sent.values():
        assert all(after[0] - before[0] >= 2_000 for before, after in pairwise(history))
    assert publishing.release(now_ms, everything=True) == {}


def test_all_that_is_withheld_is_released_by_partition() -> None:
    publishing, arena = UpdateFilter(PublishPolicy("interval", interval_s=60)), Arena(2, 1, 4)
    for update in (b"first", b"second", b"third"):
        publishing.select([scored(arena, [b"u"], [[1]], [[0.5]], partition=3)], [update], 1_000)
    assert publishing.release(1_000, everything=False) == {}
    assert publishing.release(1_000, everything=True) == {3: ([b"u"], [b"third"])}


def test_every_update_is_sent_unless_told_otherwise() -> None:
    publishing, arena = UpdateFilter(PublishPolicy()), Arena(2, 1, 4)
    assert all(sent(publishing, arena, b"u", [1], [0.5]) for _ in range(3))


@pytest.mark.parametrize("mode", ["changed", "interval"])
def test_what_is_cleared_leaves_nothing_to_the_next_user_of_its_row(mode: str) -> None:
    publishing, arena = UpdateFilter(PublishPolicy(mode, interval_s=60)), Arena(2, 1, 4)
    publishing.select([scored(arena, [b"u"], [[1]], [[0.5]])], [b"first"], 0)
    publishing.select([scored(arena, [b"u"], [[1]], [[0.5]])], [b"withheld"], 1)
    places = arena.find([b"u"])
    gone = Cleared(("clickstream", 0), [b"u"], None, arena.naming, places)
    assert publishing.select([gone], [None], 2) == ([b"u"], [None])
    assert publishing.release(1_000_000, everything=True) == {}
    # the same row, another user: what was sent last in it is nobody's
    next_one = dataclasses.replace(scored(arena, [b"u"], [[1]], [[0.5]]), users=[b"v"])
    assert publishing.select([next_one], [b"of v"], 3) == ([b"v"], [b"of v"])

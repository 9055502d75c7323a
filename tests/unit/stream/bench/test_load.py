"""The load of the benchmarks: whose its events are, and which update answers which event."""

from __future__ import annotations

from collections import Counter

import pytest

from stream.bench.load import Answers, random_events

ITEMS = ("a", "b", "c")


def test_a_hot_user_has_its_share() -> None:
    users = Counter(key for key, _ in random_events(10_000, 500, ITEMS, seed=0, hot_share=0.3))
    assert users[b"user-0"] == pytest.approx(3_000, rel=0.1)
    assert len(users) == 500


def test_distinct_users_have_one_event_each() -> None:
    assert (
        len({key for key, _ in random_events(1_000, 1_000, ITEMS, seed=0, distinct=True)}) == 1_000
    )


def test_an_event_is_answered_by_the_first_update_that_includes_it() -> None:
    answers = Answers()
    answers.outstanding = 3
    answers.acknowledged(10, [("anna", 1.0), ("anna", 2.0), ("bert", 2.0)])
    answers.updated("anna", 10, 3.0)
    assert answers.latencies == [2.0]
    answers.updated("anna", 11, 5.0)
    assert answers.latencies == [2.0, 3.0]
    assert answers.outstanding == 1


def test_an_update_that_comes_before_the_acknowledgement_counts() -> None:
    answers = Answers()
    answers.outstanding = 1
    answers.updated("anna", 10, 3.0)
    answers.acknowledged(10, [("anna", 1.0)])
    assert answers.latencies == [2.0]
    assert answers.outstanding == 0

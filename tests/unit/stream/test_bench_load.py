"""The load of the benchmarks: who its events are of, and which update answers which event."""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Callable
from types import SimpleNamespace
from typing import Any, cast

import pytest

from stream.bench_conditions import Row, table
from stream.bench_joins import _assignments
from stream.bench_load import Load, random_events
from stream.config import Settings

ITEMS = ("a", "b", "c")


def test_a_hot_user_has_its_share() -> None:
    users = Counter(key for key, _ in random_events(10_000, 500, ITEMS, seed=0, hot_share=0.3))
    assert users[b"user-0"] == pytest.approx(3_000, rel=0.1)
    assert len(users) == 500


def test_distinct_users_have_one_event_each() -> None:
    assert len({key for key, _ in random_events(1_000, 1_000, ITEMS, seed=0, distinct=True)}) == 1_000


async def _with(check: Callable[[Load], None]) -> None:
    check(Load(Settings(), cast(Any, None), cast(Any, None)))


def _sent(load: Load, offset: int, *events: tuple[str, float]) -> None:
    load._unanswered += len(events)
    future: Any = asyncio.get_running_loop().create_future()
    future.set_result(SimpleNamespace(offset=offset))
    load._remember(list(events))(future)


def test_an_event_is_answered_by_the_first_update_that_includes_it() -> None:
    def check(load: Load) -> None:
        _sent(load, 10, ("anna", 1.0), ("anna", 2.0), ("bert", 2.0))
        load._reached["anna"] = (10, 3.0)
        load._settle({"anna"})
        assert load.latencies == [2.0]
        load._reached["anna"] = (11, 5.0)
        load._settle({"anna"})
        assert load.latencies == [2.0, 3.0]
        assert load._unanswered == 1

    asyncio.run(_with(check))


def test_an_update_that_comes_before_the_acknowledgement_counts() -> None:
    def check(load: Load) -> None:
        load._reached["anna"] = (10, 3.0)
        _sent(load, 10, ("anna", 1.0))
        assert load.latencies == [2.0]
        assert load._unanswered == 0

    asyncio.run(_with(check))


def test_moments_of_assignments_come_from_the_log() -> None:
    text = (
        "2026-01-01 00:00:01,250 INFO interest_stream: partitions assigned: 0, 1\n"
        "2026-01-01 00:00:02,500 INFO interest_stream: states restored: 5 records of the changelog in 0.10 s\n"
        "2026-01-01 00:00:03,000 INFO interest_stream: partitions assigned: none\n"
    )
    worker = SimpleNamespace(log=lambda: text)
    first, second = _assignments(cast(Any, worker))
    assert second - first == pytest.approx(1.75)


def test_a_table_has_median_and_spread_of_each_figure() -> None:
    rows = [Row("joins", "a worker joins", "s", value) for value in (3.0, 1.0, 2.0)]
    assert list(table(rows, markdown=True))[-1] == "| joins | a worker joins | 2.00 s | 1.00 s | 3.00 s | 3 |"

"""Batches that wait are taken together, in order, and only so many wait."""

from __future__ import annotations

import asyncio
from types import SimpleNamespace
from typing import Any

import pytest

from stream.kafka.batch_consumer import Records
from stream.pipeline.inbox import Inbox


def inbox(most_events: int) -> Inbox:
    return Inbox(most_events, lambda event: asyncio.get_running_loop().create_future())


def batch(size: int, *, more_follow: bool = False) -> Any:
    records = Records([None] * size)
    records.more_follow = more_follow
    return SimpleNamespace(value=records)


def test_what_waits_is_taken_together_in_order() -> None:
    async def run() -> None:
        box, batches = inbox(10), [batch(3), batch(3), batch(4)]
        for each in batches:
            await box.put(each)
        assert not box.empty.is_set()
        assert [arrival.event for arrival in await box.take()] == batches
        assert box.empty.is_set()

    asyncio.run(run())


def test_a_batch_without_room_waits_until_the_others_are_taken() -> None:
    async def run() -> None:
        box = inbox(10)
        await box.put(batch(8))
        waiting = asyncio.ensure_future(box.put(batch(3)))
        await asyncio.sleep(0)
        assert not waiting.done()
        assert [len(arrival.event.value) for arrival in await box.take()] == [8]
        await waiting
        assert [len(arrival.event.value) for arrival in await box.take()] == [3]

    asyncio.run(run())


def test_a_batch_larger_than_all_the_room_goes_alone() -> None:
    async def run() -> None:
        box = inbox(10)
        await box.put(batch(50))
        assert len(await box.take()) == 1

    asyncio.run(run())


def test_what_one_fetch_brought_is_taken_together() -> None:
    async def run() -> None:
        box, first, second = inbox(10), batch(3, more_follow=True), batch(3)
        taking = asyncio.ensure_future(box.take())
        await box.put(first)
        await box.put(second)
        assert [arrival.event for arrival in await taking] == [first, second]

    asyncio.run(run())


def test_the_rest_of_a_fetch_that_never_comes_is_not_waited_for_long() -> None:
    async def run() -> None:
        box, first = inbox(10), batch(3, more_follow=True)
        await box.put(first)
        assert [arrival.event for arrival in await box.take()] == [first]

    asyncio.run(run())


def test_the_rest_of_a_fetch_is_not_waited_for_where_much_is_there(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("stream.pipeline.inbox.REST_S", 3600)

    async def run() -> None:
        box, first = inbox(10), batch(8, more_follow=True)
        await box.put(first)
        assert [arrival.event for arrival in await box.take()] == [first]

    asyncio.run(run())

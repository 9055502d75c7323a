"""Who listens gets what is wanted, and a slow one is told what was left out."""

from __future__ import annotations

import asyncio

import pytest

from stream.serving import feed as feeds
from stream.serving.feed import Feed, TooManyError, Wanted
from stream.serving.updates import Update, read_update
from tests.support.serving import record


def update_of(user: str, offset: int = 1, **more: float) -> tuple[Update, bytes]:
    one = record(user, offset, more or None)
    found = read_update(one.key, one.value)
    assert found is not None
    assert one.value is not None
    return found, one.value


def test_updates_go_to_those_who_want_them() -> None:
    async def run() -> None:
        feed = Feed()
        everything = feed.join(Wanted())
        of_anna = feed.join(Wanted(user="anna"))
        of_tea = feed.join(Wanted(interest="tea"))
        feed.publish(*update_of("anna", 1, camping=0.5))
        feed.publish(*update_of("berta", 2, tea=0.5))
        assert [each.count(b"\n") for each in await everything.take()] == [4, 4]
        (anna,), (tea,) = await of_anna.take(), await of_tea.take()
        assert b'"user_id":"anna"' in anna
        assert anna.startswith(b"event: update\nid: clickstream-0-1-")
        assert b'"user_id":"berta"' in tea

    asyncio.run(run())


def test_json_over_several_lines_is_one_event() -> None:
    async def run() -> None:
        feed = Feed()
        listener = feed.join(Wanted())
        update, value = update_of("anna")
        feed.publish(update, value.replace(b",", b",\r\n  "))
        (event,) = await listener.take()
        assert event.count(b"\n") == 4
        assert b"\r" not in event

    asyncio.run(run())


def test_a_slow_listener_loses_the_oldest_and_is_told() -> None:
    async def run() -> None:
        feed = Feed()
        listener = feed.join(Wanted())
        for number in range(feeds.WAITING + 3):
            feed.publish(*update_of("anna", number))
        told, *rest = await listener.take()
        assert told == b'event: left-out\ndata: {"updates":3}\n\n'
        assert len(rest) == feeds.WAITING
        assert b'"offset":3}' in rest[0]

    asyncio.run(run())


def test_silence_is_told_and_the_end_lets_everybody_go(monkeypatch: pytest.MonkeyPatch) -> None:
    async def run() -> None:
        monkeypatch.setattr(feeds, "SILENCE_S", 0.01)
        feed = Feed()
        events = feed.events(feed.join(Wanted()))
        assert await anext(events) == b"retry: 2000\n\n"
        assert (await anext(events)).startswith(b":")
        assert len(feed) == 1
        feed.end()
        assert [each async for each in events] == []
        assert len(feed) == 0

    asyncio.run(run())


def test_only_so_many_can_listen(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(feeds, "LISTENERS", 1)
    feed = Feed()
    feed.join(Wanted())
    with pytest.raises(TooManyError):
        feed.join(Wanted())
